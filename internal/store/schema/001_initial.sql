create table setting (
  key text primary key,
  value text not null
);

create table template (
  id text primary key,
  project text not null,
  version int not null,
  state text not null check (state in ('building', 'ready', 'failed', 'retired', 'deleted')),
  image text not null default '',
  major int not null default 0,
  database text not null,
  owner text not null,
  source text not null,
  size_bytes bigint not null default 0,
  row_count bigint not null default 0,
  progress jsonb,
  report jsonb,
  failure jsonb,
  created_at timestamptz not null default now(),
  ready_at timestamptz,
  unique (project, version)
);
create unique index template_one_build on template (project) where state = 'building';

create table preview (
  id text primary key,
  name text not null,
  project text not null,
  kind text not null check (kind in ('pull_request', 'sandbox')),

  repository_id bigint,
  number int,
  repository text,
  head_sha text,
  base_ref text,
  base_sha text,
  title text,

  template_id text references template (id),
  generation bigint not null default 1,
  want_suspended boolean not null default false,
  want_deleted boolean not null default false,
  expires_at timestamptz,

  state text not null default 'pending'
    check (state in ('pending', 'creating', 'migrating', 'ready', 'suspended', 'failed', 'deleting', 'deleted')),
  observed_generation bigint not null default 0,
  observed_sha text not null default '',
  failure jsonb,
  applied jsonb,
  report jsonb,

  database text not null default '',
  owner text not null default '',
  password_sealed bytea,

  labels jsonb not null default '{}',
  created_by text not null default '',
  created_at timestamptz not null default now(),
  ready_at timestamptz,
  last_used_at timestamptz,
  deleted_at timestamptz,
  check ((kind = 'pull_request') = (repository_id is not null and number is not null))
);
create unique index preview_live_name on preview (name) where state <> 'deleted';
create unique index preview_live_pull_request on preview (project, repository_id, number) where state <> 'deleted';
create index preview_live on preview (created_at, id) where state <> 'deleted';
create index preview_template on preview (template_id) where state <> 'deleted';

create table step (
  id bigint generated always as identity primary key,
  owner_id text not null,
  name text not null,
  detail text not null default '',
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  error text not null default ''
);
create index step_owner on step (owner_id, id);

create table delivery (
  id text primary key,
  event text not null,
  action text not null default '',
  repository_id bigint not null default 0,
  repository text not null default '',
  number int not null default 0,
  installation_id bigint not null default 0,
  payload bytea not null,
  state text not null default 'received' check (state in ('received', 'done', 'ignored')),
  note text not null default '',
  received_at timestamptz not null default now(),
  done_at timestamptz
);
create index delivery_received on delivery (received_at);

-- What the forge was last told about a pull request, so that nothing is written twice.
create table pull_request_record (
  project text not null,
  repository_id bigint not null,
  number int not null,
  comment_id bigint not null default 0,
  comment_hash text not null default '',
  status_sha text not null default '',
  status_hash text not null default '',
  updated_at timestamptz not null default now(),
  primary key (project, repository_id, number)
);

create table revoked_token (
  id text primary key,
  expires_at timestamptz not null
);

-- Every change is announced with the id that people wait for.
create function announce() returns trigger language plpgsql as $$
begin
  if tg_table_name = 'step' then
    perform pg_notify('mayfly', new.owner_id);
  else
    perform pg_notify('mayfly', new.id);
  end if;
  return null;
end
$$;
create trigger announce after insert or update on preview for each row execute function announce();
create trigger announce after insert or update on template for each row execute function announce();
create trigger announce after insert or update on step for each row execute function announce();
