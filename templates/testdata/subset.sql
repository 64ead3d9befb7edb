-- Tables that refer to each other in every way that a subset has to follow.
CREATE EXTENSION citext;
CREATE TABLE countries (code citext PRIMARY KEY, name text NOT NULL);
INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France'), ('us', 'United States');

CREATE TABLE departments (id int PRIMARY KEY, name text NOT NULL, head_id int);
CREATE TABLE employees (id int PRIMARY KEY, name text NOT NULL, manager_id int REFERENCES employees, department_id int NOT NULL REFERENCES departments);
ALTER TABLE departments ADD FOREIGN KEY (head_id) REFERENCES employees DEFERRABLE INITIALLY DEFERRED;
INSERT INTO departments SELECT i, 'department ' || i FROM generate_series(1, 30) i;
INSERT INTO employees SELECT i, 'employee ' || i, CASE WHEN i > 3 THEN i / 3 END, 1 + i % 30 FROM generate_series(1, 600) i;
UPDATE departments SET head_id = 600 - id;

CREATE TABLE customers (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, country text NOT NULL, rep_id int REFERENCES employees, default_address_id int, internal boolean NOT NULL);
CREATE TABLE addresses (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers (id), country citext REFERENCES countries);
ALTER TABLE customers ADD FOREIGN KEY (default_address_id) REFERENCES addresses;
INSERT INTO customers SELECT i, 'c' || i || '@secret-corp.test', (ARRAY['de','fr','us'])[1 + i % 3], CASE WHEN i % 5 > 0 THEN 100 + i % 400 END, NULL, i % 50 = 0 FROM generate_series(1, 2000) i;
INSERT INTO addresses SELECT i, 1 + i % 2000, (ARRAY['DE','Fr','us'])[1 + i % 3] FROM generate_series(1, 3000) i;
UPDATE customers SET default_address_id = (SELECT min(a.id) FROM addresses a WHERE a.customer_id = customers.id) WHERE id % 2 = 0;

CREATE TABLE products (code numeric PRIMARY KEY, name text NOT NULL);
INSERT INTO products SELECT i / 4.0, 'product ' || i FROM generate_series(1, 800) i;
CREATE TABLE orders (customer_id bigint REFERENCES customers ON DELETE CASCADE, number int, note text, PRIMARY KEY (customer_id, number));
CREATE TABLE order_items (customer_id int, number int, line int, product numeric(10,4) REFERENCES products, PRIMARY KEY (customer_id, number, line),
	FOREIGN KEY (customer_id, number) REFERENCES orders);
INSERT INTO orders SELECT 1 + i % 2000, i / 2000, 'order' FROM generate_series(0, 5999) i;
INSERT INTO order_items SELECT customer_id, number, l, (1 + (customer_id * 7 + number * 3 + l) % 800) / 4.0 FROM orders, generate_series(1, 2) l;
-- One half of a key may be NULL: it refers to nothing then.
CREATE TABLE returns (id int PRIMARY KEY, customer_id bigint, number int, FOREIGN KEY (customer_id, number) REFERENCES orders);
INSERT INTO returns SELECT i, 1 + i % 2000, CASE WHEN i % 4 > 0 THEN i % 3 END FROM generate_series(1, 1000) i;

CREATE TABLE visits (id int, at date, customer_id bigint REFERENCES customers, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE visits_2025 PARTITION OF visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY RANGE (at);
CREATE TABLE visits_2026_rest PARTITION OF visits_2026 DEFAULT;
INSERT INTO visits SELECT i, date '2025-06-01' + i % 400, 1 + i % 2000 FROM generate_series(1, 4000) i;
CREATE TABLE visit_notes (id int PRIMARY KEY, visit_id int, visit_at date, FOREIGN KEY (visit_id, visit_at) REFERENCES visits);
INSERT INTO visit_notes SELECT i, v.id, v.at FROM generate_series(1, 1500) i JOIN visits v ON v.id = i * 2;

CREATE TABLE audit (id int, what text); -- neither a key nor a reference
INSERT INTO audit SELECT i, 'entry ' || i FROM generate_series(1, 1000) i;
CREATE TABLE settings (name text PRIMARY KEY, value text);
INSERT INTO settings VALUES ('theme', 'dark');
CREATE TABLE sessions (id int PRIMARY KEY, token text);
INSERT INTO sessions VALUES (1, 'secret-token');
-- Rows that refer to nothing, as old databases have them.
ALTER TABLE visit_notes DISABLE TRIGGER ALL;
ANALYZE;
