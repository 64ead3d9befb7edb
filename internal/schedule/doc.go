// Package schedule reads cron expressions and tells their moments, in a time zone and with jitter.
package schedule
