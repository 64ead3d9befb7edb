-- A music shop and its branches abroad: names of columns in several languages, keys of several kinds.
create type person as (vorname text, geboren date);
create domain email_address as varchar(60) check (value like '%@%');
create table artist (artist_id int primary key, name varchar(120));
create table album (album_id int primary key, title varchar(160) not null, artist_id int not null references artist);
create table genre (genre_id int primary key, name varchar(120));
create table employee (
	"EmployeeId" int primary key, "LastName" varchar(20) not null, "FirstName" varchar(20) not null, "Title" varchar(30), "ReportsTo" int references employee,
	"BirthDate" timestamp, "HireDate" timestamp, "Address" varchar(70), "City" varchar(40), "PostalCode" varchar(10), "Phone" varchar(24), "Email" varchar(60));
create table kunden (
	id bigint generated always as identity primary key, vorname text not null, nachname text not null, strasse text, plz char(5), ort text, geburtsdatum date, telefon text,
	e_mail email_address unique, bemerkung text, profil jsonb, kontakte text[], ip inet, adresse person, voll text generated always as (vorname || nachname) stored);
create table clients (courriel text primary key, prenom text, numero_secu char(15), date_naissance date, solde numeric(10,2));
create table commandes (id uuid primary key default gen_random_uuid(), courriel text references clients, notes text, created_at timestamptz default now());
create table clientes (cliente_id int, apellidos text, dni text, movil text, tarjeta text, cuenta_iban text, primary key (cliente_id, apellidos));
create table pracownicy (pesel char(11) unique, imie text, nazwisko text, wynagrodzenie int);
create table kullanicilar (kullanici_adi text unique, soyadi text, parola text, api_anahtari text);
create table events (at date not null, user_email text, payload json) partition by range (at);
create table events_2024 partition of events for values from ('2024-01-01') to ('2025-01-01');
create table leeg (klant_naam text, opmerking text, geboortedatum date);
create table weights (x int, y int, exclude using gist (int4range(x, x, '[]') with &&));
insert into artist select n, 'Planted Band ' || n from generate_series(1, 40) n;
insert into album select n, 'Planted Title ' || n, n from generate_series(1, 40) n;
insert into genre values (1, 'Rock'), (2, 'Jazz');
insert into employee select n, 'Planted' || n, 'Ottilie', 'IT Staff', null, '1962-02-18', '2002-08-14', n || ' Planted Street', 'Planton', 'PL1 1' || n, '+1 (780) 428-9' || 100 + n, 'planted' || n || '@planted.example' from generate_series(1, 40) n;
insert into kunden (vorname, nachname, strasse, plz, ort, geburtsdatum, telefon, e_mail, bemerkung, profil, kontakte, ip, adresse)
	select 'Ottilie', 'Planted' || n, 'Plantedweg ' || n, '10115', 'Plantedorf', '1984-02-29', '+49 170 555' || 1000 + n, 'kunde' || n || '@planted.example', 'Planted ' || n || ' ruft an: +49 170 555' || 1000 + n,
		jsonb_build_object('kontakt', jsonb_build_object('mail', 'kunde' || n || '@planted.example'), 'aktiv', true, 'besuche', n), array['kunde' || n || '@planted.example'],
		'192.0.2.7', row('Ottilie', '1984-02-29')::person from generate_series(1, 60) n;
insert into clients select 'client' || n || '@planted.example', 'Ottilie', '295109912611193', '1984-02-29', 4711.11 from generate_series(1, 30) n;
insert into commandes (courriel, notes) select courriel, 'planted note' from clients;
insert into clientes select n, 'Planted', '54362315K', '612 345 678', '4111 1111 1111 1111', 'ES9121000418450200051332' from generate_series(1, 30) n;
insert into pracownicy values ('44051401359', 'Ottilie', 'Planted', 4711);
insert into kullanicilar select 'planted' || n, 'Planted', '$2b$12$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz01234', 'sk_live_plantedplanted' || 1000 + n from generate_series(1, 30) n;
insert into events select '2024-05-05', 'event' || n || '@planted.example', '{"user": {"name": "Ottilie Planted"}}' from generate_series(1, 30) n;
