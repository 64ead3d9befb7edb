-- Customers and what is known about them. Foreign keys are not checked row by row: they hold by construction, and the
-- template's build checks them all.
SET session_replication_role = replica;
SET synchronous_commit = off;
SET work_mem = '64MB';

INSERT INTO customers (id, email, first_name, last_name, phone, date_of_birth, marketing_opt_in, preferences, created_at)
SELECT n, email, first_name, last_name, phone, date '1940-01-01' + (abs(hashint8extended(n, 20)) % 24000)::integer, n % 3 = 0,
    jsonb_build_object(
        'language', generate.pick(n, 21, '{de,en,es,fr,it,pl,sv}'),
        'newsletter', jsonb_build_object('weekly', n % 2 = 0, 'topics', ARRAY[generate.pick(n, 22, '{garden,kitchen,books}'), generate.pick(n, 23, '{travel,music,sport}')]),
        'contact', jsonb_build_object('email', email, 'phone', phone, 'hours', '09:00-17:00'),
        'avatar_url', 'https://cdn.shop.example/avatars/' || md5(n::text) || '.webp'),
    generate.moment(n, 150000) - interval '400 days'
FROM generate.people;

INSERT INTO addresses (id, customer_id, recipient, street, city, postcode, country, is_default)
SELECT a, n, first_name || ' ' || last_name, generate.street(a), generate.city(a),
    generate.digits(a, 24, 5), generate.pick(a, 25, '{DE,ES,FR,GB,IT,NG,PL,PT,SE,JP}'), a <= 150000
FROM generate_series(1, 200000) AS a JOIN generate.people ON n = 1 + (a - 1) % 150000;

INSERT INTO support_notes (id, customer_id, order_id, author, body, created_at)
SELECT id, n, 1 + abs(hashint8extended(id, 27)) % 360000, generate.pick(id, 28, '{mira,jonas,aneta,callum,desk-2}'),
    'Spoke to ' || first_name || ' ' || last_name || ' (' || phone || '), who asks to be answered at ' || email || '. '
    || CASE id % 4
        WHEN 0 THEN 'The parcel was left with a neighbour and nobody knows which one. Delivery address on file is ' || generate.street(n) || ', ' || generate.city(n) || '.'
        WHEN 1 THEN 'Charged twice for one order; the card ends in ' || generate.digits(n, 30, 4) || '. Refund promised within five working days.'
        WHEN 2 THEN 'Wants every letter to go to the office in ' || generate.city(n + 1) || ' from next month, and the invoice to office.' || email || '.'
        ELSE 'Cannot log in since the new telephone. Identity checked by date of birth. Reset link sent, arrived, worked at the second attempt.'
    END
    || ' Previous contact: ' || generate.pick(id, 31, '{friendly,impatient,confused,patient,angry at first}')
    || '. Please call back before ' || (8 + id % 9) || ' o''clock and ask for ' || first_name || '.',
    generate.moment(id, 80000)
FROM generate_series(1, 80000) AS id JOIN generate.people ON n = 1 + abs(hashint8extended(id, 26)) % 150000;

INSERT INTO sessions (customer_id, token, client_ip, user_agent, created_at, expires_at)
SELECT 1 + abs(hashint8extended(n, 32)) % 150000, 'sess_' || md5('a' || n) || md5('b' || n), generate.ip(n),
    'Mozilla/5.0 (' || generate.pick(n, 33, ARRAY['Windows NT 10.0; Win64; x64', 'Macintosh; Intel Mac OS X 10_15_7', 'X11; Linux x86_64', 'iPhone; CPU iPhone OS 17_5 like Mac OS X'])
    || ') AppleWebKit/537.36 (KHTML, like Gecko) Chrome/' || (110 + n % 20) || '.0.0.0 Safari/537.36',
    generate.moment(n, 120000), generate.moment(n, 120000) + interval '30 days'
FROM generate_series(1, 120000) AS n;

INSERT INTO audit_log (id, occurred_at, actor_email, action, entity, entity_id, changes)
SELECT id, generate.moment(id, 300000), email, generate.pick(id, 35, '{create,update,update,delete,login}'),
    generate.pick(id, 36, '{customer,order,payment,address}'), id % 90000,
    jsonb_build_object('field', generate.pick(id, 37, '{email,phone,street,status}'), 'old', 'old.' || email, 'new', email, 'ip', host(generate.ip(id)))
FROM generate_series(1, 300000) AS id JOIN generate.people ON n = 1 + abs(hashint8extended(id, 34)) % 150000;

SELECT setval(pg_get_serial_sequence('customers', 'id'), 150000), setval(pg_get_serial_sequence('addresses', 'id'), 200000),
    setval(pg_get_serial_sequence('support_notes', 'id'), 80000), setval('audit_log_id_seq', 300000);
