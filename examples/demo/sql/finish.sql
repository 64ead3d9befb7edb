-- One person who cannot be mistaken for anybody else, in every place where people leave traces.
UPDATE customers SET email = 'zaphod.planted@betelgeuse.example', first_name = 'Zaphod', last_name = 'Beeblebrox-Testperson', phone = '+44 7700 900 42424',
    preferences = preferences || '{"contact": {"email": "zaphod.planted@betelgeuse.example", "phone": "+44 7700 900 42424", "hours": "never before noon"}}'
WHERE id = 4242;
UPDATE addresses SET recipient = 'Zaphod Beeblebrox-Testperson', street = '42 Heart of Gold Quay', city = 'Betelgeuse Spaceport' WHERE customer_id = 4242;
UPDATE orders SET customer_id = 4242, shipping_address_id = 4242, contact_email = 'zaphod.planted@betelgeuse.example', status = 'delivered' WHERE id IN (1001, 2002, 3003);
UPDATE payments SET card_holder = 'ZAPHOD BEEBLEBROX-TESTPERSON', provider_token = 'tok_PLANTED-TOKEN-5c9e1b' WHERE order_id IN (1001, 2002, 3003);
UPDATE support_notes SET customer_id = 4242, order_id = 1001,
    body = 'PLANTED-NOTE-7f3a91: Zaphod Beeblebrox-Testperson rang from +44 7700 900 42424. Has two heads, wants two invoices, both to zaphod.planted@betelgeuse.example.'
WHERE id = 777;
UPDATE sessions SET customer_id = 4242, token = 'sess_PLANTED-SESSION-d41d8c' WHERE id = (SELECT id FROM sessions LIMIT 1);
UPDATE audit_log SET actor_email = 'zaphod.planted@betelgeuse.example', changes = '{"field": "street", "old": "42 Heart of Gold Quay", "new": "zaphod.planted@betelgeuse.example", "ip": "203.0.113.42"}'
WHERE id IN (500, 250000);

SET client_min_messages = warning;
DROP SCHEMA generate CASCADE;
REFRESH MATERIALIZED VIEW revenue_by_day;

-- What golang-migrate has left behind: production is at version 2.
CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);
INSERT INTO schema_migrations VALUES (2, false);
ALTER TABLE schema_migrations OWNER TO shop_owner;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reporting;
ANALYZE;
CHECKPOINT;
