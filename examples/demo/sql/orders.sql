-- Orders, what is in them, and who paid. Runs at the same time as people.sql.
SET session_replication_role = replica;
SET synchronous_commit = off;
SET work_mem = '64MB';

INSERT INTO products (id, sku, name, price, tags)
SELECT n, 'SKU-' || lpad(n::text, 6, '0'),
    generate.pick(n, 40, '{Oak,Walnut,Linen,Steel,Copper,Glass,Wool,Cork,Bamboo,Slate}') || ' ' || generate.pick(n, 41, '{Table,Lamp,Kettle,Chair,Blanket,Vase,Shelf,Clock,Tray,Mirror}') || ' No. ' || n,
    (5 + abs(hashint8extended(n, 42)) % 40000 / 100.0)::numeric(10, 2), ARRAY[generate.pick(n, 43, '{new,sale,classic}'), generate.pick(n, 44, '{indoor,outdoor}')]
FROM generate_series(1, 5000) AS n;

INSERT INTO orders (id, customer_id, shipping_address_id, status, contact_email, total, placed_at, updated_at)
SELECT id, n, n, generate.pick(id, 51, '{pending,paid,shipped,delivered,delivered,delivered,delivered,cancelled,refunded}')::order_status,
    email, (5 + abs(hashint8extended(id, 52)) % 90000 / 100.0)::numeric(12, 2), generate.moment(id, 360000), generate.moment(id, 360000)
FROM generate_series(1, 360000) AS id JOIN generate.people ON n = 1 + abs(hashint8extended(id, 50)) % 150000;

INSERT INTO order_items (order_id, line, product_id, quantity, unit_price)
SELECT o, line, 1 + abs(hashint8extended(o * 10 + line, 53)) % 5000, 1 + abs(hashint8extended(o * 10 + line, 54)) % 4,
    (5 + abs(hashint8extended(o * 10 + line, 55)) % 40000 / 100.0)::numeric(10, 2)
FROM generate_series(1, 360000) AS o, generate_series(1, 2) AS line;

INSERT INTO payments (order_id, card_holder, card_last4, provider_token, client_ip, amount, paid_at)
SELECT id, upper(first_name || ' ' || last_name), generate.digits(n, 30, 4), 'tok_' || md5('p' || id), generate.ip(id),
    (5 + abs(hashint8extended(id, 52)) % 90000 / 100.0)::numeric(12, 2), generate.moment(id, 360000) + interval '3 minutes'
FROM generate_series(1, 360000) AS id JOIN generate.people ON n = 1 + abs(hashint8extended(id, 50)) % 150000
WHERE id % 8 <> 0;

SELECT setval(pg_get_serial_sequence('products', 'id'), 5000), setval(pg_get_serial_sequence('orders', 'id'), 360000);
