-- A source with the defects that restores stumble over. What a server would not let in comes in as it does in life: while triggers are
-- off, or past an index that is not kept up.
CREATE ROLE billing_@suffix@ NOLOGIN;
CREATE EXTENSION cube;
CREATE EXTENSION earthdistance;
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION btree_gist;

-- Keys.
CREATE TABLE public.parent (id int PRIMARY KEY, code text, label text);
CREATE TABLE public.child (id int PRIMARY KEY, parent_id int CONSTRAINT child_parent REFERENCES public.parent (id));
CREATE TABLE public.twins (id int, email text, CONSTRAINT twins_pkey PRIMARY KEY (id));
CREATE UNIQUE INDEX twins_email ON public.twins (lower(email)) WHERE id > 0;
CREATE TABLE public.twin_refs (id int PRIMARY KEY, twin int CONSTRAINT twin_refs_twin REFERENCES public.twins (id));
COMMENT ON CONSTRAINT twins_pkey ON public.twins IS 'left out with its constraint';
CREATE VIEW public.twins_grouped AS SELECT id, email, count(*) AS n FROM public.twins GROUP BY id;
CREATE TABLE public.bookings (id int PRIMARY KEY, room int, during int4range, CONSTRAINT bookings_overlap EXCLUDE USING gist (room WITH =, during WITH &&));
CREATE TABLE public.long_values (id int PRIMARY KEY, note text, "Body" text);
CREATE INDEX long_values_body ON public.long_values ("Body");
CREATE UNIQUE INDEX long_values_note ON public.long_values (note) WHERE note <> '';
CREATE TABLE public.measures (id int, at date, parent_id int, PRIMARY KEY (id, at), CONSTRAINT measures_parent FOREIGN KEY (parent_id) REFERENCES public.parent (id)) PARTITION BY RANGE (at);
CREATE TABLE public.measures_old PARTITION OF public.measures FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
CREATE TABLE public.measures_new PARTITION OF public.measures FOR VALUES FROM ('2025-01-01') TO (MAXVALUE) PARTITION BY HASH (id);
CREATE TABLE public.measures_new_0 PARTITION OF public.measures_new FOR VALUES WITH (MODULUS 2, REMAINDER 0) PARTITION BY LIST (id);
CREATE TABLE public.measures_new_0_a PARTITION OF public.measures_new_0 DEFAULT;
CREATE TABLE public.measures_new_1 PARTITION OF public.measures_new FOR VALUES WITH (MODULUS 2, REMAINDER 1);

INSERT INTO public.parent SELECT i, 'c' || i, 'l' || i FROM generate_series(1, 20) i;
INSERT INTO public.child SELECT i, 1 + i % 20 FROM generate_series(1, 100) i;
UPDATE pg_index SET indisready = false WHERE indexrelid IN ('public.twins_pkey'::regclass, 'public.twins_email'::regclass, 'public.bookings_overlap'::regclass,
	'public.long_values_body'::regclass, 'public.long_values_note'::regclass);
INSERT INTO public.twins VALUES (1, 'a@x.test'), (2, 'b@x.test'), (2, 'B@x.test'), (3, 'c@x.test'), (3, 'd@x.test'), (3, 'e@x.test');
INSERT INTO public.long_values SELECT i, CASE WHEN i = 2 THEN n ELSE '' END, CASE WHEN i = 1 THEN n ELSE 'short' END
	FROM generate_series(1, 3) i, (SELECT string_agg(md5(j::text) || sha256(j::text::bytea)::text, '') AS n FROM generate_series(1, 120) j) r;
SET session_replication_role = replica;
INSERT INTO public.twin_refs VALUES (1, 2);
INSERT INTO public.bookings VALUES (1, 7, '[1,5)'), (2, 7, '[4,9)'), (3, 8, '[1,5)');
INSERT INTO public.child VALUES (201, 77), (202, 77), (203, 78);
INSERT INTO public.measures SELECT i, DATE '2024-12-01' + i, CASE WHEN i = 60 THEN 99 ELSE 1 + i % 20 END FROM generate_series(1, 100) i;
RESET session_replication_role;
UPDATE pg_index SET indisready = true WHERE NOT indisready;
CREATE INDEX parent_label ON public.parent (label);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.parent_label'::regclass;

-- Materialized views: one fails to refresh, one reads it, one is empty, one reads that through a view.
CREATE TABLE public.divisors (n int);
CREATE MATERIALIZED VIEW public.z_fails AS SELECT 100 / n AS share FROM public.divisors;
CREATE VIEW public.m_between AS SELECT share FROM public.z_fails;
CREATE MATERIALIZED VIEW public.a_reads_failed AS SELECT count(*) AS n FROM public.m_between;
CREATE MATERIALIZED VIEW public.z_empty AS SELECT id FROM public.parent;
CREATE MATERIALIZED VIEW public.a_reads_empty AS SELECT count(*) AS n FROM public.z_empty;
CREATE MATERIALIZED VIEW public.good AS SELECT count(*) AS n FROM public.child;
REFRESH MATERIALIZED VIEW public.z_empty WITH NO DATA;
INSERT INTO public.divisors VALUES (0), (5);

-- What must not fire or hide while rows are loaded.
CREATE TABLE public.guarded (id int PRIMARY KEY, body text, size int GENERATED ALWAYS AS (length(body)) STORED);
CREATE TABLE public.guard_log (id int);
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'must not fire'; END $$;
CREATE FUNCTION public.refuse_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF current_database() = 'shop' THEN RAISE EXCEPTION 'must not fire'; END IF; END $$;
INSERT INTO public.guarded (id, body) SELECT i, 'body' || i FROM generate_series(1, 10) i;
CREATE TRIGGER g_on BEFORE INSERT ON public.guarded FOR EACH ROW EXECUTE FUNCTION public.refuse();
CREATE TRIGGER g_off BEFORE INSERT ON public.guarded FOR EACH ROW EXECUTE FUNCTION public.refuse();
CREATE TRIGGER g_replica BEFORE INSERT ON public.guarded FOR EACH ROW EXECUTE FUNCTION public.refuse();
CREATE TRIGGER g_always BEFORE TRUNCATE ON public.guarded FOR EACH STATEMENT EXECUTE FUNCTION public.refuse();
ALTER TABLE public.guarded DISABLE TRIGGER g_off;
ALTER TABLE public.guarded ENABLE REPLICA TRIGGER g_replica;
ALTER TABLE public.guarded ENABLE ALWAYS TRIGGER g_always;
CREATE RULE guarded_not AS ON INSERT TO public.guarded DO INSTEAD NOTHING;
CREATE RULE guarded_off AS ON UPDATE TO public.guarded DO INSTEAD NOTHING;
ALTER TABLE public.guarded DISABLE RULE guarded_off;
ALTER TABLE public.guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY nobody ON public.guarded USING (false);
CREATE EVENT TRIGGER refuse_@suffix@ ON ddl_command_end EXECUTE FUNCTION public.refuse_ddl();

-- Sequences, inheritance, unlogged and foreign tables.
CREATE TABLE public.counted (id serial PRIMARY KEY, small smallint GENERATED BY DEFAULT AS IDENTITY, down int);
CREATE SEQUENCE public.downwards INCREMENT -1;
ALTER TABLE public.counted ALTER down SET DEFAULT nextval('public.downwards');
INSERT INTO public.counted VALUES (50, 32767, -9), (60, 5, -3);
CREATE TABLE public.mother (a int, m text);
CREATE TABLE public.father (a int, f text);
CREATE TABLE public.kid (own text) INHERITS (public.mother, public.father);
INSERT INTO public.mother VALUES (1, 'm');
INSERT INTO public.father VALUES (2, 'f');
INSERT INTO public.kid VALUES (3, 'km', 'kf', 'k');
CREATE UNLOGGED TABLE public.scratch (id int);
INSERT INTO public.scratch VALUES (1);
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'db.internal');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'x', password 'fdw-secret-8812');
CREATE FOREIGN TABLE public.remote (id int NOT NULL DEFAULT 7, "odd ) name" text OPTIONS (column_name 'x'), kind text DEFAULT 'a) SERVER b' CHECK (kind <> '(')) SERVER elsewhere OPTIONS (table_name 't');
COMMENT ON FOREIGN TABLE public.remote IS 'far away';
COMMENT ON COLUMN public.remote.id IS 'its key';
CREATE VIEW public.remote_view AS SELECT id, kind FROM public.remote;

-- What is never carried over.
CREATE PUBLICATION changes FOR TABLE public.parent;
DO $$ BEGIN EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO PUBLIC', lo_from_bytea(0, 'plantedblob')); END $$;
ALTER ROLE billing_@suffix@ SET search_path = 'billing';
ALTER TABLE public.father OWNER TO billing_@suffix@;

-- Locales.
CREATE COLLATION pg_catalog."de_XX.utf8" (LOCALE = 'C.UTF-8');
CREATE TABLE public.sorted (name text COLLATE pg_catalog."de_XX.utf8", other text COLLATE "de-x-icu");
CREATE INDEX sorted_other ON public.sorted (other COLLATE pg_catalog."de_XX.utf8");
INSERT INTO public.sorted VALUES ('b', 'x'), ('A', 'y');
UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'de-x-icu';

-- Migration tools.
CREATE TABLE public.schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL);
INSERT INTO public.schema_migrations VALUES (42, true);
CREATE TABLE public.flyway_schema_history (installed_rank int PRIMARY KEY, version text, description text, type text, script text, success boolean);
INSERT INTO public.flyway_schema_history VALUES (1, '1', 'create parent', 'SQL', 'V1__create_parent.sql', true),
	(2, '2', 'create vouchers', 'SQL', 'V2__create_vouchers.sql', true), (3, '3', 'create index on x', 'SQL', 'V3__create_index.sql', true), (4, '4', 'create ledgers', 'SQL', 'V4__create_ledgers.sql', false);
CREATE TABLE public._prisma_migrations (id text PRIMARY KEY, migration_name text, finished_at timestamptz, rolled_back_at timestamptz, started_at timestamptz, applied_steps_count int);
INSERT INTO public._prisma_migrations VALUES ('a', '20250101_init', now(), NULL, now(), 1), ('b', '20250102_create_wishes', NULL, NULL, now(), 2), ('c', '20250103_gone', NULL, now(), now(), 0);
CREATE TABLE public.alembic_version (version_num text PRIMARY KEY);
INSERT INTO public.alembic_version VALUES ('aaa'), ('bbb');

-- Bloat.
CREATE TABLE public.bloated (id int PRIMARY KEY, body text) WITH (autovacuum_enabled = off);
INSERT INTO public.bloated SELECT i, repeat('x', 500) FROM generate_series(1, 4000) i;
DELETE FROM public.bloated WHERE id > 100;
