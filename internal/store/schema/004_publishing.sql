-- What the forge was told, so that nothing is told twice and everything that was begun is ended.

-- The checks on each commit. run_id is the forge's check run, 0 where there are commit statuses. hash is of what was said; concluded
-- says that it was an end.
create table told_check (
  project text not null,
  repository_id bigint not null,
  number int not null,
  sha text not null,
  name text not null,
  run_id bigint not null default 0,
  hash text not null default '',
  concluded boolean not null default false,
  told_at timestamptz not null default now(),
  primary key (project, repository_id, number, sha, name)
);
create index told_check_open on told_check (told_at) where not concluded;

alter table pull_request_record
  -- When the comment was written last: edits are some seconds apart.
  add column comment_at timestamptz,
  add column deployment_id bigint not null default 0,
  add column deployment_sha text not null default '',
  add column deployment_hash text not null default '',
  -- Since when the preview of this commit waits for something that should have come by itself.
  add column waiting_sha text not null default '',
  add column waiting_since timestamptz;

-- Pull requests about which there is something to tell that was not told yet. preview_id is '' where there is no preview.
create table publish_intent (
  project text not null,
  repository_id bigint not null,
  number int not null,
  preview_id text not null default '',
  wanted_at timestamptz not null default clock_timestamp(),
  requeued_at timestamptz,
  primary key (project, repository_id, number)
);
create index publish_intent_wanted on publish_intent (wanted_at);
