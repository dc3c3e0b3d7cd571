"""Translate the SQL of models, contract and quarantine from DuckDB to Spark.

Only constructs that give the same rows in both engines are translated; any other raises a
ModelError that names it. So an unknown function, or one with another result for some text, never
reaches Spark. Tests compare the results of every construct for hostile texts. The only exception is
a cast in a model: where the engines could differ, because a text is not the canonical form of its
value, Spark fails and names the cast.
"""

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import cast

from sqlglot import ErrorLevel, exp, parse_one
from sqlglot.errors import SqlglotError

from totes.errors import ModelError
from totes.star.all_batches import BATCH, add_batch
from totes.star.contract import VALUE_SUFFIX
from totes.star.portable import check, check_names, is_call, refuse

__all__ = ["BATCH", "to_spark"]


def to_spark(sql: str, *, batched: Collection[str] = ()) -> str:
    """Return Spark SQL with the same rows as DuckDB SQL.

    With tables `batched`, which have the column BATCH, the query runs over all batches at once, as
    `all_batches.add_batch` describes.

    Raises ModelError, which names the construct, if there is no equivalent.
    """
    return _translate(sql, frozenset(batched))


@lru_cache(maxsize=256)  # the same SQL runs over all batches, and over those with rejected rows
def _translate(sql: str, batched: frozenset[str]) -> str:
    try:
        tree = parse_one(sql, dialect="duckdb")
        check_names(tree)
        for node in tree.walk():
            check(node, _TRANSLATIONS)
        add_batch(tree, batched)
        for node in reversed([*tree.walk()]):  # children first
            if (translate := _TRANSLATIONS.get(type(node))) and (new := translate(node)):
                node.replace(new)
        return tree.sql("spark", comments=False, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise ModelError(f"SQL can't be translated to Spark: {error}.") from error


_TYPES = frozenset(
    {exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.BOOLEAN, exp.DType.DATE, exp.DType.DECIMAL}
    | {exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT}
)
"""Types of casts. The text of other types differs in the two engines: 1e16, times with a time zone,
times of day."""


# Translation of single constructs: each function returns the node for Spark, None for no change


def _call(name: str, *arguments: exp.Expr | str | int) -> exp.Anonymous:
    expressions = [
        argument if isinstance(argument, exp.Expr) else exp.convert(argument)
        for argument in arguments
    ]
    return exp.Anonymous(this=name, expressions=expressions)


def _anonymous(node: exp.Expr) -> exp.Expr:
    if name := {"strlen": "octet_length", "error": "raise_error"}.get(node.name.lower()):
        return _call(name, *node.expressions)
    if not (is_call(node, "to_json") and isinstance(node.expressions[0], exp.Array)):
        refuse(node)
    return _call("to_json", *node.expressions)


def _json_object(node: exp.Expr) -> exp.Expr:
    parts = [part for pair in node.expressions for part in (pair.this, pair.expression)]
    with_nulls = _call("map", "ignoreNullFields", "false")
    return _call("to_json", _call("named_struct", *parts), with_nulls)


def _cast(node: exp.Expr) -> exp.Expr | None:
    """Let a cast fail in Spark unless the text of the value is the text that is cast.

    Otherwise the engines accept different texts. The contract's own casts need no such test.
    """
    type_ = node.args["to"]
    is_text = type_.is_type(exp.DType.TEXT, exp.DType.VARCHAR)
    is_decimal = type_.is_type(exp.DType.DECIMAL)
    if type_.this not in _TYPES or len(type_.expressions) != (2 if is_decimal else 0):
        refuse(node)
    if is_text:
        return exp.cast(node.this, "string", dialect="spark")
    if isinstance(node, exp.TryCast):
        if not (isinstance(node.parent, exp.Alias) and node.parent.alias.endswith(VALUE_SUFFIX)):
            refuse(node, "accepts different texts in the two engines")
        return None
    operand = node.this
    if isinstance(operand, exp.Length | exp.Literal):
        return None
    text = exp.cast(operand.copy(), "string", dialect="spark")
    value: exp.Expr = exp.cast(
        exp.TryCast(this=operand.copy(), to=type_.copy(), safe=True), "string", dialect="spark"
    )
    if is_decimal:
        value = _call("rpad", value, exp.Length(this=text.copy()), "0")
    message = f"{node.sql('duckdb')} would not be exact"
    return (
        exp.case()
        .when(exp.or_(exp.Is(this=text.copy(), expression=exp.null()), value.eq(text)), node.copy())
        .else_(_call("raise_error", message))
    )


def _extract(node: exp.Expr) -> exp.Expr | None:
    field = node.name.upper()
    if field == "ISODOW":
        return exp.Extract(this=exp.var("DAYOFWEEK_ISO"), expression=node.expression)
    return None if field in {"YEAR", "MONTH", "DAY", "QUARTER"} else refuse(node)


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
            return _DATE_FIELDS.get(token[0]) or refuse(node)
        return "'" + token[0].replace("'", "''") + "'"

    return _call("date_format", node.this, re.sub("%.|[^%]+", translate, _text(node, "format")))


def _text(node: exp.Expr, argument: str) -> str:
    """Return an argument that is a string literal."""
    value = node.args.get(argument)
    if not (isinstance(value, exp.Literal) and value.is_string):
        refuse(node, f"needs a string literal ({argument})")
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
        refuse(node, "is a number in floating point")


def _left_or_right(node: exp.Expr) -> None:
    if (_integer(node.expression) or 0) < 0 or _integer(node.expression) is None:
        refuse(node, "needs a number of characters that is a literal; use substr(text, 1, length)")


def _substring(node: exp.Expr) -> exp.Expr | None:
    start, length = node.args["start"], node.args.get("length")
    if length is None or _integer(start) == 1:
        return None
    if (_integer(length) is None) or cast("int", _integer(length)) < 0:
        refuse(node, "needs a length that is a literal")
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
        refuse(node, "needs literals: a delimiter that is not empty, a number that is not 0")


def _trim(node: exp.Expr) -> None:
    if not _text(node, "expression"):
        refuse(node, "needs the characters to remove, such as trim(text, ' ')")


def _pad(node: exp.Expr) -> None:
    if not _text(node, "fill_pattern"):
        refuse(node, "needs a text to fill up with")


_LAST_ASCII = 127


def _chr(node: exp.Expr) -> None:
    code = _integer(node.expressions[0])
    if code is None or code > _LAST_ASCII:
        refuse(node, "needs the number of an ASCII character")


def _like(node: exp.Expr) -> None:
    # A backslash is the escape character in Spark, and an ordinary one in DuckDB.
    pattern = _text(node, "expression").replace("\\", r"\\")
    node.set("expression", exp.Literal.string(pattern))


def _concat(node: exp.Expr) -> exp.Expr:
    texts = [exp.cast(part, "string", dialect="spark") for part in node.expressions]
    return _call("concat", *(exp.func("coalesce", text, exp.convert("")) for text in texts))


def _sub(node: exp.Expr) -> exp.Expr | None:
    """Subtract by adding the negated value: Spark refuses that for dates.

    The difference of two dates has another type in Spark.
    """
    if _integer(node.expression) is not None:
        return None
    return exp.Add(this=node.this, expression=exp.Neg(this=exp.paren(node.expression)))


# Regular expressions: RE2 in DuckDB, Java's in Spark

_CLASS_MEMBER = r"(?:[^\[\]\\&]|\\[^\w\s]|\\[dDwWsnrtf])"
_REGEX_TOKEN = re.compile(
    rf"""
    (?P<escaped>\\[^\w\s]|\\[dDwWnrtf])
    | (?P<whitespace>\\[sS])
    | \[\^?(?P<members>{_CLASS_MEMBER}+)\]
    | (?P<group>\(\?:|\((?!\?)|\)|\|)
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
            refuse(node, f"has a pattern that is not supported from {pattern[position:]!r}")
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
            refuse(node, "has options")
    return node


def _regexp_extract(node: exp.Expr) -> exp.Expr:
    group = _integer(node.args.get("group") or exp.convert(0))
    if group is None:
        refuse(node, "needs the number of a group")
    return _call("regexp_extract", node.this, _pattern(_without_options(node)), group)


def _regexp_replace(node: exp.Expr) -> exp.Expr:
    """Replace all matches (option g), or the first one together with all that is before it."""
    options = _text(node, "modifiers") if node.args.get("modifiers") else ""
    if options not in {"", "g"} or node.args.get("position") or node.args.get("occurrence"):
        refuse(node, "has options other than 'g'")
    first_only = options == ""
    shift = 2 if first_only else 0

    def translate(token: re.Match[str]) -> str:
        if token["group"]:
            return f"${int(token['group']) + shift}"
        if token[0] == "\\":
            refuse(node, "has a backslash in its replacement that is not followed by a digit")
        return re.sub(r"([\\$0-9])", r"\\\1", token[0].replace(r"\\", "\\"))

    replacement = re.sub(
        r"\\(?P<group>\d)|\\\\|.", translate, _text(node, "replacement"), flags=re.DOTALL
    )
    pattern = _pattern(node)
    # Java also replaces the empty text after a match. The test finds such a pattern even if it has
    # anchors, because both anchors match in an empty text.
    if not first_only and re.search(_text(node, "expression"), ""):
        refuse(node, "replaces an empty text")
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
