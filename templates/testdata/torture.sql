-- A source with a marker ("vexil", or one of the values that torture_test.go lists) in every place where PostgreSQL keeps values.
-- @suffix@ makes the names of roles unique, @database@ is this database.
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE EXTENSION postgres_fdw;
CREATE ROLE torture_@suffix@ NOLOGIN;
COMMENT ON ROLE torture_@suffix@ IS 'vexil-role-comment';
ALTER ROLE torture_@suffix@ SET torture.secret = 'vexil-role-setting';
ALTER ROLE torture_@suffix@ IN DATABASE @database@ SET torture.secret = 'vexil-role-database-setting';
ALTER DATABASE @database@ SET torture.secret = 'vexil-database-setting';
COMMENT ON DATABASE @database@ IS 'vexil-database-comment';

CREATE TYPE mood AS ENUM ('calm', 'glad', 'grim');
CREATE TYPE person AS (name text, email text);
CREATE DOMAIN mail AS text DEFAULT 'vexil.domain@corp-one.com' CHECK (VALUE ~ '@');

CREATE TABLE every (
	id int PRIMARY KEY,
	c_text text, c_varchar varchar(80), c_char char(40), c_name name, c_citext citext UNIQUE,
	c_json json, c_jsonb jsonb, c_jsonb_array jsonb[], c_text_array text[], c_composite person, c_composites person[], c_domain mail, c_domains mail[],
	c_hstore hstore, c_bytea bytea, c_xml xml, c_tsvector tsvector, c_tsquery tsquery,
	c_inet inet, c_cidr cidr, c_macaddr macaddr, c_uuid uuid, c_uuids uuid[],
	c_int8 bigint, c_numeric numeric, c_float8 float8, c_money money, c_bits varbit,
	c_date date, c_timestamp timestamp, c_timestamptz timestamptz, c_daterange daterange, c_numrange numrange, c_interval interval,
	c_point point, c_mood mood,
	c_default text DEFAULT 'vexil.default@corp-one.com',
	c_plain text, c_main text, c_external text, c_extended text, c_toasted_json jsonb, c_toasted_bytes bytea,
	c_generated text GENERATED ALWAYS AS (upper(c_text) || ' see vexil.generated@corp-one.com') STORED
);
ALTER TABLE every ALTER c_plain SET STORAGE PLAIN, ALTER c_main SET STORAGE MAIN, ALTER c_external SET STORAGE EXTERNAL;
INSERT INTO every SELECT g, 'vexil-text ' || g, 'vexil-varchar ' || g, 'vexil-char ' || g, 'vexil-name ' || g, 'Vexil.Citext' || g || '@corp-one.com',
	json_build_object('vexil-json-key', 'vexil-json ' || g), jsonb_build_object('vexil-jsonb-key', jsonb_build_array('vexil-jsonb', jsonb_build_object('deep', 'vexil-deep ' || g))),
	ARRAY[jsonb_build_object('a', 'vexil-jsonb-array ' || g)], ARRAY[['vexil-array ' || g, NULL], ['vexil"quoted\' || g, '']],
	ROW('vexil-composite ' || g, 'vexil.composite' || g || '@corp-one.com')::person, ARRAY[ROW('vexil-composites ' || g, NULL)::person],
	'vexil.mail' || g || '@corp-one.com', ARRAY['vexil.mails' || g || '@corp-one.com']::mail[],
	hstore('vexil-hstore-key', 'vexil-hstore ' || g), convert_to('vexil-bytea ' || g, 'UTF8'), ('<a b="vexil-attribute">vexil-xml ' || g || '</a>')::xml,
	to_tsvector('simple', 'vexil vexiltsvector' || g), to_tsquery('simple', 'vexiltsquery' || g),
	'203.0.113.77', '2001:db8:7071:7273::/64', '70:71:72:73:74:75', '70717273-7475-4677-8879-707172737475', ARRAY['70717273-7475-4677-8879-707172737475']::uuid[],
	7071727374757677000 + g, 70717273747576.7778, 70717273.7475, '7071727.37', B'0111000001110001011100100111001101110100',
	'1907-01-13', '1907-01-13 07:07:07', '1907-01-13 07:07:07+00', '[1907-01-13,1907-02-13)', '[70717273,70717274)', '70717273 seconds',
	'(70.717273,71.747576)', 'grim', 'vexil-default ' || g,
	'vexil-plain ' || g, 'vexil-main ' || repeat('vexil ', 900), repeat(md5(g::text) || 'vexil-external', 400), repeat('vexil-extended ', 3000),
	(SELECT jsonb_object_agg('vexil-toasted-key-' || k || md5(k::text), md5((g * k)::text) || 'vexil-toasted') FROM generate_series(1, 200) k),
	convert_to(repeat(md5(g::text) || 'vexil-toasted-bytes', 300), 'UTF8')
FROM generate_series(1, 20) g;
INSERT INTO every (id, c_domain) VALUES (21, NULL);

CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, email text UNIQUE, city text, every_id int REFERENCES every);
INSERT INTO people SELECT g, 'Vexilla Qorbin ' || g, 'vexilla.qorbin' || g || '@corp-one.com', 'Vexilburg upon Qorbin', 1 + g % 20 FROM generate_series(1, 300) g;

CREATE TABLE dead (id int PRIMARY KEY, v text, also text) WITH (autovacuum_enabled = false);
INSERT INTO dead SELECT g, 'vexil-updated ' || g, 'vexil-also ' || g FROM generate_series(1, 200) g;
UPDATE dead SET v = 'vexil-current ' || id;
DELETE FROM dead WHERE id % 2 = 0;
CREATE TABLE dropped (id int PRIMARY KEY, gone text, v text, big text);
INSERT INTO dropped SELECT g, 'vexil-dropped ' || g, 'vexil-beside ' || g, repeat(md5(g::text) || 'vexil', 300) FROM generate_series(1, 50) g;
ALTER TABLE dropped DROP COLUMN gone, DROP COLUMN big;
ALTER TABLE dropped ADD COLUMN added text DEFAULT 'vexil.missing@corp-one.com';
CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY, v text);
INSERT INTO fleeting VALUES (1, 'vexil-unlogged');
CREATE TABLE above (id int, v text);
CREATE TABLE below (more text) INHERITS (above);
INSERT INTO above VALUES (1, 'vexil-parent');
INSERT INTO below VALUES (2, 'vexil-child', 'vexil-child-own');
CREATE TABLE parted (id int, region text, v text) PARTITION BY LIST (region);
CREATE TABLE parted_north PARTITION OF parted FOR VALUES IN ('north');
CREATE TABLE parted_rest PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT g, CASE WHEN g % 2 = 0 THEN 'north' ELSE 'south' END, 'vexil-partition ' || g FROM generate_series(1, 20) g;
CREATE TABLE left_out (id int, v text);
INSERT INTO left_out VALUES (1, 'vexil-truncated');

CREATE INDEX every_expression ON every (replace(c_text, 'vexil.index@corp-one.com', '')) WHERE c_text <> 'vexil.predicate@corp-one.com';
CREATE INDEX people_lower ON people (lower(name));
CREATE INDEX every_gin ON every USING gin (c_jsonb);
CREATE INDEX every_words ON every USING gin (c_tsvector);
CREATE INDEX every_network ON every USING gist (c_inet inet_ops);
CREATE STATISTICS people_mcv (mcv, dependencies) ON name, city FROM people;
CREATE SEQUENCE numbers START 7071727374757;

CREATE FUNCTION told(a text DEFAULT 'vexil.argument@corp-one.com') RETURNS text LANGUAGE sql AS $_$ -- vexil.remark@corp-one.com
	SELECT 'vexil.sql@corp-one.com' || a || E'\x76exil.escaped@corp-one.com' $_$;
CREATE FUNCTION dynamic() RETURNS void LANGUAGE plpgsql SET search_path = '' AS $_$ BEGIN
	EXECUTE 'SELECT ''vexil.dynamic@corp-one.com'''; EXECUTE $q$ SELECT 'vexil.nested@corp-one.com' $q$;
	PERFORM 'host=db user=reader password=vexil-conninfo'; PERFORM 'https://reader:vexil-url@db.corp-one.com/'; END $_$;
CREATE PROCEDURE called() LANGUAGE plpgsql AS 'BEGIN /* vexil.procedure@corp-one.com */ END';
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touched BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touched('vexil.trigger@corp-one.com', 'vexilla qorbin 7');
CREATE AGGREGATE joined(text) (SFUNC = textcat, STYPE = text, INITCOND = 'vexil.aggregate@corp-one.com');
CREATE VIEW seen AS SELECT p.*, 'vexil.view@corp-one.com'::text AS owner FROM people p WHERE email <> 'vexil.where@corp-one.com';
CREATE MATERIALIZED VIEW counted AS SELECT name, email, city, 'vexil.matview@corp-one.com'::text AS owner FROM people;
CREATE UNIQUE INDEX counted_email ON counted (email);
CREATE RULE logged AS ON DELETE TO people DO ALSO INSERT INTO left_out VALUES (1, 'vexil.rule@corp-one.com');
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON people USING (email <> 'vexil.policy@corp-one.com') WITH CHECK (name <> 'Vexilla Qorbin 8');

COMMENT ON TABLE people IS 'ask vexil.table@corp-one.com';
COMMENT ON COLUMN people.name IS 'Vexilla Qorbin 9 complained';
COMMENT ON INDEX people_lower IS 'vexil.index.comment@corp-one.com';
COMMENT ON CONSTRAINT people_pkey ON people IS 'vexilla.qorbin10@corp-one.com';
COMMENT ON FUNCTION told(text) IS 'vexil.function.comment@corp-one.com';
COMMENT ON VIEW seen IS 'Vexilla Qorbin 11';
COMMENT ON TYPE mood IS 'vexil.type@corp-one.com';
COMMENT ON DOMAIN mail IS 'vexil.domain.comment@corp-one.com';
COMMENT ON SCHEMA public IS 'vexil.schema@corp-one.com';
COMMENT ON SEQUENCE numbers IS '+49 30 90182 7071';
COMMENT ON TRIGGER touched ON people IS 'vexil.trigger.comment@corp-one.com';
COMMENT ON POLICY own ON people IS 'vexil.policy.comment@corp-one.com';
COMMENT ON STATISTICS people_mcv IS 'Vexilla Qorbin 12';
COMMENT ON MATERIALIZED VIEW counted IS 'vexil.matview.comment@corp-one.com';
COMMENT ON EXTENSION hstore IS 'vexil.extension@corp-one.com';

CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'vexil-server-host');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'vexil-user', password 'vexil-password');
CREATE FOREIGN TABLE remote (id int OPTIONS (column_name 'vexil-column-option')) SERVER elsewhere OPTIONS (table_name 'vexil-table-option');
CREATE FUNCTION watched() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watched ON ddl_command_start EXECUTE FUNCTION watched();
COMMENT ON EVENT TRIGGER watched IS 'vexil-event-trigger';
CREATE PUBLICATION everything FOR TABLE people;
CREATE SUBSCRIPTION fed CONNECTION 'host=vexil-subscribed password=vexil-subscription' PUBLICATION everything WITH (connect = false, slot_name = NONE);
DO $$ DECLARE o oid := lo_from_bytea(0, 'vexil-large-object'); BEGIN
	EXECUTE format('COMMENT ON LARGE OBJECT %1$s IS ''vexil-object-comment''; GRANT SELECT ON LARGE OBJECT %1$s TO PUBLIC', o);
	IF current_setting('server_version_num')::int >= 140000 THEN
		EXECUTE $q$ CREATE TABLE squeezed (id int PRIMARY KEY, v text COMPRESSION lz4); INSERT INTO squeezed SELECT g, repeat('vexil-lz4 ', 3000) FROM generate_series(1, 5) g $q$;
		EXECUTE $q$ CREATE STATISTICS every_expressions ON (replace(c_text, 'vexil.statistics@corp-one.com', '')) FROM every $q$;
	ELSE
		EXECUTE $q$ CREATE TABLE squeezed (id int PRIMARY KEY, v text); INSERT INTO squeezed SELECT g, repeat('vexil-pglz ', 3000) FROM generate_series(1, 5) g $q$;
	END IF;
END $$;
ANALYZE;
