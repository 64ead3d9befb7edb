-- Webhooks that we send, and tokens of CI systems that were exchanged.

-- ID tokens that were exchanged: each is good for one exchange. Forgotten once they have expired.
create table exchanged_token (
  issuer text not null,
  id text not null,
  expires_at timestamptz not null,
  primary key (issuer, id)
);
create index exchanged_token_expires on exchanged_token (expires_at);

-- Whose a repository is, by ids: names are given away.
create table repository_owner (
  repository_id bigint primary key,
  owner_id bigint not null,
  seen_at timestamptz not null default now()
);

-- What receivers outside are told about a preview, in the order in which it happened. Recorded with the change itself.
create table outgoing_event (
  id bigint generated always as identity primary key,
  event_id text not null unique,
  kind text not null check (kind in ('preview.ready', 'preview.changed', 'preview.failed', 'preview.deleted')),
  preview_id text not null,
  project text not null,
  -- What the preview was like then, to tell whether it has changed since.
  fingerprint text not null,
  payload jsonb not null,
  created_at timestamptz not null default clock_timestamp()
);
create index outgoing_event_preview on outgoing_event (preview_id, id);
create index outgoing_event_created on outgoing_event (created_at);

-- One event for one receiver.
create table outgoing_delivery (
  id text primary key,
  event bigint not null references outgoing_event (id) on delete cascade,
  target text not null,
  preview_id text not null,
  state text not null default 'waiting' check (state in ('waiting', 'delivered', 'failed')),
  attempts int not null default 0,
  next_at timestamptz not null default now(),
  give_up_at timestamptz not null,
  -- Whoever delivers it holds it until then; a process that died lets go by that.
  leased_until timestamptz,
  status int not null default 0,
  error text not null default '',
  done_at timestamptz
);
create index outgoing_delivery_waiting on outgoing_delivery (preview_id, target, event) where state = 'waiting';
create index outgoing_delivery_event on outgoing_delivery (event);

-- What a receiver answered that is needed to take back what it was given.
create table outgoing_kept (
  preview_id text not null,
  target text not null,
  kept jsonb not null,
  primary key (preview_id, target)
);
