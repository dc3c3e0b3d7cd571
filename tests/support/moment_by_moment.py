"""The oracle for the order of versions: a load that processes one moment after another.

The statements run once for each value of `valid_from` in a batch, in order of time: each step sees
the table as it was at that moment, so it needs no window functions.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import LiteralString

from psycopg import sql

from totes.star.contract import StarTable
from totes.star.history import history_parts, qualified, same_key
from totes.warehouse import merge
from totes.warehouse.ddl import key_text

STATEMENTS: Mapping[str, LiteralString] = MappingProxyType(
    {
        "set_valid_to_of_superseded": """
-- Set the end of versions that leave quarantine: the moment when a newer version superseded them.
UPDATE {staged} s SET valid_to = q.superseded_at
FROM totes.quarantine AS q
WHERE s.valid_from = {moment}
    AND q.star_table = {name} AND q.key = {key_text} AND q.valid_from = s.valid_from
    AND q.superseded_at IS NOT NULL
""",
        "release_quarantined": """
-- Mark quarantined versions as released if they are staged now.
UPDATE totes.quarantine q SET released_at = {captured_at}
FROM {staged} AS s
WHERE s.valid_from = {moment} AND s._op = 'upsert'
    AND q.star_table = {name} AND q.key = {key_text} AND q.valid_from = s.valid_from
    AND q.released_at IS NULL
""",
        "supersede_quarantined": """
-- Mark older quarantined versions of the staged keys as superseded.
UPDATE totes.quarantine q SET superseded_at = s.valid_from
FROM {staged} AS s
WHERE s.valid_from = {moment}
    AND q.star_table = {name} AND q.key = {key_text} AND q.valid_from < s.valid_from
    AND (q.superseded_at IS NULL OR q.superseded_at > s.valid_from)
""",
        "delete_unchanged": """
-- Delete staged versions that exist already or equal the version before them, unless a quarantined
-- version lies between the two.
DELETE FROM {staged} s
USING {star} f
WHERE s.valid_from = {moment} AND s._op = 'upsert'
    AND {same_as_fact}
    AND f.valid_from <= s.valid_from
    AND (f.valid_to IS NULL OR f.valid_to > s.valid_from)
    AND (
        f.valid_from = s.valid_from
        OR (
            ({of_fact}) IS NOT DISTINCT FROM ({of_staged})
            AND NOT EXISTS (
                SELECT FROM totes.quarantine AS q
                WHERE q.star_table = {name} AND q.key = {key_text}
                    AND q.released_at IS NULL
                    AND q.valid_from > f.valid_from AND q.valid_from < s.valid_from
            )
        )
    )
""",
        "close_versions": """
-- End the versions that are followed by a new version or a deletion.
UPDATE {star} f SET valid_to = s.valid_from
FROM {staged} AS s
WHERE s.valid_from = {moment}
    AND {same_as_fact}
    AND f.valid_from < s.valid_from
    AND (f.valid_to IS NULL OR f.valid_to > s.valid_from)
""",
        "insert_versions": """
-- Insert the staged versions of one moment.
INSERT INTO {star} ({columns}, valid_from, valid_to)
SELECT {columns}, valid_from, valid_to
FROM {staged}
WHERE valid_from = {moment} AND _op = 'upsert'
ORDER BY {key}
""",
        "merge_equal_versions": """
-- Merge equal versions that became adjacent because the quarantined version between them was
-- released, as if nothing had been rejected.
WITH merged AS (
    DELETE FROM {star} f
    USING {star} earlier, totes.quarantine released
    WHERE released.star_table = {name} AND released.released_at = {captured_at}
        AND {same_as_earlier} AND released.key = {fact_key_text}
        AND earlier.valid_to = f.valid_from
        AND ({of_earlier}) IS NOT DISTINCT FROM ({of_fact})
        AND NOT EXISTS (
            SELECT FROM totes.quarantine AS q
            WHERE q.star_table = {name} AND q.key = {fact_key_text}
                AND q.released_at IS NULL
                AND q.valid_from > earlier.valid_from AND q.valid_from < f.valid_from
        )
    RETURNING {merged_key}, f.valid_from, f.valid_to
)

UPDATE {star} f SET valid_to = merged.valid_to
FROM merged
WHERE {same_as_merged} AND f.valid_to = merged.valid_from
""",
        "record_deleted_dimension": """
-- Record deletions of dimension rows; the rows themselves stay. A row that was inserted again is no
-- longer recorded as deleted.
WITH reinserted AS (
    DELETE FROM totes.deleted_dimension_rows r
    USING {staged} s
    WHERE r.table_name = {name} AND r.key = {key_text}
        AND s.valid_from = {moment} AND s._op = 'upsert' AND s.valid_to IS NULL
)

INSERT INTO totes.deleted_dimension_rows (table_name, key, deleted_at, batch)
SELECT {name}, {key_text}, s.valid_from, {batch}
FROM {staged} AS s JOIN {star} AS d ON {same_as_dimension}
WHERE s.valid_from = {moment} AND s._op = 'delete'
ON CONFLICT (table_name, key) DO NOTHING
""",
        "upsert_dimension": """
-- Insert the latest version of each dimension row, or update the row if it differs.
INSERT INTO {star} AS d ({columns})
SELECT {columns}
FROM {staged}
WHERE valid_from = {moment} AND _op = 'upsert' AND valid_to IS NULL
ORDER BY {key}
ON CONFLICT ({key}) DO UPDATE SET ({columns}) = ROW({excluded})
WHERE ({current}) IS DISTINCT FROM ({excluded})
""",
        "insert_deleted_dimension": """
-- Insert dimension rows that leave quarantine after their deletion, and record the deletion: facts
-- of that time may refer to them.
WITH inserted AS (
    INSERT INTO {star} ({columns})
    SELECT {columns}
    FROM {staged}
    WHERE valid_from = {moment} AND _op = 'upsert' AND valid_to IS NOT NULL
    ON CONFLICT ({key}) DO NOTHING
    RETURNING {key}
)

INSERT INTO totes.deleted_dimension_rows (table_name, key, deleted_at, batch)
SELECT {name}, {key_text}, s.valid_to, {batch}
FROM {staged} AS s JOIN inserted AS i ON {same_as_inserted} AND s.valid_from = {moment}
""",
    }
)

_FACT = ("supersede_quarantined", "delete_unchanged", "close_versions", "insert_versions")
_DIMENSION = ("supersede_quarantined", "record_deleted_dimension", "upsert_dimension")
_RELEASE = ("set_valid_to_of_superseded", "release_quarantined")


class MomentByMoment(merge._BatchLoad):
    """Loads a batch like the class that it inherits from, but merges one moment after another."""

    def _merge_staged(self, star: StarTable, names: Mapping[str, sql.Composable]) -> None:
        query = sql.SQL("SELECT DISTINCT valid_from FROM {} ORDER BY 1").format(names["staged"])
        for (moment,) in self.connection.execute(query).fetchall():
            steps = _FACT if star.is_fact else _DIMENSION
            if moment < self.manifest.captured_at:
                before = () if star.is_fact else ("insert_deleted_dimension",)
                after = ("merge_equal_versions",) if star.is_fact else ()
                steps = (*_RELEASE, *before, *steps, *after)
            parts = {**_parts(star), **names, "moment": moment, "batch": self.manifest.batch}
            for step in steps:
                self.connection.execute(
                    sql.SQL(STATEMENTS[step]).format(**parts, captured_at=self.manifest.captured_at)
                )


def _parts(star: StarTable) -> dict[str, object]:
    columns = [column.name for column in star.columns]
    return {
        **history_parts(star),
        "key_text": key_text(star.key_names, "s"),
        "fact_key_text": key_text(star.key_names, "f"),
        "same_as_fact": same_key(star, "f", "s"),
        "same_as_earlier": same_key(star, "f", "earlier"),
        "same_as_merged": same_key(star, "f", "merged"),
        "same_as_dimension": same_key(star, "d", "s"),
        "same_as_inserted": same_key(star, "i", "s"),
        "merged_key": qualified("f", star.key_names),
        "of_fact": qualified("f", columns),
        "of_earlier": qualified("earlier", columns),
        "of_staged": qualified("s", columns),
        "current": qualified("d", columns),
        "excluded": qualified("excluded", columns),
    }
