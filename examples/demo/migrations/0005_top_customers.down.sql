DROP VIEW top_customers;
DROP INDEX customers_loyalty_points_idx;
