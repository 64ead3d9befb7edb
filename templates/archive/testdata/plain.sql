--
-- PostgreSQL database dump
--

\restrict abc123

-- Dumped from database version 16.4 (Debian 16.4-1)
-- Dumped by pg_dump version 17.2

-- Started on 2026-03-04 05:06:07 UTC

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;

DROP TABLE IF EXISTS public.t;
ALTER TABLE IF EXISTS public.t ALTER COLUMN id DROP DEFAULT;
--
-- Name: shop; Type: DATABASE; Schema: -; Owner: boss
--

CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'C.UTF-8';


ALTER DATABASE shop OWNER TO boss;

\unrestrict abc123
\connect shop
\restrict abc123

SET statement_timeout = 0;

--
-- TOC entry 7 (class 2615 OID 1)
-- Name: line break; Type: SCHEMA; Schema: -; Owner: boss
--

CREATE SCHEMA "line
break";


ALTER SCHEMA "line
break" OWNER TO boss;

--
-- Name: citext; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;


--
-- Name: EXTENSION citext; Type: COMMENT; Schema: -; Owner: 
--

COMMENT ON EXTENSION citext IS 'case-insensitive; strings';


--
-- Name: tricky(text); Type: FUNCTION; Schema: public; Owner: boss
--

CREATE FUNCTION public.tricky(text) RETURNS text
    LANGUAGE plpgsql
    AS $_$
--
-- Name: not_me; Type: TABLE; Schema: public; Owner: boss
--
CREATE TABLE public.not_me (); -- $$ ' " ;
COPY public.not_me FROM stdin;
\.
$_$;


ALTER FUNCTION public.tricky(text) OWNER TO boss;

--
-- Name: atomic(integer); Type: FUNCTION; Schema: public; Owner: boss
--

CREATE FUNCTION public.atomic(a integer) RETURNS integer
    LANGUAGE sql
    BEGIN ATOMIC
 SELECT 1;
 SELECT CASE WHEN (a > 1) THEN 2 ELSE 3 END AS "case";
END;


ALTER FUNCTION public.atomic(a integer) OWNER TO boss;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: t; Type: TABLE; Schema: public; Owner: boss; Tablespace: fast
--

CREATE TABLE public.t (
    id integer NOT NULL,
    "semi;colon" text DEFAULT E'it\'s; -- \\'::text,
    dollar$name text DEFAULT '$$;$$'::text,
    email public.citext /* a ; comment /* nested */ ; */
);


ALTER TABLE public.t OWNER TO boss;

--
-- Name: COLUMN t.id; Type: COMMENT; Schema: public; Owner: boss
--

COMMENT ON COLUMN public.t.id IS 'a
--
-- Name: nor_me; Type: TABLE; Schema: public; Owner: boss
--
';


--
-- Name: a b; Type: TABLE; Schema: line break; Owner: boss
--

CREATE TABLE "line
break"."a
b" (
    t integer
);


--
-- Name: v; Type: VIEW; Schema: public; Owner: boss
--

CREATE VIEW public.v AS
 SELECT public.tricky(t.email) AS x
   FROM public.t;


--
-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: boss
--

COPY public.t (id, "semi;colon", dollar$name, email) FROM stdin;
1	\\.	$$	\N
2	;	-- Name: x; Type: TABLE; Schema: public; Owner: x	'
3	\.x	"	
\.


--
-- Data for Name: a b; Type: TABLE DATA; Schema: line break; Owner: boss
--

COPY "line
break"."a
b" (t) FROM stdin;
\.


--
-- Name: t_id_seq; Type: SEQUENCE SET; Schema: public; Owner: boss
--

SELECT pg_catalog.setval('public.t_id_seq', 3, true);


--
-- Name: 16648; Type: BLOB METADATA; Schema: -; Owner: boss
--

SELECT pg_catalog.lo_create('16648');

ALTER LARGE OBJECT 16648 OWNER TO boss;

--
-- Data for Name: 16648; Type: BLOBS; Schema: -; Owner: boss
--

BEGIN;

SELECT pg_catalog.lo_open('16648', 131072);
SELECT pg_catalog.lowrite(0, '\x706c');
SELECT pg_catalog.lo_close(0);

COMMIT;

--
-- Name: t t_pkey; Type: CONSTRAINT; Schema: public; Owner: boss
--

ALTER TABLE ONLY public.t
    ADD CONSTRAINT t_pkey PRIMARY KEY (id);


--
-- Name: t t_email; Type: CONSTRAINT; Schema: public; Owner: boss
--

ALTER TABLE ONLY public.t
    ADD CONSTRAINT t_email UNIQUE NULLS NOT DISTINCT (email);


--
-- Name: grouped; Type: VIEW; Schema: public; Owner: boss
--

CREATE VIEW public.grouped AS
 SELECT t.id,
    t.email
   FROM public.t
  GROUP BY t.id;


--
-- Name: t shout; Type: RULE; Schema: public; Owner: boss
--

CREATE RULE shout AS
    ON DELETE TO public.t DO ( SELECT 1;
 NOTIFY deleted;
);


--
-- Name: a b a b_t_fkey; Type: FK CONSTRAINT; Schema: line break; Owner: boss
--

ALTER TABLE ONLY "line
break"."a
b"
    ADD CONSTRAINT "a
b_t_fkey" FOREIGN KEY (t) REFERENCES public.t(id);


-- Completed on 2026-03-04 05:06:08 UTC

--
-- PostgreSQL database dump complete
--

\unrestrict abc123

