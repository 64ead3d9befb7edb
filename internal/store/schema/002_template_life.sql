-- The attestation of a finished template, signed; who asked for it and why it was built; who cancelled it; why it was rolled
-- back. The last two are {"at": …, "by": …, "reason": …}.
alter table template
  add column attestation bytea,
  add column cause text not null default 'request' check (cause in ('request', 'schedule', 'catch_up')),
  add column requested_by text not null default '',
  add column cancelled jsonb,
  add column rolled_back jsonb;

-- One row per project that is built by schedule. slot_at is the moment of the schedule that comes next, due_at is that plus its
-- jitter, drawn once, so that all processes agree on it.
create table template_schedule (
  project text primary key,
  spec text not null,
  slot_at timestamptz not null,
  due_at timestamptz not null,
  last_slot_at timestamptz,
  last_run_at timestamptz,
  last_template_id text references template (id),
  last_outcome text not null default '',
  updated_at timestamptz not null default now()
);
