-- The refresh tokens that were replaced, by their hashes: whoever shows one again has a copy, however many have come after it.
create table used_refresh (
  hash bytea primary key,
  session_id text not null references session (id) on delete cascade
);
create index used_refresh_session on used_refresh (session_id);
insert into used_refresh (hash, session_id) select previous_hash, id from session where previous_hash is not null on conflict do nothing;
