-- What the service knows of pull requests besides their previews: approvals, closing, commands.
alter table preview
  add column head_ref text not null default '',
  add column fork boolean not null default false,
  add column draft boolean not null default false,
  add column pr_labels text[] not null default '{}',
  add column author text not null default '',
  -- A clone without rows: what a fork gets by the policy schema-only.
  add column schema_only boolean not null default false,
  -- Never removed because its time is up.
  add column keep boolean not null default false,
  -- When its pull request was closed, or stopped to be one that gets a preview: it sleeps until the grace period ends.
  add column closed_at timestamptz;

-- One row for each pull request that was ever looked at, in each project.
create table pull_request (
  project text not null,
  repository_id bigint not null,
  number int not null,
  -- The head that was seen last, and since when: an approval is for what people could see when they gave it.
  head_sha text not null default '',
  head_seen_at timestamptz,
  -- A fork's commit that somebody with write access approved.
  approved_sha text not null default '',
  approved_by text not null default '',
  approved_at timestamptz,
  -- A head for which no preview is made again, because somebody removed it or its time was up.
  dismissed_sha text not null default '',
  dismissed_at timestamptz,
  keep boolean not null default false,
  last_command jsonb,
  -- What was decided last, and a fingerprint of what it was decided by: the same need not be decided again.
  wanted boolean not null default false,
  decided text not null default '',
  updated_at timestamptz not null default now(),
  primary key (project, repository_id, number)
);

-- Commands in comments that were taken, so that a redelivery does not run them again.
create table comment_command (
  repository_id bigint not null,
  comment_id bigint not null,
  -- What the generations of the previews were when the command was begun: a reset that happened is not done again.
  began jsonb not null default '{}',
  done boolean not null default false,
  taken_at timestamptz not null default now(),
  primary key (repository_id, comment_id)
);

-- Which repository a configured name meant first. Names are given away; ids are not.
create table known_repository (
  configured text primary key,
  repository_id bigint not null,
  pinned_at timestamptz not null default now()
);

-- What is known of repositories that cannot be worked with as usual.
create table repository (
  id bigint primary key,
  full_name text not null default '',
  state text not null default 'active'
    check (state in ('active', 'archived', 'deleted', 'removed', 'suspended', 'unreachable')),
  since timestamptz not null default now()
);

-- The tips of branches that pull requests go to: what the forge says of a pull request's base may be as old as its last push.
create table branch (
  repository_id bigint not null,
  name text not null,
  sha text not null,
  seen_at timestamptz not null default now(),
  primary key (repository_id, name)
);

-- .mayfly.yml at commits of base branches; null if there is none. Content at a commit never changes.
create table repository_config (
  repository_id bigint not null,
  sha text not null,
  content bytea,
  read_at timestamptz not null default now(),
  primary key (repository_id, sha)
);

-- Deliveries that the forge's log lists without a success.
create table missed_delivery (
  guid text primary key,
  hook text not null,
  delivery_id bigint not null,
  event text not null default '',
  attempts int not null default 0,
  next_at timestamptz not null,
  given_up boolean not null default false,
  seen_at timestamptz not null default now()
);

-- Where production's tracking table, as a template has it, and the default branch differ.
create table template_drift (
  template_id text primary key references template (id),
  sha text not null,
  not_deployed text[] not null default '{}',
  not_merged text[] not null default '{}',
  found_at timestamptz not null default now()
);
