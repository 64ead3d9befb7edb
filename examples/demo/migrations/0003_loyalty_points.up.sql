-- One point per whole currency unit of everything that was delivered.
ALTER TABLE customers ADD COLUMN loyalty_points integer NOT NULL DEFAULT 0;

UPDATE customers c
SET loyalty_points = earned.points
FROM (
    SELECT customer_id, sum(floor(total))::integer AS points
    FROM orders
    WHERE status = 'delivered'
    GROUP BY customer_id
) earned
WHERE earned.customer_id = c.id;
