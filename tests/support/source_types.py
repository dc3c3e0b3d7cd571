"""Every type that a source column may have, with ordinary, extreme and unusual values.

A value is a text that the type's input function accepts, or SQL. PostgreSQL creates and compares
the values, and has the list of types. Compiled from PostgreSQL's documentation of each type.
"""

from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg
from psycopg import sql

Value = str | sql.SQL

OWN_TYPES: tuple[LiteralString, ...] = (
    """
    CREATE TYPE mood AS ENUM ('sad', 'happy', '', 'it''s', 'say "hi"', 'a,b', '{c}', 'bäck\\slash');
    CREATE DOMAIN positive AS numeric NOT NULL CHECK (VALUE > 0);
    CREATE DOMAIN small AS positive CHECK (VALUE < 100);
    CREATE DOMAIN tagged AS text[] CHECK (cardinality(VALUE) < 9);
    CREATE DOMAIN feeling AS mood;
    CREATE DOMAIN padded AS char(5);
    CREATE DOMAIN tiny AS smallint;
    CREATE DOMAIN answer AS boolean;
    CREATE TYPE point_of_sale AS (name text, "at, where" point, moods mood[], price small);
    CREATE TYPE "nest ""ed" AS (inner_one point_of_sale, note padded, "null" text);
    CREATE DOMAIN valid_place AS point_of_sale CHECK ((VALUE).name <> 'nowhere');
    CREATE TYPE pair AS (a text, b numeric[]);
    CREATE TYPE textrange AS RANGE (subtype = text, collation = "C");
    CREATE TYPE moodrange AS RANGE (subtype = mood);
    """,
    # A new label can only be used after its transaction has committed.
    "ALTER TYPE mood ADD VALUE 'between' BEFORE 'happy'",
    "ALTER TYPE mood ADD VALUE 'added later'",
    "ALTER TYPE mood RENAME VALUE 'sad' TO 'sad, no more'",
)
"""The scripts that create user-defined types, each in its own transaction."""

_TEXTS = (
    *("", " ", "a", "  blanks  ", "trailing ", "it's", 'say "hi"', "back\\slash", "\\", "\\\\n"),
    *("tab\tand\nline\r\n", "\x01\x02\x08\x0c\x1b\x1f\x7f", "NULL", "null", "{}", "{a,b}", "(,)"),
    *("ünïcödé 東京 🎉", "e\u0301", "\u200b\u202e\u2028\u2029\ufeff\ufffe", "\U0010ffff\ue000"),
    *("100%s %(x)s {0} $1 $$", "\\u0041 \\x41 \\101", "x" * 3000, "0", "-0", "NaN"),
)

MATRIX: Mapping[str, tuple[Value, ...]] = {
    "boolean": ("true", "false"),
    "smallint": ("0", "-32768", "32767"),
    "integer": ("0", "-1", "-2147483648", "2147483647"),
    "bigint": ("0", "-9223372036854775808", "9223372036854775807", "9007199254740993"),
    "numeric": (
        *("0", "-0.00", "1", "1.0", "1.000000000000000000000", "0.1", "1e-16383", "-1e131071"),
        *("NaN", "Infinity", "-Infinity", "9007199254740993.1", "1.005", "1e20", "1e-7"),
        "9" * 131072 + "." + "9" * 16383,
    ),
    "numeric(1000,3)": ("9" * 997 + ".125", "-0.001", "NaN"),
    "numeric(3,-5)": ("12345678", "99900000", "-100000"),
    "numeric(3,7)": ("0.0000999", "-0.0000001"),
    "real": (
        "0",
        "-0",
        "0.1",
        "3.4028235e38",
        "1.4e-45",
        "1.17549435e-38",
        "16777217",
        "NaN",
        "inf",
    ),
    "double precision": (
        *(
            "0",
            "-0",
            "0.1",
            "0.30000000000000004",
            "1.7976931348623157e308",
            "4.9406564584124654e-324",
        ),
        *("2.2250738585072011e-308", "9007199254740993", "1e23", "NaN", "Infinity", "-Infinity"),
    ),
    "money": ("0", "-0.01", "-92233720368547758.08", "92233720368547758.07", "1234567.89"),
    "text": _TEXTS,
    "character varying": _TEXTS,
    "character varying(5)": ("", "abcde", "ab   ", "東京🎉", "\t\n"),
    "character": ("", "a", " ", "é"),
    "character(5)": ("", "ab", "ab   ", "  ab", "abcde", "🎉", "\n"),
    "name": ("", "a", "x" * 63, "é" * 31, 'q"q', " ", "select", "back\\slash", "it's"),
    '"char"': ("", "a", " ", '"', "'", "\\", "\\001", "\\200", "\\377", ",", "\x7f"),
    "bytea": ("", "\\x00", "\\x00ff275c22", "\\x5c78", "\\x" + "00ff" * 4000),
    "bit(1)": ("0", "1"),
    "bit(9)": ("000000001", "111111111"),
    "bit varying": ("", "0", "1", "0" * 65, "01" * 500),
    "bit varying(9)": ("", "000000000", "1"),
    "date": (
        *("2000-01-01", "1970-01-01", "2024-02-29", "1582-10-10", "0001-01-01", "0001-12-31 BC"),
        *("4713-01-01 BC", "5874897-12-31", "infinity", "-infinity", "12023-01-01"),
    ),
    "time without time zone": (
        *("00:00", "24:00:00", "23:59:59.999999", "00:00:00.000001", "12:00:00.1", "23:59:60"),
    ),
    "time(2) without time zone": ("23:59:59.999", "01:02:03.45"),
    "time with time zone": (
        *(
            "00:00+00",
            "24:00:00-15:59",
            "00:00:00+15:59:59",
            "12:34:56.789012+05:45",
            "01:02-00:00:01",
        ),
    ),
    "timestamp without time zone": (
        *(
            "2000-01-01",
            "294276-12-31 23:59:59.999999",
            "4713-01-01 00:00 BC",
            "0044-03-15 12:00 BC",
        ),
        *(
            "infinity",
            "-infinity",
            "2016-12-31 23:59:60",
            "1999-12-31 23:59:59.999999",
            "1969-07-20",
        ),
        *("0001-12-31 24:00 BC", "2024-02-29 00:00:00.1", "10000-01-01"),
    ),
    "timestamp(0) without time zone": ("2000-01-01 00:00:00.5", "-infinity"),
    "timestamp with time zone": (
        *("2000-01-01 00:00+00", "2026-03-29 02:30+05:45", "294276-12-31 23:59:59.999999+00"),
        *(
            "4713-01-01 00:00+00 BC",
            "infinity",
            "-infinity",
            "2026-10-25 01:30+00",
            "1850-01-01+00",
        ),
        *("1900-01-01 00:00:00.000001+00:00:15", "0044-03-15 BC"),
    ),
    "interval": (
        *(
            "0",
            "1 mon -1 day",
            "-1 mon +2 days -03:04:05.000001",
            "1 year 2 mons 3 days 04:05:06.7",
        ),
        *("infinity", "-infinity", "178000000 years", "-178000000 years", "-00:00:00.000001"),
        *("2147483647 days", "-2147483648 days", "2562047788:00:54.775807", "1 day -24:00:00"),
        *(
            "-2562047788 hours -54.775807 secs",
            "30 days",
            "1 mon",
            "720:00:00",
            "-1 year +1 mon",
            "0.5 sec",
        ),
        # In the default IntervalStyle, PostgreSQL can't read its own output.
        sql.SQL("'-2562047788 hours -54.775807 secs'::interval - '1 microsecond'::interval"),
    ),
    "interval(3)": ("1.2345 sec", "-0.001 sec"),
    "uuid": (
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
    ),
    "json": (
        *(
            "null",
            "{}",
            "[]",
            '""',
            "0",
            "-0",
            "-0.0",
            "1E400",
            "1e-400",
            "true",
            '"\\u0000"',
            " 1 ",
        ),
        *('{"a":1,"a":2,"b":3,"a":{"a":1}}', '{"b":1,"a":2}', '{ "a" : [ 1 ,\n\t2 ] }', '"\\/"'),
        *('"\\ud83d\\ude00"', '"😀\\"\\\\"', "9" * 400 + "." + "1" * 400, "1.0000000000000000001"),
        *('{"":""}', "[" * 500 + "]" * 500, '"\x7f\u2028\\u001f"', "100000000000000000000000"),
    ),
    "jsonb": (
        *(
            "null",
            "{}",
            "[]",
            '""',
            "0",
            "-0",
            "1.000",
            "1E400",
            "true",
            '"\\/"',
            '"\\ud83d\\ude00"',
        ),
        *('{"bb":1,"a":2,"a":3}', "9" * 400 + "." + "1" * 400, '{"":[{}]}', '"\\u001f\\"\\\\"'),
    ),
    "jsonpath": (
        *(
            "$",
            "strict $.a[*] ? (@ > 1)",
            '$."a b"."q\\"q"."é"',
            '$ ? (@ like_regex "^a\\\\d" flag "i")',
        ),
        *("lax $[1, 2 to last].**{1 to 3}", '$.datetime("HH24:MI")', "($ + 1.50e3).type()", "$x"),
        '$[*] ? (@.a == null || !(exists (@."$")))',
    ),
    "inet": (
        *("0.0.0.0", "192.168.1.1/24", "255.255.255.255", "10.0.0.1/0", "::", "::1/8", "fe80::1"),  # noqa: S104  a value
        *("2001:db8::ffff/128", "::ffff:1.2.3.4/96"),
    ),
    "cidr": ("0.0.0.0/0", "10.0.0.0/8", "192.168.1.1/32", "2001:db8::/32", "::/0", "::1"),
    "macaddr": ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "08002b:010203"),
    "macaddr8": ("00:00:00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff:ff:ff", "08:00:2b:01:02:03"),
    "point": ("(0,-0)", "(NaN,Infinity)", "(-Infinity,4.9406564584124654e-324)", "(0.1,1e23)"),
    "line": ("{1,-1,0}", "{0.1,0.2,0.30000000000000004}", "[(1,2),(3,4)]"),
    "lseg": ("[(1,2),(3,4)]", "[(NaN,0),(-0,Infinity)]"),
    "box": ("(1,2),(3,4)", "(Infinity,0.1),(-0,-Infinity)"),
    "path": ("[(0,0),(1,1),(2,0)]", "((0,0),(1,1),(2,0))", "[(NaN,-0)]"),
    "polygon": ("((0,0),(1,1),(2,0))", "((-0,1e308))"),
    "circle": ("<(0,0),1>", "<(NaN,-0),Infinity>", "<(0.1,0.2),0>"),
    "tsvector": (
        *("", "'a' 'fat':2A,3B 'cat':1", "'it''s' 'sp ace' 'back\\\\slash' 'é'", "a:16383,16382"),
    ),
    "tsquery": ("", "'a'", "!a & (b | 'it''s') <-> c:*AB", "fat <3> 'r at'", "'back\\\\slash'"),
    "oid": ("0", "4294967295", "2147483648"),
    "tid": ("(0,0)", "(4294967295,65535)", "(7,1)"),
    "xid": ("0", "3", "4294967295"),
    "cid": ("0", "4294967295"),
    "xid8": ("0", "18446744073709551615", "4294967296"),
    "pg_lsn": ("0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"),
    "pg_snapshot": ("1:1:", "10:20:10,14,15", "4294967299:4294967309:4294967299,4294967308"),
    "txid_snapshot": ("1:1:", "10:20:10,14,15"),
    "refcursor": ("", "cursor one", "<unnamed portal 1>"),
    "int2vector": ("", "1", "-32768 0 32767"),
    "oidvector": ("", "4294967295 0 1"),
    "aclitem": ("=r/postgres", "postgres=a*r*w/postgres", "totes_ingest=/postgres"),
    # They are printed by name. If functions or operators have the same name, PostgreSQL can read
    # its output only for regprocedure and regoperator.
    "regproc": ("-", "now", "4000000000"),
    "regprocedure": ("-", "length(text)", "length(bytea,name)", "now()", "4000000000"),
    "regoper": ("0", "||/", "4000000000"),
    "regoperator": ("0", "+(integer,integer)", "-(NONE,bigint)", "4000000000"),
    "regclass": ("-", "pg_class", "information_schema.tables", "4000000000"),
    "regcollation": ("-", '"C"', "4000000000"),
    "regtype": (
        "-",
        "integer",
        '"char"',
        "timestamp with time zone",
        "scratch.mood[]",
        "4000000000",
    ),
    "regconfig": ("-", "english", "4000000000"),
    "regdictionary": ("-", "simple", "4000000000"),
    "regnamespace": ("-", "scratch", "information_schema", "4000000000"),
    "regrole": ("-", "totes_ingest", "4000000000"),
    "int4range": ("empty", "[1,5)", "(,)", "[,-2147483648]", "[2147483646,)", "(0,2147483647)"),
    "int8range": ("empty", "(,9223372036854775807)", "[-9223372036854775808,0]"),
    "numrange": ("empty", "(0.10,NaN]", "[-Infinity,Infinity]", "(,)", "[1.0,1.00]"),
    "daterange": ("empty", "[2024-02-29,infinity]", "(,0044-03-15 BC)", "[-infinity,)"),
    "tsrange": ("empty", '["2024-02-29 00:00:00.000001","294276-01-01 00:00"]', "(,infinity)"),
    "tstzrange": ("empty", '["2024-02-29 00:00+05:45",infinity]', '(,"0044-03-15 00:00 BC")'),
    "int4multirange": ("{}", "{(,)}", "{[1,3),[5,8)}", "{(,0),[7,)}"),
    "int8multirange": ("{}", "{[-9223372036854775808,0]}"),
    "nummultirange": ("{}", "{[0.10,0.2],(1.00,NaN)}"),
    "datemultirange": ("{}", "{(,0044-03-15 BC),[2024-02-29,infinity]}"),
    "tsmultirange": ("{}", '{["2024-02-29 00:00:00.1","2025-01-01 00:00"),(9999-01-01,)}'),
    "tstzmultirange": ("{}", '{["2024-02-29 00:00+05:45",infinity]}'),
    "information_schema.cardinal_number": ("0", "2147483647"),
    "information_schema.character_data": ("", "it's 🎉"),
    "information_schema.sql_identifier": ("x" * 63, "a b"),
    "information_schema.time_stamp": ("2024-02-29 12:34:56.78+05:45",),
    "information_schema.yes_or_no": ("YES", "NO"),
    # User-defined types.
    "scratch.mood": (
        *("sad, no more", "between", "happy", "", "it's", 'say "hi"', "a,b", "{c}", "bäck\\slash"),
        "added later",
    ),
    "scratch.feeling": ("between", "added later"),
    "scratch.positive": ("1e-16383", "Infinity", "NaN", "1.00"),
    "scratch.small": ("0.10", "99.999"),
    "scratch.tagged": ("{}", '{"a,\\"b\\"",NULL,"NULL",""," "}', "{{a,b},{c,NULL}}", "[0:1]={x,y}"),
    "scratch.padded": ("", "ab   ", "  ab"),
    "scratch.tiny": ("-32768", "32767"),
    "scratch.answer": ("true", "false"),
    "scratch.point_of_sale": (
        '("","(0,-0)",{},0.10)',
        "(,,,1.00)",
        '("it\'s ""x"", (y)\\\\","(1,2)","{""a,b"",NULL,""say \\\\""hi\\\\""""}",99.999)',
        '(" NULL ",,"{{between},{happy}}",1)',
    ),
    "scratch.pair": ("(,)", '("",{})', '(" a","{1.0,NaN}")', '("it""s","[0:0]={NULL}")'),
    'scratch."nest ""ed"': (
        "(,,)",
        sql.SQL("ROW(ROW('in \"ner\" \\', NULL, '{between,NULL}', 1), 'ab', '')"),
        sql.SQL("ROW(ROW(NULL, '(1,NaN)', '{}', 5), NULL, E' )\\n( NULL')"),
        sql.SQL("ROW(ROW('(a,b)', NULL, '{{between},{\"a,b\"}}', 0.10), '', 'null')"),
    ),
    "scratch.valid_place": ('("some""where",,,3)',),
    "scratch.textrange": ("empty", '["","it\'s ""x"",)"]', "(,)", '[" ",🎉)', '("a,b","c\\\\d"]'),
    "scratch.textmultirange": ("{}", '{["a,","b}"),("it\'s ""x""",)}'),
    "scratch.moodrange": ("empty", '["sad, no more","it\'s"]', "(between,)"),
    "scratch.moodmultirange": ("{}", '{[between,happy),["say \\"hi\\"",)}'),
}
"""Values by the name of the type in PostgreSQL."""

EXCEPTIONS: Mapping[str, str] = {
    "xml": "the embedded server is built without libxml",
    **dict.fromkeys(
        ("pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list"),
        "only the server creates values, for its catalogue; there is no input function",
    ),
    **dict.fromkeys(
        ("gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"),
        "only the server creates values, in indexes; there is no input function",
    ),
}
"""Types whose columns can contain only NULL, with the reason."""

_CAN_BE_COLUMN_TYPE = """
CREATE FUNCTION pg_temp.can_be_column_type(type text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TEMPORARY TABLE probe (c %s)', type);
    DROP TABLE probe;
    RETURN true;
EXCEPTION WHEN invalid_table_definition OR feature_not_supported OR wrong_object_type THEN
    RETURN false;
END $$
"""

_TYPES = """
SELECT type FROM (
    SELECT format_type(oid, NULL) AS type
    FROM pg_type
    WHERE oid NOT IN (SELECT typarray FROM pg_type)  -- arrays of every type are tested separately
        AND NOT (typtype = 'c' AND typnamespace IN (
            'pg_catalog'::regnamespace, 'information_schema'::regnamespace
        ))  -- row types of the catalogue: user-defined composite types cover them
        AND (typtype <> 'c' OR EXISTS (
            SELECT FROM pg_class WHERE pg_class.oid = typrelid AND relkind = 'c'
        ))  -- nor row types of tables
        AND typnamespace NOT IN ('pg_toast'::regnamespace, 'public'::regnamespace)
) AS candidate
WHERE pg_temp.can_be_column_type(type)
"""


def types_of_columns(connection: psycopg.Connection) -> set[str]:
    """Return all types, except arrays, for which PostgreSQL can create a column."""
    connection.execute("SET search_path = pg_catalog")
    connection.execute(_CAN_BE_COLUMN_TYPE)
    return {name for (name,) in connection.execute(_TYPES)}


_SEND: LiteralString = (
    "SELECT nullif(typsend::oid::regproc::text, '-') FROM pg_type WHERE oid = %s::regtype"
)

_NULLABLE: LiteralString = """
WITH RECURSIVE base AS (
    SELECT typnotnull, typbasetype FROM pg_type WHERE oid = %s::regtype
    UNION ALL
    SELECT t.typnotnull, t.typbasetype FROM base JOIN pg_type t ON t.oid = base.typbasetype
)
SELECT NOT bool_or(typnotnull) FROM base
"""


def send_function(connection: psycopg.Connection, name: str) -> str | None:
    """Return the type's binary output function; None if it has none."""
    function: str | None = _query_value(connection, _SEND, name)
    return function


def is_nullable(connection: psycopg.Connection, name: str) -> bool:
    """Whether the type accepts NULL; a domain may reject it."""
    return bool(_query_value(connection, _NULLABLE, name))


def _query_value(connection: psycopg.Connection, query: LiteralString, name: str) -> Any:
    [(answer,)] = connection.execute(query, [name]).fetchall()
    return answer
