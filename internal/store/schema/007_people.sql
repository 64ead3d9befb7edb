-- Who did what: audit log, signing keys and sessions, quotas and the queue.
select 1;
