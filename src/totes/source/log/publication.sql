-- What one publication and the catalogue say about captured tables.
-- Parameters: publication, tables (OIDs). {schemas} is a query of the schemas that are published
-- as a whole (pubid, schema, oid, xmin).
--
-- The query must not wait for a lock, so it can't use pg_publication_tables. Columns that
-- PostgreSQL 14 does not have are read through to_jsonb().
WITH RECURSIVE publication AS (
    SELECT
        p.oid,
        p.xmin,
        p.puballtables,
        p.pubviaroot,
        p.pubinsert,
        p.pubupdate,
        p.pubdelete,
        p.pubtruncate,
        -- s: stored generated columns are published (PostgreSQL 18)
        coalesce(to_jsonb(p) ->> 'pubgencols', 'n') AS generated
    FROM pg_publication AS p
    WHERE p.pubname = %(publication)s
),

whole_schema AS ({schemas}),

-- A list of columns and a filter of rows do not apply to a publication FOR ALL TABLES.
listed AS (
    SELECT
        r.prrelid,
        r.oid,
        r.xmin,
        to_jsonb(r) ->> 'prattrs' IS NOT NULL AND NOT p.puballtables AS has_columns,
        to_jsonb(r) -> 'prattrs' AS columns,
        to_jsonb(r) ->> 'prqual' IS NOT NULL AND NOT p.puballtables AS has_filter
    FROM pg_publication_rel AS r
    JOIN publication AS p ON p.oid = r.prpubid
),

-- Every column, including dropped ones: altering a column writes its row in pg_attribute.
defined AS (
    SELECT
        a.attrelid AS relation,
        json_agg(json_build_array(a.attnum, a.xmin::text, d.xmin::text) ORDER BY a.attnum) AS list
    FROM pg_attribute AS a
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ANY(%(tables)s::oid[]) AND a.attnum > 0
    GROUP BY 1
),

-- The types that a table's columns use, as in catalogue.sql.
used_type AS (
    SELECT a.attrelid AS relation, a.atttypid AS type
    FROM pg_attribute AS a
    WHERE a.attrelid = ANY(%(tables)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT u.relation, part.type
    FROM used_type AS u
    JOIN pg_type AS t ON t.oid = u.type,
        LATERAL (
            SELECT t.typbasetype
            UNION ALL
            SELECT t.typelem
            UNION ALL
            SELECT rngsubtype FROM pg_range WHERE t.oid IN (rngtypid, rngmultitypid)
            UNION ALL
            SELECT atttypid FROM pg_attribute
            WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped
        ) AS part (type)
    WHERE part.type <> 0
),

-- Labels of enums and attributes of composite types: the log has their text as of each change.
defined_types AS (
    SELECT
        relation,
        json_agg(json_build_array(type::bigint, part::bigint, xmin::text) ORDER BY type, part)
            AS list
    FROM (
        SELECT u.relation, u.type, e.oid AS part, e.xmin
        FROM used_type AS u JOIN pg_enum AS e ON e.enumtypid = u.type
        UNION ALL
        SELECT u.relation, u.type, a.attnum::int::oid, a.xmin
        FROM used_type AS u
        JOIN pg_type AS t ON t.oid = u.type
        JOIN pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0
    ) AS written
    GROUP BY 1
),

left_out AS (
    SELECT
        a.attrelid AS relation,
        array_agg(a.attname::text ORDER BY a.attnum)
        FILTER (WHERE a.attgenerated = '') AS columns,
        array_agg(a.attname::text ORDER BY a.attnum)
        FILTER (WHERE a.attgenerated <> '') AS generated
    FROM pg_attribute AS a
    CROSS JOIN publication AS p
    LEFT JOIN listed AS l ON l.prrelid = a.attrelid
    WHERE a.attrelid = ANY(%(tables)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
        AND NOT CASE
            WHEN l.has_columns THEN l.columns @> to_jsonb(a.attnum)
            ELSE a.attgenerated = '' OR (a.attgenerated = 's' AND p.generated = 's')
        END
    GROUP BY 1
)

SELECT
    c.oid::bigint AS oid,
    c.xmin::text::bigint AS class_xmin,
    encode(sha256(convert_to(json_build_array(
        c.oid::bigint,
        p.oid::bigint, p.xmin::text, p.puballtables, p.pubviaroot, p.generated,
        p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
        l.oid::bigint, l.xmin::text, s.oid::bigint, s.xmin::text,
        c.relreplident, i.indexrelid::bigint, i.xmin::text, k.oid::bigint,
        defined.list, defined_types.list
    )::text, 'UTF8')), 'hex') AS definition,
    p.oid IS NOT NULL AS publication_exists,
    coalesce(p.puballtables, false) OR l.oid IS NOT NULL OR s.oid IS NOT NULL AS published,
    c.relispartition AS is_partition,
    c.relreplident::text AS identity,
    i.indexrelid IS NOT NULL AND i.indexrelid = k.conindid AS identity_is_key,
    coalesce(k.condeferrable, false) AS key_is_deferrable,
    -- Updates and deletes of a published table fail without a replica identity.
    coalesce(p.puballtables OR l.oid IS NOT NULL OR s.oid IS NOT NULL, false)
    AND (p.pubupdate OR p.pubdelete)
    AND CASE c.relreplident
        WHEN 'f' THEN false
        WHEN 'd' THEN k.oid IS NULL OR k.condeferrable
        ELSE i.indexrelid IS NULL
    END AS blocks_writes,
    coalesce(l.has_filter, false) AS filtered,
    array_remove(ARRAY[
        CASE WHEN NOT p.pubinsert THEN 'inserts' END,
        CASE WHEN NOT p.pubupdate THEN 'updates' END,
        CASE WHEN NOT p.pubdelete THEN 'deletes' END,
        CASE WHEN NOT p.pubtruncate THEN 'truncations' END
    ], NULL) AS left_out_operations,
    coalesce(o.columns, '{{}}') AS left_out_columns,
    coalesce(o.generated, '{{}}') AS left_out_generated
FROM pg_class AS c
LEFT JOIN publication AS p ON true
LEFT JOIN listed AS l ON l.prrelid = c.oid
LEFT JOIN whole_schema AS s ON s.pubid = p.oid AND s.schema = c.relnamespace
LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisreplident
LEFT JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'p'
LEFT JOIN defined ON defined.relation = c.oid
LEFT JOIN defined_types ON defined_types.relation = c.oid
LEFT JOIN left_out AS o ON o.relation = c.oid
WHERE c.oid = ANY(%(tables)s::oid[])
