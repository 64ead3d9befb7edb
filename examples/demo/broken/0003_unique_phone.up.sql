-- "Every customer has a phone number of their own." It holds on every developer's machine; production has families.
ALTER TABLE customers ADD COLUMN phone_verified_at timestamptz;

CREATE UNIQUE INDEX customers_phone_key
    ON customers (phone);
