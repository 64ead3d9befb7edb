DROP MATERIALIZED VIEW revenue_by_day;
DROP TABLE payments, order_items, orders, products, addresses, customers;
DROP FUNCTION touch_updated_at();
DROP TYPE order_status;
