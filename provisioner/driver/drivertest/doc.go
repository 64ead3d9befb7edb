// Package drivertest holds the conformance suites: RunEngine is passed by every driver.Engine, and the volumes suite by
// every driver.Volumes. They test what the interfaces' comments promise, with real containers, real Postgres and real
// storage.
package drivertest
