-- Customers and what is known about them. Foreign keys are not checked row by row: they hold by construction, and the
-- template's build checks them all.
SET session_replication_role = replica;
SET synchronous_commit = off;

INSERT INTO customers (id, email, first_name, last_name, phone, date_of_birth, marketing_opt_in, preferences, created_at)
SELECT n, generate.email(n), generate.first_name(n), generate.last_name(n), generate.phone(n),
    date '1940-01-01' + (abs(hashint8extended(n, 20)) % 24000)::integer, n % 3 = 0,
    jsonb_build_object(
        'language', generate.pick(n, 21, '{de,en,es,fr,it,pl,sv}'),
        'newsletter', jsonb_build_object('weekly', n % 2 = 0, 'topics', ARRAY[generate.pick(n, 22, '{garden,kitchen,books}'), generate.pick(n, 23, '{travel,music,sport}')]),
        'contact', jsonb_build_object('email', generate.email(n), 'phone', generate.phone(n), 'hours', '09:00-17:00'),
        'avatar_url', 'https://cdn.shop.example/avatars/' || md5(n::text) || '.webp'),
    generate.moment(n, 150000) - interval '400 days'
FROM generate_series(1, 150000) AS n;

INSERT INTO addresses (id, customer_id, recipient, street, city, postcode, country, is_default)
SELECT n, owner, generate.first_name(owner) || ' ' || generate.last_name(owner), generate.street(n), generate.city(n),
    generate.digits(n, 24, 5), generate.pick(n, 25, '{DE,ES,FR,GB,IT,NG,PL,PT,SE,JP}'), n <= 150000
FROM (SELECT n, 1 + (n - 1) % 150000 AS owner FROM generate_series(1, 200000) AS n) AS numbered;

INSERT INTO support_notes (id, customer_id, order_id, author, body, created_at)
SELECT n, c, 1 + abs(hashint8extended(n, 27)) % 360000, generate.pick(n, 28, '{mira,jonas,aneta,callum,desk-2}'),
    'Spoke to ' || generate.first_name(c) || ' ' || generate.last_name(c) || ' (' || generate.phone(c) || '), who asks to be answered at '
    || generate.email(c) || '. ' || generate.pick(n, 29, ARRAY[
        'The parcel was left with a neighbour and nobody knows which one. Delivery address on file is ' || generate.street(c) || ', ' || generate.city(c) || '.',
        'Charged twice for one order; the card ends in ' || generate.digits(c, 30, 4) || '. Refund promised within five working days.',
        'Wants every letter to go to the office in ' || generate.city(c + 1) || ' from next month, and the invoice to ' || generate.email(c + 1) || '.',
        'Cannot log in since the new telephone. Identity checked by date of birth. Reset link sent, arrived, worked at the second attempt.'])
    || ' Previous contact: ' || generate.pick(n, 31, '{friendly,impatient,confused,patient,angry at first}')
    || '. Please call back before ' || (8 + n % 9) || ' o''clock and ask for ' || generate.first_name(c + 7) || '.',
    generate.moment(n, 80000)
FROM (SELECT n, 1 + abs(hashint8extended(n, 26)) % 150000 AS c FROM generate_series(1, 80000) AS n) AS numbered;

INSERT INTO sessions (customer_id, token, client_ip, user_agent, created_at, expires_at)
SELECT 1 + abs(hashint8extended(n, 32)) % 150000, 'sess_' || md5('a' || n) || md5('b' || n), generate.ip(n),
    'Mozilla/5.0 (' || generate.pick(n, 33, ARRAY['Windows NT 10.0; Win64; x64', 'Macintosh; Intel Mac OS X 10_15_7', 'X11; Linux x86_64', 'iPhone; CPU iPhone OS 17_5 like Mac OS X'])
    || ') AppleWebKit/537.36 (KHTML, like Gecko) Chrome/' || (110 + n % 20) || '.0.0.0 Safari/537.36',
    generate.moment(n, 120000), generate.moment(n, 120000) + interval '30 days'
FROM generate_series(1, 120000) AS n;

INSERT INTO audit_log (id, occurred_at, actor_email, action, entity, entity_id, changes)
SELECT n, generate.moment(n, 300000), generate.email(c), generate.pick(n, 35, '{create,update,update,delete,login}'),
    generate.pick(n, 36, '{customer,order,payment,address}'), n % 90000,
    jsonb_build_object('field', generate.pick(n, 37, '{email,phone,street,status}'), 'old', generate.email(c), 'new', generate.email(c + 1),
        'ip', host(generate.ip(n)))
FROM (SELECT n, 1 + abs(hashint8extended(n, 34)) % 149000 AS c FROM generate_series(1, 300000) AS n) AS numbered;

SELECT setval(pg_get_serial_sequence('customers', 'id'), 150000), setval(pg_get_serial_sequence('addresses', 'id'), 200000),
    setval(pg_get_serial_sequence('support_notes', 'id'), 80000), setval('audit_log_id_seq', 300000);
