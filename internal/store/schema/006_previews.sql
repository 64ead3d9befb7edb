-- What a preview can do on request: idempotency, sizes, protection, snapshots.

-- A state of a preview's data: the volume of the same id. Rows stay as history when the volume is gone.
create table snapshot (
  id text primary key,
  name text not null,
  project text not null,
  -- The preview that it is of.
  preview_id text not null references preview (id),
  -- Made for one branch, of which it is the origin, and never shown: it goes when no preview needs it any more.
  branch boolean not null default false,
  -- What the data was cloned from once: image, database and owner are the template's.
  template_id text not null references template (id),
  state text not null default 'making' check (state in ('making', 'ready', 'deleted')),
  size_bytes bigint not null default 0,
  observed_sha text not null default '',
  observed_base_ref text not null default '',
  observed_base_sha text not null default '',
  applied jsonb,
  report jsonb,
  -- It outlives its preview, until expires_at.
  keep boolean not null default false,
  expires_at timestamptz,
  created_by text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  deleted_at timestamptz
);
create unique index snapshot_live_name on snapshot (preview_id, name) where state <> 'deleted' and not branch;
create index snapshot_live on snapshot (project, created_at, id) where state <> 'deleted';

alter table preview
  -- Raised whenever something of the preview changes that people decide by. Its use, and its timeline, are not.
  add column revision bigint not null default 1,
  add column protected_until timestamptz,
  add column protected_by text not null default '',
  add column protected_reason text not null default '',
  add column size_class text not null default '',
  add column parent_id text references preview (id),
  -- What its next generation is cloned from, if that is not the template.
  add column snapshot_id text references snapshot (id),
  -- Raised with every new password that does not come with a new generation, and which of them Postgres has.
  add column password_version bigint not null default 0,
  add column observed_password bigint not null default 0;

create function revise() returns trigger language plpgsql as $$
begin
  new.revision := old.revision + 1;
  return new;
end
$$;
create trigger revise before update on preview for each row when (
  (old.template_id, old.generation, old.want_suspended, old.want_deleted, old.expires_at, old.state, old.observed_generation, old.observed_sha,
    old.failure, old.labels, old.head_sha, old.base_ref, old.title, old.protected_until, old.size_class, old.snapshot_id, old.password_version,
    old.keep, old.closed_at, old.deleted_at)
  is distinct from
  (new.template_id, new.generation, new.want_suspended, new.want_deleted, new.expires_at, new.state, new.observed_generation, new.observed_sha,
    new.failure, new.labels, new.head_sha, new.base_ref, new.title, new.protected_until, new.size_class, new.snapshot_id, new.password_version,
    new.keep, new.closed_at, new.deleted_at)
) execute function revise();

-- Lists are sorted by these, each with the id for what is equal. What never expires comes last.
create index preview_live_expires on preview ((coalesce(expires_at, 'infinity'::timestamptz)), id) where state <> 'deleted';
create index preview_live_labels on preview using gin (labels jsonb_path_ops) where state <> 'deleted';
create index preview_snapshot on preview (snapshot_id) where state <> 'deleted' and snapshot_id is not null;

-- A request that was made under a key, by whom, and what it made or changed. Kept for a day.
create table idempotency (
  subject text not null,
  key text not null,
  digest bytea not null,
  resource text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (subject, key)
);
create index idempotency_created on idempotency (created_at);

-- The order in which steps began and ended, for those who follow them and come back after a while.
create sequence step_seq;
alter table step add column seq bigint not null default 0;
create function number_step() returns trigger language plpgsql as $$
begin
  new.seq := nextval('step_seq');
  return new;
end
$$;
create trigger number_step before insert or update on step for each row execute function number_step();
