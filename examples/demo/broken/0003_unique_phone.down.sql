DROP INDEX customers_phone_key;
ALTER TABLE customers DROP COLUMN phone_verified_at;
