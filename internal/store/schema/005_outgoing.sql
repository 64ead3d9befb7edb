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
