-- What a template knows of the repository it was built for.
select 1;
