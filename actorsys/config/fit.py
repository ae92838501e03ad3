"""Does a table fit a Struct? Every key is looked at by itself, so that all problems are found, not only the first."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import UNSET, Struct, structs

from ..units import Bytes, Seconds
from .locate import Key
from .problems import Problem, hint, shown
from .rules import RULES

S = TypeVar("S", bound=Struct)

EXPECTED = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def fit(table: Any, cls: type[Struct], at: Key, problems: list[Problem], *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of `table` that fit the fields of `cls`, converted; nested tables stay dicts, so that they can be merged.

    Whatever does not fit is added to `problems`. `without` names fields that a table may not set.
    """
    if not isinstance(table, Mapping):
        problems.append(Problem(at, f"expected a table, got {shown(table)}"))
        return {}
    kinds = {field.name: field.type for field in structs.fields(cls) if field.name not in without}
    rules = RULES.get(cls, {})
    values: dict[str, Any] = {}
    for key, raw in table.items():
        here = (*at, str(key))
        if key not in kinds:
            problems.append(Problem(here, f"unknown field{hint(str(key), kinds)}"))
            continue
        value = _value(raw, kinds[key], here, problems)
        wrong = rules[key](value) if key in rules and value is not UNSET else None
        if wrong:
            problems.append(Problem(here, wrong))
        elif value is not UNSET:
            values[key] = value
    return values


def build(cls: type[S], values: Mapping[str, Any]) -> S:
    """The Struct of values that fit it."""
    kinds = {field.name: field.type for field in structs.fields(cls)}
    return cls(**{key: build(kinds[key], value) if _is_struct(kinds[key]) else value for key, value in values.items()})


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables in one, deeply; `above` wins.

    >>> merge({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}})
    {'a': {'x': 1, 'y': 2}}
    """
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _value(raw: Any, kind: Any, at: Key, problems: list[Problem]) -> Any:
    """`raw` as `kind`, or UNSET with a problem added. What is UNSET already has its problem."""
    if isinstance(kind, UnionType):  # X | None: a file says X, or nothing
        kind = get_args(kind)[0]
    origin = get_origin(kind)
    if raw is UNSET:
        return UNSET
    if _is_struct(kind):
        return fit(raw, kind, at, problems)
    if origin is dict:
        return _table(raw, get_args(kind)[1], at, problems)
    if origin is tuple:
        return _list(raw, get_args(kind)[0], at, problems)
    if origin is Literal:
        return _choice(raw, get_args(kind), at, problems)
    if kind is Any:
        return _carried(raw, at, problems)
    if kind in (Seconds, Bytes):
        try:
            return kind.parse(raw)
        except (ValueError, OverflowError):
            example = '"500ms", "5s", "1m30s" or a number of seconds' if kind is Seconds else '"16MiB" or a number of bytes'
            problems.append(Problem(at, f"{shown(raw)} is not a {'duration' if kind is Seconds else 'size'}; write {example}"))
            return UNSET
    is_number = kind is float and type(raw) is int
    if (isinstance(raw, kind) and not (isinstance(raw, bool) and kind is not bool)) or is_number:
        return raw
    quoted = f'; write "{raw}"' if kind is str and isinstance(raw, (int, float)) and not isinstance(raw, bool) else ""
    problems.append(Problem(at, f"expected {EXPECTED[kind]}, got {shown(raw)}{quoted}"))
    return UNSET


def _choice(raw: Any, choices: tuple[str, ...], at: Key, problems: list[Problem]) -> Any:
    if raw in choices:
        return raw
    near = hint(raw, choices) if isinstance(raw, str) else ""
    problems.append(Problem(at, f"{shown(raw)} is not one of {', '.join(choices)}{near}"))
    return UNSET


def _list(raw: Any, kind: Any, at: Key, problems: list[Problem]) -> Any:
    found: list[Problem] = []
    items = [_value(item, kind, at, found) for item in raw] if isinstance(raw, (list, tuple)) else [UNSET]
    if UNSET not in items:
        return tuple(items)
    if found or not isinstance(raw, (list, tuple)):
        what = "texts" if kind is str else "whole numbers"
        wrong = found[0].text.partition("got ")[2] if found else ""
        problems.append(Problem(at, f"expected a list of {what}, got {f'one with {wrong}' if wrong else shown(raw)}"))
    return UNSET


def _table(raw: Any, kind: Any, at: Key, problems: list[Problem]) -> Any:
    if not isinstance(raw, Mapping):
        problems.append(Problem(at, f"expected a table, got {shown(raw)}"))
        return UNSET
    values = {str(key): _value(value, kind, (*at, str(key)), problems) for key, value in raw.items()}
    return {key: value for key, value in values.items() if value is not UNSET}


def _carried(raw: Any, at: Key, problems: list[Problem]) -> Any:
    """Any value that can travel to the agent's process; nothing is pickled."""
    try:
        msgspec.msgpack.encode(raw)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        problems.append(Problem(at, f"cannot be handed to another process: {error}"))
        return UNSET
    return raw
