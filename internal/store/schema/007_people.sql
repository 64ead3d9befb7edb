-- What was done, by whom, from where and with which token. Rows are only ever added: what is to be forgotten is older than the
-- shortest time that may be configured, and forgotten by ForgetAudit alone, which says so in the transaction.
create table audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  token_id text not null default '',
  address text not null default '',
  action text not null,
  outcome text not null default 'done' check (outcome in ('done', 'denied', 'failed')),
  project text not null default '',
  kind text not null default '',
  name text not null default '',
  object_id text not null default '',
  detail jsonb not null default '{}'
);
create index audit_project on audit (project, id);
create index audit_actor on audit (actor, id);
create index audit_object on audit (object_id, id);
create index audit_at on audit (at);

create function audit_is_kept() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' and current_setting('mayfly.forget_audit', true) = 'on' and old.at < now() - interval '30 days' then
    return old;
  end if;
  raise exception 'the audit log is append-only' using errcode = 'insufficient_privilege';
end
$$;
create trigger audit_is_kept before update or delete on audit for each row execute function audit_is_kept();
create trigger audit_is_not_truncated before truncate on audit for each statement execute function audit_is_kept();

-- Tokens that were used or made, so that they can be listed, and revoked by whoever does not have them. No token is in it.
create table token (
  id text primary key,
  subject text not null,
  scopes text[] not null default '{}',
  projects text[] not null default '{}',
  roles jsonb not null default '{}',
  session_id text not null default '',
  created_by text not null default '',
  issued_at timestamptz not null,
  expires_at timestamptz not null,
  first_used_at timestamptz,
  last_used_at timestamptz
);
create index token_expires on token (expires_at);

-- Somebody who signed in. Their access tokens live for an hour; refreshing asks again what they may do.
create table session (
  id text primary key,
  subject text not null,
  provider text not null,
  account text not null,              -- the provider's id of the person, which no renaming changes
  login text not null,                -- the name they had at the last check
  roles jsonb not null,
  epoch int not null default 0,       -- raised when a role is taken away: tokens of the epochs before are revoked
  refresh_hash bytea not null,
  previous_hash bytea,                -- the one before: whoever shows it has a copy
  address text not null default '',
  created_at timestamptz not null default now(),
  refreshed_at timestamptz not null default now(),
  checked_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ended_at timestamptz,
  ended_reason text not null default ''
);
create unique index session_refresh on session (refresh_hash) where ended_at is null;
create index session_previous on session (previous_hash) where ended_at is null;
create index session_check on session (checked_at) where ended_at is null;

-- Statements about a person that were shown once, so that nobody signs in with a copy.
create table used_statement (
  hash bytea primary key,
  expires_at timestamptz not null
);

alter table preview drop constraint preview_state_check;
alter table preview add constraint preview_state_check
  check (state in ('queued', 'pending', 'creating', 'migrating', 'ready', 'suspended', 'failed', 'deleting', 'deleted'));
alter table preview
  add column created_token text not null default '',
  add column reserved_memory bigint not null default 0,
  add column reserved_disk bigint not null default 0,
  add column queued_at timestamptz,
  add column queued_why text not null default '';
create index preview_queued on preview (queued_at, id) where state = 'queued';

-- Logins of a preview besides the owner's: one for each person and what it may do. Converge makes, changes and drops the roles.
create table preview_login (
  preview_id text not null references preview (id),
  role text not null,
  subject text not null,
  access text not null check (access in ('owner', 'personal', 'read-only')),
  password_sealed bytea,
  -- The generation of the preview in which the role is as it is here; 0 for none yet.
  applied_generation bigint not null default 0,
  revoked_at timestamptz,
  created_by text not null default '',
  created_at timestamptz not null default now(),
  primary key (preview_id, role)
);

-- Who waits for a login is told by the preview's id.
create function announce_login() returns trigger language plpgsql as $$
begin
  perform pg_notify('mayfly', coalesce(new.preview_id, old.preview_id));
  return null;
end
$$;
create trigger announce after insert or update or delete on preview_login for each row execute function announce_login();
