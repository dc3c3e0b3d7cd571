-- All objects that users may have defined on the warehouse's tables, as text, without OIDs.
WITH ours AS (
    SELECT * FROM pg_class WHERE relnamespace IN (
            'public'::regnamespace, 'totes'::regnamespace, to_regnamespace('analysis')
        ) AND relkind IN ('r', 'p', 'v', 'm', 'S', 'i')
)

SELECT
    'relation', c.oid::regclass::text, concat_ws(
        ' | ',
        c.relkind,
        pg_get_userbyid(c.relowner),
        c.relacl,
        c.reloptions,
        c.relreplident,
        c.relrowsecurity,
        c.relforcerowsecurity,
        (SELECT spcname FROM pg_tablespace AS t WHERE t.oid = c.reltablespace),
        obj_description(c.oid, 'pg_class'),
        CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END
    )
FROM ours AS c
UNION ALL SELECT
    'column', c.oid::regclass::text, concat_ws(
        ' | ',
        a.attname,
        format_type(a.atttypid, a.atttypmod),
        a.attnotnull,
        a.attacl,
        nullif(a.attstattarget, -1),
        a.attstorage,
        a.attoptions,
        a.attidentity,
        a.attgenerated,
        pg_get_expr(d.adbin, d.adrelid),
        col_description(c.oid, a.attnum)
    )
FROM ours AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
UNION ALL SELECT
    'index', i.indexrelid::regclass::text, concat_ws(
        ' | ',
        pg_get_indexdef(i.indexrelid),
        i.indisclustered,
        i.indisreplident,
        i.indisvalid,
        i.indisprimary
    )
FROM pg_index AS i
WHERE i.indrelid IN (SELECT oid FROM ours)
UNION ALL SELECT
    'constraint', k.conrelid::regclass::text, concat_ws(
        ' | ',
        k.conname,
        pg_get_constraintdef(k.oid),
        k.convalidated,
        obj_description(k.oid, 'pg_constraint')
    )
FROM pg_constraint AS k
WHERE k.conrelid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'trigger', t.tgrelid::regclass::text, concat_ws(' | ', pg_get_triggerdef(t.oid), t.tgenabled)
FROM pg_trigger AS t WHERE NOT t.tgisinternal
UNION ALL
SELECT 'rule', r.ev_class::regclass::text, concat_ws(' | ', pg_get_ruledef(r.oid), r.ev_enabled)
FROM pg_rewrite AS r WHERE r.ev_class IN (SELECT oid FROM ours)
UNION ALL SELECT
    'policy', p.polrelid::regclass::text, concat_ws(
        ' | ', p.polname, p.polcmd, p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid)
    )
FROM pg_policy AS p
UNION ALL SELECT
    'publication', p.pubname::text, concat_ws(
        ' | ', p.schemaname, p.tablename, p.attnames, p.rowfilter
    )
FROM pg_publication_tables AS p
UNION ALL
SELECT
    'statistics', s.stxname::text, concat_ws(' | ', pg_get_statisticsobjdef(s.oid), s.stxstattarget)
FROM pg_statistic_ext AS s
UNION ALL
SELECT 'function', p.oid::regprocedure::text, concat_ws(' | ', pg_get_functiondef(p.oid), p.proacl)
FROM pg_proc AS p WHERE p.pronamespace IN (SELECT relnamespace FROM ours)
UNION ALL SELECT
    'default privileges', pg_get_userbyid(a.defaclrole)::text, concat_ws(
        ' | ', a.defaclnamespace::regnamespace, a.defaclobjtype, a.defaclacl
    )
FROM pg_default_acl AS a
UNION ALL
SELECT
    'owned sequence',
    d.objid::regclass::text,
    concat_ws(' | ', d.refobjid::regclass, d.refobjsubid, d.deptype)
FROM pg_depend AS d
JOIN ours AS c ON c.oid = d.objid AND c.relkind = 'S' AND d.refclassid = 'pg_class'::regclass
ORDER BY 1, 2, 3
