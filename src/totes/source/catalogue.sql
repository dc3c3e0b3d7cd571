-- Every relation of the schema, as JSON: its kind, columns and key, and everything that can alter
-- the text of its rows without writing them (defaults of added columns, expressions of generated
-- columns, labels of enums, attributes of composite types, partitions, children).
-- Parameters: schema.
--
-- Tables may be created and dropped while this runs. The query must not wait for a lock, or fail on
-- a table that was just dropped, so it can't use pg_partition_tree() and pg_get_expr().
WITH RECURSIVE named AS (
    SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relispartition
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
),

-- The tables whose rows a SELECT from `root` returns: the root, its partitions or children, and
-- theirs. Temporary children are visible only in their own session.
tree AS (
    SELECT oid AS root, oid AS member FROM named
    UNION
    SELECT t.root, c.oid
    FROM tree AS t
    JOIN pg_inherits AS i ON i.inhparent = t.member AND NOT i.inhdetachpending
    JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE c.relpersistence <> 't'
),

-- The named relations without partitions, except partitions whose root is in another schema.
relation AS (
    SELECT n.oid, n.relname, n.relkind, n.relpersistence
    FROM named AS n
    WHERE NOT (
            n.relispartition
            AND n.oid IN (SELECT member FROM tree WHERE member <> root)
        )
        AND has_table_privilege(n.oid, 'SELECT') IS NOT NULL  -- NULL: it was just dropped
),

-- Columns that may contain NULL in a table of the tree: a child may drop its parent's NOT NULL, and
-- a constraint that is NOT VALID (PostgreSQL 18) was not checked for existing rows.
nullable AS (
    SELECT DISTINCT t.root, a.attname
    FROM tree AS t
    JOIN pg_attribute AS a ON a.attrelid = t.member
    WHERE a.attnum > 0 AND NOT a.attisdropped AND (NOT a.attnotnull OR EXISTS (
            SELECT FROM pg_constraint AS n
            WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND NOT n.convalidated
                AND n.conkey[1] = a.attnum
        ))
),

-- The types that a table's columns use: also base types of domains, element types of arrays and
-- ranges, and attribute types of composite types.
used_type AS (
    SELECT a.attrelid AS relation, a.atttypid AS type
    FROM pg_attribute AS a
    JOIN relation AS r ON r.oid = a.attrelid
    WHERE a.attnum > 0 AND NOT a.attisdropped
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

-- The base type of each domain, through any number of domains; for any other type, itself.
base_type AS (
    SELECT oid AS type, oid AS base, typbasetype FROM pg_type
    UNION ALL
    SELECT b.type, t.oid, t.typbasetype
    FROM base_type AS b JOIN pg_type AS t ON t.oid = b.typbasetype
),

-- The name of the built-in type below a type's domains; empty if that type is not built in.
built_in AS (
    SELECT
        b.type,
        CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname ELSE '' END AS name
    FROM base_type AS b JOIN pg_type AS t ON t.oid = b.base
    WHERE b.typbasetype = 0
),

columns AS (
    SELECT
        a.attrelid AS relation,
        json_agg(json_build_object(
            'name', a.attname,
            'type', format_type(a.atttypid, a.atttypmod),
            'base', b.name,
            'nullable', u.root IS NOT NULL,
            'generated', a.attgenerated,
            'default', d.adbin::text
        ) ORDER BY a.attnum) AS list
    FROM relation AS r
    JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN built_in AS b ON b.type = a.atttypid
    LEFT JOIN nullable AS u ON u.root = r.oid AND u.attname = a.attname
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    GROUP BY 1
),

keys AS (
    SELECT c.conrelid AS relation, json_agg(a.attname ORDER BY k.position) AS list
    FROM pg_constraint AS c
    CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k (attnum, position)
    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
    WHERE c.contype = 'p'
    GROUP BY 1
),

types AS (
    SELECT
        u.relation,
        json_agg(json_build_array(
            t.oid::bigint, t.typname,
            (
                SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder)
                FROM pg_enum AS e WHERE e.enumtypid = t.oid
            ),
            (
                SELECT json_agg(json_build_array(a.attname, a.atttypid::bigint) ORDER BY a.attnum)
                FROM pg_attribute AS a
                WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            )
        ) ORDER BY t.oid) AS list
    FROM used_type AS u JOIN pg_type AS t ON t.oid = u.type
    WHERE t.typtype IN ('e', 'c')
    GROUP BY 1
),

parents AS (
    SELECT i.inhrelid AS relation, json_agg(p.relname ORDER BY i.inhseqno) AS list
    FROM pg_inherits AS i JOIN relation AS p ON p.oid = i.inhparent
    GROUP BY 1
),

members AS (
    SELECT
        t.root AS relation,
        json_agg(json_build_object(
            'oid', c.oid::bigint,
            'name', format('%%I.%%I', n.nspname, c.relname),
            'kind', c.relkind,
            'persistence', c.relpersistence,
            'generated', (
                SELECT json_agg(d.adbin::text ORDER BY a.attname)
                FROM pg_attribute AS a
                JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                WHERE a.attrelid = c.oid AND a.attgenerated <> ''
            )
        ) ORDER BY c.oid) AS list
    FROM tree AS t
    JOIN pg_class AS c ON c.oid = t.member
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.member <> t.root
    GROUP BY 1
)

SELECT
    json_build_object(
        'oid', r.oid::bigint,
        'name', r.relname,
        'kind', r.relkind,
        'persistence', r.relpersistence,
        'readable',
        has_schema_privilege(%(schema)s, 'USAGE') AND has_table_privilege(r.oid, 'SELECT'),
        'columns', coalesce(columns.list, '[]'),
        'key', coalesce(keys.list, '[]'),
        'types', coalesce(types.list, '[]'),
        'parents', coalesce(parents.list, '[]'),
        'members', coalesce(members.list, '[]')
    )
FROM relation AS r
LEFT JOIN columns ON columns.relation = r.oid
LEFT JOIN keys ON keys.relation = r.oid
LEFT JOIN types ON types.relation = r.oid
LEFT JOIN parents ON parents.relation = r.oid
LEFT JOIN members ON members.relation = r.oid
ORDER BY r.relname
