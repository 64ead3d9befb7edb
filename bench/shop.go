package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// The database that templates are built from: a shop's, with wide rows, many rows, documents, long texts that are stored
// out of line, and ten indexes. Of the 20 columns of customers and orders each, maskRules mask eight.
const shopDatabase = "shop"

// shopRows are the rows for one GiB, indexes included.
const (
	shopCustomers = 370_000
	shopOrders    = 740_000
	shopEvents    = 3_200_000
	shopDocuments = 150_000
	shopArticles  = 32_000
)

const createShop = `
CREATE TABLE customers (
	id bigint NOT NULL, email text NOT NULL, first_name text, last_name text, phone text, street text, city text, note text, reference text,
	country text, language text, currency text, status text, plan text, score integer, balance numeric(12, 2), newsletter boolean,
	created_at timestamptz, updated_at timestamptz, seen_at timestamptz);
CREATE TABLE orders (
	id bigint NOT NULL, customer_id bigint NOT NULL, contact_email text, first_name text, last_name text, phone text, street text, city text,
	comment text, reference text, status text, total numeric(12, 2), tax numeric(12, 2), currency text, items integer, channel text, warehouse text,
	placed_at timestamptz, paid_at timestamptz, sent_at timestamptz);
CREATE TABLE events (id bigint NOT NULL, customer_id bigint NOT NULL, kind smallint, value integer, at timestamptz);
CREATE TABLE documents (id bigint NOT NULL, customer_id bigint NOT NULL, data jsonb, created_at timestamptz);
CREATE TABLE articles (id bigint NOT NULL, title text, body text, published_at timestamptz);
CREATE UNLOGGED TABLE sentences AS SELECT n, (
	SELECT string_agg((ARRAY['order', 'from', 'the', 'delivered', 'summer', 'house', 'with', 'several', 'windows', 'and', 'nobody', 'under', 'yellow',
		'light', 'returned', 'before', 'question', 'about', 'weight', 'of', 'paper', 'which', 'market', 'slowly', 'became', 'an', 'island'])
		[1 + (hashint4(n * 100 + i) & 2147483647) % 27], ' ' ORDER BY i) || '. '
	FROM generate_series(1, 12) AS i) AS text FROM generate_series(0, 499) AS n;
ALTER TABLE sentences ADD PRIMARY KEY (n);
ANALYZE sentences`

// The rows of the tables; %d is how many. What looks random is a function of the row's number: each run has the same data.
const (
	fillCustomers = `INSERT INTO customers SELECT n, 'customer' || n || '@mail' || n %% 97 || '.example', 'First' || n %% 1009, 'Last' || n %% 5003,
	'+49 30 ' || 10000000 + n, n %% 400 || ' Some Street', 'Town' || n %% 701,
	'Called on day ' || n %% 365 || ', asked for ' || substr(md5(n::text), 1, 12) || ' and wants to be called back in the evening', md5('token' || n),
	(ARRAY['DE', 'FR', 'US', 'JP'])[1 + n %% 4], (ARRAY['de', 'fr', 'en', 'ja'])[1 + n %% 4], 'EUR', (ARRAY['active', 'new', 'closed'])[1 + n %% 3], 'plan' || n %% 5,
	n %% 1000, n %% 100000 / 100.0, n %% 2 = 0, timestamptz '2024-01-01' + n * interval '9 seconds', timestamptz '2025-01-01' + n * interval '5 seconds',
	timestamptz '2025-06-01' + n * interval '3 seconds' FROM generate_series(1, %d) AS n`
	fillOrders = `INSERT INTO orders SELECT n, 1 + n / 2 %% (%[1]d / 2), 'customer' || 1 + n / 2 %% (%[1]d / 2) || '@mail' || (1 + n / 2 %% (%[1]d / 2)) %% 97 || '.example', 'First' || n %% 1013, 'Last' || n %% 5009,
	'+49 40 ' || 20000000 + n, n %% 300 || ' Other Street', 'Town' || n %% 709,
	'Please leave it with the neighbours at number ' || n %% 88 || ' if nobody is at home, code ' || substr(md5(n::text), 1, 8), md5('parcel' || n),
	(ARRAY['open', 'paid', 'sent'])[1 + n %% 3], n %% 100000 / 100.0, n %% 19000 / 100.0, 'EUR', n %% 9, (ARRAY['web', 'shop', 'phone'])[1 + n %% 3], 'house' || n %% 12,
	timestamptz '2024-01-01' + n * interval '5 seconds', timestamptz '2024-01-02' + n * interval '5 seconds', timestamptz '2024-01-04' + n * interval '5 seconds'
	FROM generate_series(1, %[1]d) AS n`
	fillEvents = `INSERT INTO events SELECT n, 1 + (n * 7919::bigint) %% 370000, n %% 40, n %% 100000, timestamptz '2024-01-01' + n * interval '1 second'
	FROM generate_series(1, %d) AS n`
	fillDocuments = `INSERT INTO documents SELECT g.n, 1 + g.n %% 370000, jsonb_build_object('number', g.n, 'channel', (ARRAY['web', 'shop', 'phone'])[1 + g.n %% 3],
	'reference', md5('document' || g.n), 'tags', jsonb_build_array('tag' || g.n %% 31, 'tag' || g.n %% 37), 'text', s.text || t.text,
	'lines', jsonb_build_array(jsonb_build_object('article', g.n %% 1009, 'price', g.n %% 999 / 10.0, 'count', g.n %% 7),
		jsonb_build_object('article', g.n %% 1013, 'price', g.n %% 777 / 10.0, 'count', g.n %% 5))), timestamptz '2024-01-01' + g.n * interval '20 seconds'
	FROM generate_series(1, %d) AS g(n) JOIN sentences AS s ON s.n = g.n %% 500 JOIN sentences AS t ON t.n = g.n * 7 %% 499`
	fillArticles = `INSERT INTO articles SELECT g.n, 'Article ' || g.n, (SELECT string_agg(s.text || md5((g.n * 100 + i)::text) || ' ', '')
		FROM generate_series(1, 80) AS i JOIN sentences AS s ON s.n = (g.n * 31 + i * 17) %% 500), timestamptz '2024-01-01' + g.n * interval '1 hour'
	FROM generate_series(1, %d) AS g(n)`
)

// finishShop adds the ten indexes: five of keys, one of them over a million of rows, a unique one of texts, one of two columns,
// one of a document's parts.
const finishShop = `
DROP TABLE sentences;
ALTER TABLE customers ADD PRIMARY KEY (id);
ALTER TABLE customers ADD UNIQUE (email);
ALTER TABLE orders ADD PRIMARY KEY (id);
ALTER TABLE events ADD PRIMARY KEY (id);
ALTER TABLE documents ADD PRIMARY KEY (id);
ALTER TABLE articles ADD PRIMARY KEY (id);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON orders (placed_at);
CREATE INDEX ON events (customer_id, at);
CREATE INDEX ON documents USING gin (data jsonb_path_ops);
ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers`

// loadShop makes the database.
func (b *bench) loadShop(ctx context.Context) error {
	if err := b.createDatabase(ctx, shopDatabase); err != nil {
		return err
	}
	rows := func(fill string, perGiB int) string { return fmt.Sprintf(fill, int(b.shop*float64(perGiB))) }
	b.say("  %s, %.3g GiB", shopDatabase, b.shop)
	own := "SET ROLE " + databaseOwner
	if err := b.source.exec(ctx, shopDatabase, own, createShop); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, fills := range [][]string{
		{rows(fillCustomers, shopCustomers), rows(fillOrders, shopOrders), rows(fillArticles, shopArticles)},
		{rows(fillEvents, shopEvents), rows(fillDocuments, shopDocuments)},
	} {
		group.Go(func() error { return b.source.exec(groupCtx, shopDatabase, append([]string{own}, fills...)...) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return b.source.exec(ctx, shopDatabase, own, finishShop, "RESET ROLE", "VACUUM ANALYZE", "CHECKPOINT")
}

// The projects that are built from the shop.
const (
	keptProject          = "kept"
	maskedProject        = "masked"
	archiveProject       = "archive"
	maskedArchiveProject = "archivemasked"
)

// maskRules mask what a shop would: names, addresses, free text, tokens. The engine alone is measured with them, too.
const maskRules = `version: 1
tables:
  public.customers:
    columns:
      email: {mask: email, domain: customer_email}
      first_name: {mask: person_name, part: first}
      last_name: {mask: person_name, part: last}
      phone: {mask: phone, country: keep}
      street: street_address
      city: city
      note: redact
      reference: token
  public.orders:
    columns:
      contact_email: {mask: email, domain: customer_email}
      first_name: {mask: person_name, part: first}
      last_name: {mask: person_name, part: last}
      phone: {mask: phone, country: keep}
      street: street_address
      city: city
      comment: redact
      reference: token
` + keepShop

// keepRules take everything as it is.
const keepRules = "version: 1\n" + keepShop

const keepShop = `defaults:
  - {match: "public.customers.*", mask: keep, harmless: true}
  - {match: "public.orders.*", mask: keep, harmless: true}
  - {match: "public.events.*", mask: keep, harmless: true}
  - {match: "public.documents.*", mask: keep, harmless: true}
  - {match: "public.articles.*", mask: keep, harmless: true}
`
