DROP VIEW customer_overview;
DROP TABLE audit_log, sessions, support_notes;
