CREATE INDEX customers_loyalty_points_idx ON customers (loyalty_points DESC);

CREATE VIEW top_customers AS
SELECT id, first_name, last_name, loyalty_points
FROM customers
ORDER BY loyalty_points DESC
LIMIT 100;
