"""Translate the SQL of models, contract and quarantine from DuckDB to Spark.

Only constructs that give the same rows in both engines are translated; any other is a ModelError
that names it. So an unknown function, or one with another result for some text, never reaches
Spark. What is listed here was compared over hostile texts, and tests/integration/test_dialect.py
compares it again. Casts of a model are an exception in one direction: where the engines could
differ, because a text is not the canonical form of its value, Spark fails and names the cast.

With `batched` tables, a query over one batch becomes a query over all batches at once: the column
BATCH is added to its result, and whatever relates rows to each other does so within a batch.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NoReturn, cast

from sqlglot import ErrorLevel, exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from totes.errors import ModelError
from totes.star.contract import VALUE_SUFFIX

BATCH = "_batch"
"""The column with the number of the batch."""


def to_spark(sql: str, *, batched: Collection[str] = ()) -> str:
    """Return Spark SQL with the same rows as DuckDB SQL.

    Each of the tables `batched` has the column BATCH. If the query reads any of them, its result
    has BATCH as the last column, and the rows of each batch are those that the query returns over
    the rows of this batch.

    Raises ModelError, which names the construct, if there is no equivalent.
    """
    try:
        tree = parse_one(sql, dialect="duckdb")
        for node in tree.walk():
            _check(node)
        _add_batch(tree, frozenset(batched))
        for node in reversed([*tree.walk()]):  # children first
            if (translate := _TRANSLATIONS.get(type(node))) and (new := translate(node)):
                node.replace(new)
        return tree.sql("spark", comments=False, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise ModelError(f"SQL can't be translated to Spark: {error}.") from error


def _refuse(node: exp.Expr, reason: str = "has no tested equivalent in Spark") -> NoReturn:
    text = node.sql("duckdb", comments=False)
    excerpt = text if len(text) <= 80 else f"{text[:80]}…"
    raise ModelError(
        f"Spark can't run this SQL: {excerpt} ({type(node).__name__}) {reason}. Use SQL that "
        "docs/your-own-database.md lists for both engines, or the engine duckdb."
    )


# What is allowed

_CLAUSES: Mapping[type[exp.Expr], frozenset[str]] = {
    exp.Select: frozenset(
        {"with_", "expressions", "distinct", "from_", "joins", "where", "group", "having"}
        | {"qualify", "windows", "order"}
    ),
    **dict.fromkeys(
        (exp.Union, exp.Except, exp.Intersect),
        frozenset({"with_", "this", "expression", "distinct", "by_name", "order"}),
    ),
    exp.With: frozenset({"expressions"}),
    exp.CTE: frozenset({"this", "alias"}),
    exp.From: frozenset({"this"}),
    exp.Join: frozenset({"this", "on", "using", "side", "kind"}),
    exp.Table: frozenset({"this", "alias"}),
    exp.Subquery: frozenset({"this", "alias", "with_"}),
    exp.TableAlias: frozenset({"this"}),
    exp.Group: frozenset({"expressions", "all"}),
    exp.Distinct: frozenset({"expressions"}),
    exp.Star: frozenset({"except_"}),
    exp.In: frozenset({"this", "expressions", "query"}),
}
"""The clauses of a query, with their parts."""

_PLAIN = (
    *(exp.Alias, exp.Column, exp.Identifier, exp.Where, exp.Having, exp.Qualify, exp.Order),
    *(exp.Ordered, exp.Window, exp.WindowSpec, exp.Filter, exp.Null, exp.Boolean, exp.Paren),
    *(exp.Tuple, exp.Case, exp.If, exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.LT, exp.LTE),
    *(exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.Between, exp.Exists),
    *(exp.Add, exp.Mul, exp.Neg, exp.DPipe, exp.DataType, exp.DataTypeParam, exp.Var),
    *(exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least, exp.ConcatWs, exp.Contains),
    *(exp.StartsWith, exp.EndsWith, exp.Length, exp.StrPosition, exp.Replace, exp.Translate),
    *(exp.Abs, exp.MD5, exp.SHA2, exp.Count, exp.Sum, exp.Min, exp.Max, exp.LogicalAnd),
    *(exp.LogicalOr, exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead, exp.JSONKeyValue),
    *(exp.Year, exp.Month, exp.Day, exp.Quarter),
)
"""Constructs that SQLGlot translates, or that are the same, in every form."""

_TYPES = frozenset(
    {exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.BOOLEAN, exp.DType.DATE, exp.DType.DECIMAL}
    | {exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT}
)
"""Types of casts. Text of other types differs: 1e16, times with a zone, times of the day."""


def _check(node: exp.Expr) -> None:
    """Raise ModelError if the node is none of the constructs that both engines have."""
    kind = type(node)
    if allowed := _CLAUSES.get(kind):
        for name in node.args.keys() - allowed:
            if node.args[name]:
                _refuse(node, f"has {name.strip('_').upper()}, which is not supported")
    elif kind not in _PLAIN and kind not in _TRANSLATIONS:
        _refuse(node)
    if isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier):
        _refuse(node)
    if isinstance(node, exp.Array) and not _is_call(node.parent, "to_json"):
        _refuse(node)


def _is_call(node: exp.Expr | None, name: str) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.lower() == name


# Queries over all batches


def _add_batch(tree: exp.Expr, batched: frozenset[str]) -> None:
    """Add BATCH to all queries over `batched` tables, and the missing columns of UNION BY NAME."""
    if batched and any(name.name == BATCH for name in tree.find_all(exp.Identifier)):
        raise ModelError(f"Spark can't run this SQL: the column name {BATCH} is reserved.")
    scopes = [(scope, dict(scope.selected_sources)) for scope in traverse_scope(tree)]
    queries: dict[int, _Query] = {}
    for scope, selected in scopes:
        query = scope.expression
        if isinstance(query, exp.SetOperation):
            sides = [queries[id(side.unnest())] for side in (query.left, query.right)]
            queries[id(query)] = _set_operation(query, *sides)
            continue
        sources = {
            alias: queries[id(source.expression)]
            if isinstance(source, Scope)
            else _Query(None, is_batched=source.name in batched)
            for alias, (_, source) in selected.items()
        }
        names = [*_output_names(query, sources)]
        batch = _batch_of(query, sources)
        for subquery in scope.subquery_scopes:
            if queries[id(subquery.expression)].batch:
                _restrict(subquery, queries[id(subquery.expression)].batch, batch)
        if batch is not None:
            _group_by_batch(scope, query, batch)
        queries[id(query)] = _Query(None if None in names else names, batch)


class _Query:
    """What a query returns: its columns, None if unknown, without BATCH, and whether that too.

    `batch` is the expression of BATCH within the query.
    """

    def __init__(
        self,
        names: list[str | None] | None,
        batch: exp.Expr | None = None,
        *,
        is_batched: bool = False,
    ) -> None:
        self.names = names
        self.batch = batch
        self.is_batched = is_batched or batch is not None


def _set_operation(query: exp.SetOperation, left: _Query, right: _Query) -> _Query:
    """Return what a set operation returns; UNION BY NAME becomes a UNION by position."""
    if left.is_batched != right.is_batched:
        _refuse(query, "has one side that reads tables with batches and one side that does not")
    if not query.args.get("by_name"):
        return _Query(left.names, is_batched=left.is_batched)
    if left.names is None or right.names is None:
        _refuse(query, "is BY NAME, but the names of the columns are not known")
    names = [*dict.fromkeys([*left.names, *right.names])]
    for side, columns in (("this", left.names), ("expression", right.names)):
        selected: list[exp.Expr] = [
            exp.column(str(name), quoted=True)
            if name in columns
            else exp.alias_(exp.null(), str(name), quoted=True)
            for name in names
        ]
        if left.is_batched:
            selected.append(exp.column(BATCH))
        inner = query.args[side].unnest()
        query.set(side, exp.select(*selected).from_(exp.Subquery(this=inner, alias="side")))
    query.set("by_name", None)
    return _Query(names, is_batched=left.is_batched)


def _output_names(query: exp.Expr, sources: Mapping[str, _Query]) -> Iterator[str | None]:
    """Yield the names of a query's columns; None stands for one or more that are not known."""
    for item in query.selects:
        if not item.is_star:
            yield item.alias_or_name or None
            continue
        star = item if isinstance(item, exp.Star) else item.this
        excluded = {name.name for name in star.args.get("except_") or ()}
        read = [sources[item.table]] if isinstance(item, exp.Column) else sources.values()
        for source in read:
            yield from (name for name in source.names or [None] if name not in excluded)


def _batch_of(query: exp.Expr, sources: Mapping[str, _Query]) -> exp.Expr | None:
    """Return the expression of BATCH of a SELECT, None if there is none; join within batches."""
    if query.args.get("from_") is None:
        return None
    first = query.args["from_"].this.alias_or_name
    batch: exp.Expr | None = _column(first) if sources[first].is_batched else None
    joins = query.args.get("joins") or []
    for join in joins:
        alias = join.this.alias_or_name
        is_batched = sources[alias].is_batched
        keeps_left, keeps_right = join.side in {"LEFT", "FULL"}, join.side in {"RIGHT", "FULL"}
        is_filter = join.kind in {"SEMI", "ANTI"}
        if (keeps_left or is_filter) and is_batched and batch is None:
            _refuse(join, "keeps rows without a batch")
        if keeps_right and batch is not None and not is_batched:
            _refuse(join, "keeps rows without a batch")
        if not is_batched:
            continue
        if batch is not None:
            _join_within_batch(join, batch, alias, joins)
        if batch is None or join.side == "RIGHT":
            batch = _column(alias)
        elif join.side == "FULL":
            batch = exp.func("coalesce", batch, _column(alias))
    return batch


def _column(table: str) -> exp.Column:
    return exp.column(BATCH, table=exp.to_identifier(table, quoted=True) if table else None)


def _join_within_batch(join: exp.Join, batch: exp.Expr, alias: str, joins: list[exp.Join]) -> None:
    if using := join.args.get("using"):
        if not isinstance(batch, exp.Column):
            _refuse(join, "follows a FULL JOIN; write ON instead of USING")
        join.set("using", [*using, exp.to_identifier(BATCH)])
        return
    is_comma = not (join.side or join.kind or join.args.get("on"))
    if is_comma and any(other.side in {"RIGHT", "FULL"} for other in joins):
        _refuse(join, "is joined by a comma; write CROSS JOIN")
    if join.kind == "CROSS":
        join.set("kind", None)
    join.on(exp.EQ(this=batch.copy(), expression=_column(alias)), copy=False)


def _group_by_batch(scope: Scope, query: exp.Expr, batch: exp.Expr) -> None:
    """Return BATCH, and keep the groups and windows of a SELECT within a batch."""
    group = query.args.get("group")
    for call in scope.find_all(exp.AggFunc):
        if group is None and not isinstance(call.find_ancestor(exp.Window, exp.Select), exp.Window):
            _refuse(call, "is an aggregate without GROUP BY, which needs a row for empty batches")
    if group is not None and not group.args.get("all"):
        group.append("expressions", batch.copy())
    for window in scope.find_all(exp.Window):
        if not window.args.get("alias"):
            window.set("partition_by", [*(window.args.get("partition_by") or ()), batch.copy()])
    for item in query.selects:
        if item.is_star:
            star = item if isinstance(item, exp.Star) else item.this
            star.set("except_", [*(star.args.get("except_") or ()), exp.to_identifier(BATCH)])
    query.append("expressions", exp.alias_(batch.copy(), BATCH))


def _restrict(subquery: Scope, batch: exp.Expr | None, outer: exp.Expr | None) -> None:
    """Restrict a subquery of EXISTS or IN to the batch of the row that it is evaluated for."""
    query = subquery.expression
    parent = query.parent
    while isinstance(parent, exp.Subquery):
        parent = parent.parent
    if not (isinstance(parent, exp.In | exp.Exists) and isinstance(query, exp.Select) and batch):
        _refuse(query, "is a subquery of a kind that can't be restricted to a batch")
    if outer is None:
        _refuse(query, "reads tables with batches in a query without them")
    outer_tables = {column.table for column in outer.find_all(exp.Column)}
    if same := outer_tables & subquery.selected_sources.keys():
        _refuse(query, f"reads {', '.join(same)} as the outer query does: give it an alias")
    query.set("expressions", query.expressions[:-1])
    query.where(exp.EQ(this=batch.copy(), expression=outer.copy()), copy=False)


# Translation of single constructs: each function returns the node for Spark, None for no change


def _call(name: str, *arguments: exp.Expr | str | int) -> exp.Anonymous:
    expressions = [
        argument if isinstance(argument, exp.Expr) else exp.convert(argument)
        for argument in arguments
    ]
    return exp.Anonymous(this=name, expressions=expressions)


def _anonymous(node: exp.Expr) -> exp.Expr:
    match node.name.lower(), node.expressions:
        case "strlen", [text]:
            return _call("octet_length", text)
        case "error", [message]:
            return _call("raise_error", message)
        case "to_json", [exp.Array()]:
            return _call("to_json", *node.expressions)
        case _:
            _refuse(node)


def _json_object(node: exp.Expr) -> exp.Expr:
    parts = [part for pair in node.expressions for part in (pair.this, pair.expression)]
    with_nulls = _call("map", "ignoreNullFields", "false")
    return _call("to_json", _call("named_struct", *parts), with_nulls)


def _cast(node: exp.Expr) -> exp.Expr | None:
    """Let a cast fail in Spark unless the text of the value is the text that is cast.

    The engines accept different texts otherwise. The contract proves its values by itself.
    """
    type_ = node.args["to"]
    is_text = type_.is_type(exp.DType.TEXT, exp.DType.VARCHAR)
    is_decimal = type_.is_type(exp.DType.DECIMAL)
    if type_.this not in _TYPES or len(type_.expressions) != (2 if is_decimal else 0):
        _refuse(node)
    if is_text:
        return exp.cast(node.this, "string", dialect="spark")
    if isinstance(node, exp.TryCast):
        if not (isinstance(node.parent, exp.Alias) and node.parent.alias.endswith(VALUE_SUFFIX)):
            _refuse(node, "accepts different texts in the two engines")
        return None
    operand = node.this
    if isinstance(operand, exp.Length | exp.Literal):
        return None
    text = exp.cast(operand.copy(), "string", dialect="spark")
    value: exp.Expr = exp.cast(
        exp.TryCast(this=operand.copy(), to=type_.copy()), "string", dialect="spark"
    )
    if is_decimal:
        value = _call("rpad", value, exp.Length(this=text.copy()), "0")
    message = f"{node.sql('duckdb')} would not be exact".replace("\\", "/")
    return (
        exp.case()
        .when(exp.or_(exp.Is(this=text.copy(), expression=exp.null()), value.eq(text)), node.copy())
        .else_(_call("raise_error", message))
    )


def _extract(node: exp.Expr) -> exp.Expr | None:
    field = node.name.upper()
    if field == "ISODOW":
        return exp.Extract(this=exp.var("DAYOFWEEK_ISO"), expression=node.expression)
    return None if field in {"YEAR", "MONTH", "DAY", "QUARTER"} else _refuse(node)


def _iso_weekday(node: exp.Expr) -> exp.Expr:
    return exp.Extract(this=exp.var("DAYOFWEEK_ISO"), expression=node.this)


_DATE_FIELDS = {
    "%Y": "yyyy",
    "%m": "MM",
    "%d": "dd",
    "%j": "DDD",
    "%H": "HH",
    "%M": "mm",
    "%S": "ss",
    "%A": "EEEE",
    "%a": "EEE",
    "%B": "MMMM",
    "%b": "MMM",
}


def _date_format(node: exp.Expr) -> exp.Expr:
    # SQLGlot has already replaced the format of DuckDB by Python's, which is the same.
    def translate(token: re.Match[str]) -> str:
        if token[0].startswith("%"):
            return _DATE_FIELDS.get(token[0]) or _refuse(node)
        return "'" + token[0].replace("'", "''") + "'"

    return _call("date_format", node.this, re.sub("%.|[^%]+", translate, _text(node, "format")))


def _text(node: exp.Expr, argument: str) -> str:
    """Return an argument that is a string literal."""
    value = node.args.get(argument)
    if not (isinstance(value, exp.Literal) and value.is_string):
        _refuse(node, f"needs a string literal ({argument})")
    return str(value.this)


def _integer(node: exp.Expr | None) -> int | None:
    """Return the value of an integer literal, None if the node is another one."""
    if isinstance(node, exp.Neg):
        value = _integer(node.this)
        return None if value is None else -value
    if isinstance(node, exp.Literal) and not node.is_string and node.this.isdigit():
        return int(node.this)
    return None


def _literal(node: exp.Expr) -> None:
    if not node.args["is_string"] and not re.fullmatch(r"\d+(\.\d+)?", node.this):
        _refuse(node, "is a number in floating point")


def _left_or_right(node: exp.Expr) -> None:
    if (_integer(node.expression) or 0) < 0 or _integer(node.expression) is None:
        _refuse(node, "needs a number of characters that is a literal; use substr(text, 1, length)")


def _substring(node: exp.Expr) -> exp.Expr | None:
    start, length = node.args["start"], node.args.get("length")
    if length is None or _integer(start) == 1:
        return None
    if (_integer(length) is None) or cast("int", _integer(length)) < 0:
        _refuse(node, "needs a length that is a literal")
    # DuckDB counts a character before the first one if the start is 0.
    beginning = exp.Substring(
        this=node.this.copy(),
        start=exp.convert(1),
        length=exp.convert(cast("int", _integer(length)) - 1),
    )
    at_zero = exp.EQ(this=start.copy(), expression=exp.convert(0))
    return exp.case().when(at_zero, beginning).else_(node.copy())


def _split_part(node: exp.Expr) -> None:
    delimiter = node.args["delimiter"]
    is_text = isinstance(delimiter, exp.Literal) and delimiter.is_string and delimiter.this
    if not (is_text or isinstance(delimiter, exp.Chr)) or not _integer(node.args["part_index"]):
        _refuse(node, "needs literals: a delimiter that is not empty, a number that is not 0")


def _trim(node: exp.Expr) -> None:
    if not _text(node, "expression"):
        _refuse(node, "needs the characters to remove, such as trim(text, ' ')")


def _pad(node: exp.Expr) -> None:
    if not _text(node, "fill_pattern"):
        _refuse(node, "needs a text to fill up with")


def _chr(node: exp.Expr) -> None:
    code = _integer(node.expressions[0])
    if code is None or code > 127:
        _refuse(node, "needs the number of an ASCII character")


def _like(node: exp.Expr) -> None:
    # A backslash is the escape character in Spark, and an ordinary one in DuckDB.
    pattern = _text(node, "expression").replace("\\", r"\\")
    node.set("expression", exp.Literal.string(pattern))


def _concat(node: exp.Expr) -> exp.Expr:
    texts = [exp.cast(part, "string", dialect="spark") for part in node.expressions]
    return _call("concat", *(exp.func("coalesce", text, exp.convert("")) for text in texts))


def _sub(node: exp.Expr) -> exp.Expr | None:
    """Subtract by adding the negated value: Spark refuses that for dates, whose type differs."""
    if _integer(node.expression) is not None:
        return None
    return exp.Add(this=node.this, expression=exp.Neg(this=exp.paren(node.expression)))


# Regular expressions: RE2 in DuckDB, Java's in Spark

_CLASS_MEMBER = r"(?:[^\[\]\\&]|\\[^\w\s]|\\[dDwWs])"
_REGEX_TOKEN = re.compile(
    rf"""
    (?P<escaped>\\[^\w\s]|\\[dDwW])
    | (?P<whitespace>\\[sS])
    | \[\^?(?P<members>{_CLASS_MEMBER}+)\]
    | (?P<group>\(\?:|\(|\)|\|)
    | (?P<repeat>[*+?]\??|\{{\d+(?:,\d*)?\}}\??) (?![*+?{{])
    | (?P<anchor>[\^$.])
    | (?P<other>[^\\\[\](){{}}|*+?^$.])
    """,
    re.VERBOSE,
)
_ANCHORS = {"^": r"\A", "$": r"\z", ".": r"[^\n]"}
_WHITESPACE = r"\t\n\f\r "


def _pattern(node: exp.Expr) -> str:
    """Return a pattern of DuckDB for Spark; only syntax of the same meaning is accepted."""
    pattern = _text(node, "expression")
    translated, position = "", 0
    while position < len(pattern):
        token = _REGEX_TOKEN.match(pattern, position)
        if token is None:
            _refuse(node, f"has a pattern that is not supported from {pattern[position:]!r}")
        if token["whitespace"]:
            translated += f"[{'^' if token[0] == r'\S' else ''}{_WHITESPACE}]"
        elif token["members"]:
            translated += token[0].replace(r"\s", _WHITESPACE)
        else:
            translated += _ANCHORS.get(token[0], token[0])
        position = token.end()
    return translated


def _regexp_like(node: exp.Expr) -> exp.Expr:
    return _call("regexp_like", node.this, _pattern(_without_options(node)))


def _regexp_full_match(node: exp.Expr) -> exp.Expr:
    pattern = rf"\A(?:{_pattern(_without_options(node))})\z"
    return _call("regexp_like", node.this, pattern)


def _without_options(node: exp.Expr) -> exp.Expr:
    for option in ("flag", "options", "parameters", "modifiers", "position", "occurrence"):
        if node.args.get(option):
            _refuse(node, "has options")
    return node


def _regexp_extract(node: exp.Expr) -> exp.Expr:
    group = _integer(node.args.get("group") or exp.convert(0))
    if group is None:
        _refuse(node, "needs the number of a group")
    return _call("regexp_extract", node.this, _pattern(_without_options(node)), group)


def _regexp_replace(node: exp.Expr) -> exp.Expr:
    """Replace all matches (option g), or the first one together with all that is before it."""
    options = _text(node, "modifiers") if node.args.get("modifiers") else ""
    if options not in {"", "g"} or node.args.get("position") or node.args.get("occurrence"):
        _refuse(node, "has options other than 'g'")
    first_only = options == ""
    shift = 2 if first_only else 0

    def translate(token: re.Match[str]) -> str:
        if token["group"]:
            return f"${int(token['group']) + shift}"
        if token[0] == "\\":
            _refuse(node, "has a backslash in its replacement that is not followed by a digit")
        return re.sub(r"([\\$0-9])", r"\\\1", token[0].replace(r"\\", "\\"))

    replacement = re.sub(
        r"\\(?P<group>\d)|\\\\|.", translate, _text(node, "replacement"), flags=re.DOTALL
    )
    pattern = _pattern(node)
    if first_only:
        pattern, replacement = rf"\A([\s\S]*?)({pattern})", f"$1{replacement}"
    return _call("regexp_replace", node.this, pattern, replacement)


_TRANSLATIONS: Mapping[type[exp.Expr], Callable[[exp.Expr], exp.Expr | None]] = {
    exp.Anonymous: _anonymous,
    exp.Array: lambda _: None,
    exp.Cast: _cast,
    exp.Chr: _chr,
    exp.Concat: _concat,
    exp.DayOfWeekIso: _iso_weekday,
    exp.Extract: _extract,
    exp.JSONObject: _json_object,
    exp.Left: _left_or_right,
    exp.Like: _like,
    exp.Literal: _literal,
    exp.Pad: _pad,
    exp.RegexpExtract: _regexp_extract,
    exp.RegexpFullMatch: _regexp_full_match,
    exp.RegexpLike: _regexp_like,
    exp.RegexpReplace: _regexp_replace,
    exp.Right: _left_or_right,
    exp.SplitPart: _split_part,
    exp.Sub: _sub,
    exp.Substring: _substring,
    exp.TimeToStr: _date_format,
    exp.Trim: _trim,
    exp.TryCast: _cast,
}
