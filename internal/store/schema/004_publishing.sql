-- What the forge was told: check runs, deployments.
select 1;
