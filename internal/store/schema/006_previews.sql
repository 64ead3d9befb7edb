-- What a preview can do on request: idempotency, sizes, protection, snapshots.
select 1;
