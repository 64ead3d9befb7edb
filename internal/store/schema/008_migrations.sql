-- What a template's database had of the repository's migrations. sha is the head of the default branch when the template became
-- ready. The rest is known once the first preview was made of it: what the tracking table said (state), read with these
-- settings, and which files of that commit it lists, with their hashes.
create table template_migrations (
  template_id text primary key references template (id),
  sha text not null,
  recorded_at timestamptz not null default now(),
  settings jsonb,
  state jsonb,
  files jsonb
);

-- observed_base_* is the base that the preview's pending migrations and its report were computed with. on_top are the versions
-- that it has, or was to get, on top of its template. touched is what its pull request adds and which tables it works on,
-- others the live pull requests that do the same. rehearsal_due says that the rollback of what it has is still to be tried.
alter table preview
  add column observed_base_ref text not null default '',
  add column observed_base_sha text not null default '',
  add column on_top jsonb,
  add column touched jsonb,
  add column others jsonb,
  add column rehearsal_due boolean not null default false;
update preview set observed_base_ref = coalesce(base_ref, ''), observed_base_sha = coalesce(base_sha, '');
create index preview_rehearsal_due on preview (id) where rehearsal_due;
