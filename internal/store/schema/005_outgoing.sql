-- Webhooks that we send, and tokens of CI systems that were exchanged.
select 1;
