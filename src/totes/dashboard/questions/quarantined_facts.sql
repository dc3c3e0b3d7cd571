-- The facts that have versions in quarantine.
SELECT DISTINCT star_table FROM quarantine;
