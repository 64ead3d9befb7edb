-- What the service knows of pull requests besides their previews: approvals, closing, commands.
select 1;
