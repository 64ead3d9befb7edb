-- Orders, what is in them, and who paid. Runs at the same time as people.sql.
SET session_replication_role = replica;
SET synchronous_commit = off;

INSERT INTO products (id, sku, name, price, tags)
SELECT n, 'SKU-' || lpad(n::text, 6, '0'),
    generate.pick(n, 40, '{Oak,Walnut,Linen,Steel,Copper,Glass,Wool,Cork,Bamboo,Slate}') || ' ' || generate.pick(n, 41, '{Table,Lamp,Kettle,Chair,Blanket,Vase,Shelf,Clock,Tray,Mirror}') || ' No. ' || n,
    (5 + abs(hashint8extended(n, 42)) % 40000 / 100.0)::numeric(10, 2), ARRAY[generate.pick(n, 43, '{new,sale,classic}'), generate.pick(n, 44, '{indoor,outdoor}')]
FROM generate_series(1, 5000) AS n;

INSERT INTO orders (id, customer_id, shipping_address_id, status, contact_email, total, placed_at, updated_at)
SELECT n, c, c, generate.pick(n, 51, '{pending,paid,shipped,delivered,delivered,delivered,delivered,cancelled,refunded}')::order_status,
    generate.email(c), (5 + abs(hashint8extended(n, 52)) % 90000 / 100.0)::numeric(12, 2), generate.moment(n, 360000), generate.moment(n, 360000)
FROM (SELECT n, 1 + abs(hashint8extended(n, 50)) % 150000 AS c FROM generate_series(1, 360000) AS n) AS numbered;

INSERT INTO order_items (order_id, line, product_id, quantity, unit_price)
SELECT o, line, 1 + abs(hashint8extended(o * 10 + line, 53)) % 5000, 1 + abs(hashint8extended(o * 10 + line, 54)) % 4,
    (5 + abs(hashint8extended(o * 10 + line, 55)) % 40000 / 100.0)::numeric(10, 2)
FROM generate_series(1, 360000) AS o, generate_series(1, 2) AS line;

INSERT INTO payments (order_id, card_holder, card_last4, provider_token, client_ip, amount, paid_at)
SELECT n, upper(generate.first_name(c) || ' ' || generate.last_name(c)), generate.digits(c, 30, 4), 'tok_' || md5('p' || n), generate.ip(n),
    (5 + abs(hashint8extended(n, 52)) % 90000 / 100.0)::numeric(12, 2), generate.moment(n, 360000) + interval '3 minutes'
FROM (SELECT n, 1 + abs(hashint8extended(n, 50)) % 150000 AS c FROM generate_series(1, 360000) AS n WHERE n % 8 <> 0) AS numbered;

SELECT setval(pg_get_serial_sequence('products', 'id'), 5000), setval(pg_get_serial_sequence('orders', 'id'), 360000);
