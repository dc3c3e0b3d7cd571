"""SQL that places the versions of batches in the history, as the warehouse does it.

The relations, all temporary tables in DuckDB, hold only rows of the keys that changed:

- `staged`: what the batches bring, each row with its `_batch`. `_waits` is true if it refers to a
  missing dimension row, `valid_to` is set for versions from quarantine that have ended.
- `old`: the rows of all files that have one of these keys, with the number of their file.
- `quarantine`: rejected and waiting versions, also released ones; `valid_to` is the moment of the
  next version or deletion, and the declared columns have the values of those that wait.
- `rejected`: what the contract rejected in the batches.

`totes.warehouse` has the same rules as statements for PostgreSQL, under the same names. They are a
function of versions: it does not matter in how many batches, files or steps the versions arrive.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from totes.lakehouse.tables import engine_types
from totes.sql_text import quote
from totes.star.batch_files import column_types
from totes.star.contract import StarTable

QUARANTINE_COLUMNS = {
    "_key": "VARCHAR",
    "_at": "TIMESTAMPTZ",
    "_ends": "TIMESTAMPTZ",
    "_batch": "BIGINT",
    "_waits": "BOOLEAN",
    "_released": "BOOLEAN",
}
"""Columns of `quarantine` beside the declared ones, which only waiting versions have."""


@dataclass(frozen=True)
class History:
    """The statements for one star table."""

    star: StarTable

    @cached_property
    def _columns(self) -> list[str]:
        return [column.quoted for column in self.star.columns]

    @property
    def columns(self) -> str:
        """The declared columns."""
        return ", ".join(self._columns)

    @property
    def types(self) -> dict[str, str]:
        """The declared columns, and their types in DuckDB."""
        return column_types(self.star)

    @property
    def key(self) -> str:
        """The columns of the key."""
        return ", ".join(map(quote, self.star.key_names))

    def key_text(self, relation: str) -> str:
        """SQL: the key as quarantine has it: one text, a JSON array of several columns."""
        parts = [f"cast({relation}.{quote(name)} as varchar)" for name in self.star.key_names]
        return parts[0] if len(parts) == 1 else f"cast(to_json([{', '.join(parts)}]) as varchar)"

    def _of(self, relation: str, names: list[str]) -> str:
        return ", ".join(f"{relation}.{name}" for name in names)

    def _same_key(self, one: str, other: str) -> str:
        return " and ".join(f"{one}.{name} = {other}.{name}" for name in self._key_columns)

    @cached_property
    def _key_columns(self) -> list[str]:
        return [quote(name) for name in self.star.key_names]

    def _version(self, relation: str) -> str:
        return f"row({self._of(relation, self._columns)})"

    def create_quarantine(self) -> Iterator[str]:
        """Create `quarantine`, empty."""
        types = {**QUARANTINE_COLUMNS, **self.types}
        columns = ", ".join(f"{quote(name)} {kind}" for name, kind in types.items())
        yield f"create or replace temp table quarantine ({columns})"

    def create_old(self) -> Iterator[str]:
        """Create `old` and `dirty`, the numbers of the files that must be replaced, empty."""
        columns = ", ".join(
            f"{quote(name)} {kind}" for name, kind in engine_types(self.star).items()
        )
        yield f"create or replace temp table old (_file integer, {columns})"
        yield "create or replace temp table dirty (_file integer)"

    def place(self, batch: int | None) -> Iterator[str]:
        """Place the staged rows of a batch whose keys are in quarantine, after those before it.

        With None, place the staged rows of all batches, whose keys were never in quarantine.
        """
        yield self._select(batch)
        if batch is not None:
            yield from self._enter_quarantine(batch)
            yield from self._leave_quarantine()
        if self.star.is_fact:
            yield from self._place_versions(with_quarantine=batch is not None)
        else:
            yield from self._place_latest()
        if batch is not None:
            yield self._forget_earlier_rejections(batch)

    def _select(self, batch: int | None) -> str:
        only = "" if batch is None else f" where _batch = {batch}"
        return f"create or replace temp table s as select * exclude (_batch) from staged{only}"

    def _enter_quarantine(self, batch: int) -> Iterator[str]:
        """Quarantine what was rejected, and what refers to a missing dimension row."""
        ends = "(select min(_ends) from quarantine as q where q._key = {} and q._at = {})"
        yield (
            "insert into quarantine by name"
            f" select _key, _at, {ends.format('r._key', 'r._at')} as _ends, _batch,"
            " false as _waits, false as _released"
            f" from rejected as r where _batch = {batch}"
        )
        yield (
            f"insert into quarantine by name select {self.key_text('s')} as _key,"
            f" valid_from as _at, {ends.format(self.key_text('s'), 's.valid_from')} as _ends,"
            f" {batch} as _batch, true as _waits, false as _released, {self.columns}"
            " from s where _waits"
        )
        yield "delete from s where _waits"

    def _leave_quarantine(self) -> Iterator[str]:
        same = f"q._key = {self.key_text('s')} and q._at = s.valid_from"
        # set_valid_to_of_superseded
        yield (
            f"update s set valid_to = q._ends from quarantine as q"
            f" where s._op = 'upsert' and {same} and q._ends is not null"
        )
        # release_quarantined
        yield (
            "update quarantine as q set _released = true"
            f" from s where s._op = 'upsert' and {same} and not q._released"
        )
        # supersede_quarantined
        yield (
            "update quarantine as q set _ends = newer.valid_from from ("
            " select q._key, q._at, min(s.valid_from) as valid_from"
            f" from s join quarantine as q on q._key = {self.key_text('s')}"
            " and q._at < s.valid_from group by all) as newer"
            " where q._key = newer._key and q._at = newer._at"
            " and (q._ends is null or q._ends > newer.valid_from)"
        )

    def _forget_earlier_rejections(self, batch: int) -> str:
        return (
            "delete from quarantine as earlier using quarantine as latest"
            f" where latest._batch = {batch} and earlier._batch < latest._batch"
            " and earlier._key = latest._key and earlier._at = latest._at"
        )

    # Facts: all versions

    def _place_versions(self, *, with_quarantine: bool) -> Iterator[str]:
        if with_quarantine:
            yield self._stage_continued()
        yield f"create or replace temp table actions as {self._find_actions()}"
        same = f"{self._same_key('f', 'a')} and f.valid_from = a.valid_from"
        yield (
            f"insert into dirty select distinct f._file from old as f join actions as a on {same}"
            " where a._action in ('update', 'delete') and f._file is not null"
        )
        yield f"delete from old as f using actions as a where a._action = 'delete' and {same}"
        yield (
            "update old as f set valid_to = a.valid_to from actions as a"
            f" where a._action = 'update' and {same}"
        )
        yield (
            "insert into old by name"
            f" select {self._of('s', self._columns)}, s.valid_from, a.valid_to"
            f" from actions as a join s on {self._same_key('a', 's')}"
            " and a.valid_from = s.valid_from and s._op = 'upsert' where a._action = 'insert'"
        )

    def _stage_continued(self) -> str:
        """Stage the versions that go on where a version from quarantine ends."""
        return (
            "insert into s by name"
            f" select distinct on ({self._of('f', self._key_columns)}, s.valid_to)"
            f" {self._of('f', self._columns)}, s.valid_to as valid_from,"
            " cast(null as timestamptz) as valid_to, 'upsert' as _op, false as _waits"
            f" from s join old as f on {self._same_key('f', 's')}"
            " and f.valid_from < s.valid_to and (f.valid_to is null or f.valid_to > s.valid_to)"
            " where s.valid_to is not null and not exists ("
            f" select 1 from s as later where {self._same_key('later', 's')}"
            " and later._op = 'upsert' and later.valid_from = s.valid_to)"
        )

    def _find_actions(self) -> str:
        """Find what changes in the history.

        Each staged key has a line of events: beginnings (1) and ends (3) of versions in the table,
        new versions (2), deletions (3) and rejected versions (4). Of several events at one moment,
        one of the first kind counts. A version that equals the one before it is left out, unless a
        rejected version lies between. Every other event ends the version before it.
        """
        key, of_f = self.key, self._of("f", self._key_columns)
        none = "cast(null as timestamptz) as valid_to, null as _version"
        relevant = "(f.valid_to is null or f.valid_to > first.valid_from)"
        return f"""
with first as (select {key}, min(valid_from) as valid_from from s group by all),

relevant as (
    select f.* from first join old as f on {self._same_key("f", "first")} and {relevant}
),

event as (
    select {of_f}, 1 as _kind, valid_from, valid_to, {self._version("f")} as _version
    from relevant as f
    union all
    select {of_f}, 3, valid_to, {none} from relevant as f where valid_to is not null
    union all
    select {key}, 2, valid_from, null, {self._version("s")} from s where _op = 'upsert'
    union all
    select {key}, 3, valid_from, {none} from s where _op = 'delete'
    union all
    select {key}, 3, s.valid_to, {none} from s where s.valid_to is not null
    union all
    select {self._of("first", self._key_columns)}, 4, q._at, {none}
    from first join quarantine as q on q._key = {self.key_text("first")} and not q._released
),

chosen as (
    select distinct on ({key}, valid_from) * from event order by {key}, valid_from, _kind
),

compared as (
    select
        *,
        (
            _version is not distinct from lag(_version) over line
            and (_kind = 4) is not distinct from (lag(_kind = 4) over line)
        ) as _same
    from chosen
    window line as (partition by {key} order by valid_from)
),

placed as (
    select *, lead(valid_from) over (partition by {key}, _same order by valid_from) as _end
    from compared
    where _kind < 4
)

select
    case _kind when 2 then 'insert' else case when _same then 'delete' else 'update' end end
        as _action,
    {key}, valid_from, _end as valid_to
from placed
where case _kind when 1 then _same or _end is distinct from valid_to when 2 then not _same end"""

    # Dimensions: the latest version

    def _place_latest(self) -> Iterator[str]:
        """Insert or update rows by their latest versions; nothing is removed.

        A version that has left quarantine after it was superseded or deleted is inserted only if
        there is no other: facts of that time may refer to it.
        """
        latest = (
            f"select distinct on ({self.key}) {self.columns} from s"
            " where _op = 'upsert' and valid_to is {} order by {}, valid_from desc"
        )
        yield (
            "create or replace temp table changed as"
            f" select n.* from ({latest.format('null', self.key)}) as n where not exists ("
            f" select 1 from old as d where {self._same_key('d', 'n')}"
            f" and {self._version('d')} is not distinct from {self._version('n')})"
        )
        yield (
            "insert into dirty select distinct d._file from old as d join changed as n"
            f" on {self._same_key('d', 'n')} where d._file is not null"
        )
        yield f"delete from old as d using changed as n where {self._same_key('d', 'n')}"
        yield f"insert into old by name select {self.columns} from changed"
        yield (
            f"insert into old by name select {self.columns}"
            f" from ({latest.format('not null', self.key)}) as n"
            f" where not exists (select 1 from old as d where {self._same_key('d', 'n')})"
        )
