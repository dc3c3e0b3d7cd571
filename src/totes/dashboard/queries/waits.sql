-- The facts that quarantine holds anything of.
SELECT DISTINCT star_table FROM totes.quarantine WHERE released_at IS NULL
