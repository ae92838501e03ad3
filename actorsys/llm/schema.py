"""JSON schemas that providers accept as they stand: of a Struct for an answer, of a function for a tool.

Strict means what both OpenAI and Anthropic promise to keep to: an object at the root, no properties but those named, every one of them
required. A field with a default is required too, and its description names the default. What they cannot promise (numbers in a range,
lengths, patterns) goes into the description; decoding the answer checks it.
"""

import inspect
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct

from ..errors import DefinitionError
from .base import ToolSpec

_KEPT = ("type", "enum", "const", "$ref", "format")
_DROPPED = (
    "title",
    "discriminator",
    "default",
    "description",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "$defs",
)
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_STARTS_MAX = 20  # each may cost a read to the end of the text
_ARGUMENT = re.compile(r"^\s*(?::param\s+)?(\w+)(?:\s*\([^)]*\))?\s*:\s+(.+)$")
_ARGUMENTS = re.compile(r"^\s*(?:Args|Arguments|Parameters):\s*$|^\s*:param\s", re.MULTILINE)


def strict_schema(type: type[Struct]) -> dict[str, Any]:
    """The schema of a Struct in the strict form. Raises TypeError for what has none: a dict, `Any`, a tuple of given length.

    DefinitionError, a TypeError, for a type that is no Struct.

    >>> class Answer(Struct):
    ...     text: str
    ...     sure: float = 0.5
    >>> strict_schema(Answer)["properties"]["sure"]
    {'type': 'number', 'description': 'Default: 0.5'}
    >>> strict_schema(Answer)["required"]
    ['text', 'sure']
    """
    schema = _inlined(type)
    strict = _strict(schema, type.__name__)
    if "$defs" in schema:
        strict["$defs"] = {name: _strict(each, name) for name, each in schema["$defs"].items()}
    return strict


def why_not_strict(schema: dict[str, Any]) -> str | None:
    """The first rule of the strict form that a schema breaks; None: it keeps them all."""
    if schema.get("type") != "object":
        return "the root is no object"
    return next(_breaches(schema, "root", schema), None)


def tool_spec(function: Callable[..., Any]) -> ToolSpec:
    """What a model is told about a function: its name, its docstring and its parameters, strict where they can be.

    A line `name: text` under "Args:" in the docstring describes a parameter. Raises TypeError for one without annotation and for `*args`.

    >>> def weather(city: str) -> str:
    ...     '''The weather now.'''
    ...     return "sunny"
    >>> tool_spec(weather)
    ToolSpec(name='weather', description='The weather now.', parameters={'type': 'object', 'properties': {'city': {'type': 'string'}}, 'required': ['city'], 'additionalProperties': False})
    """
    type = arguments_type(function)
    try:
        parameters = strict_schema(type)
    except TypeError:
        parameters = _inlined(type)
    parameters = {key: value for key, value in parameters.items() if key not in ("title", "description")}
    text, described = _docstring(function)
    for name, line in described.items():
        if name in parameters["properties"]:
            shown = parameters["properties"][name]
            shown["description"] = "\n".join(part for part in (line, shown.get("description")) if part)
    return ToolSpec(type.__name__, text, parameters)


def arguments_type(function: Callable[..., Any]) -> type[Struct]:
    """A Struct with the parameters of a function as fields: decode a model's arguments as this. Raises TypeError as `tool_spec` does."""
    name = getattr(function, "__name__", type(function).__name__)
    hints = get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{name}() cannot be a tool: {parameter} cannot be given by name")
        if parameter.name not in hints:
            raise TypeError(f"{name}() cannot be a tool: parameter {parameter.name} has no annotation")
        if parameter.default is parameter.empty:
            fields.append((parameter.name, hints[parameter.name]))
        else:
            fields.append((parameter.name, hints[parameter.name], _default(parameter.default)))
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True, kw_only=True)


def _default(value: Any) -> Any:
    """A field's default: msgspec copies empty containers and refuses others."""
    if isinstance(value, (list, dict, set, bytearray)) and value:
        return msgspec.field(default_factory=lambda: value)
    return value


def _inlined(type: type[Struct]) -> dict[str, Any]:
    """The schema of a Struct with its own definition at the root; it stays among `$defs` only where something refers to it."""
    whole = msgspec.json.schema(type)
    defs = dict(whole.get("$defs", {}))
    name = whole.get("$ref", "").rpartition("/")[2]
    root = dict(defs.get(name, {}))
    if root.get("type") != "object":
        raise DefinitionError(f"{type} is no Struct; the form of an answer must be one, so put it into a field of one")
    if whole["$ref"] not in set(_references(list(defs.values()))):
        del defs[name]
    return {**root, "$defs": defs} if defs else root


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    for each in value if isinstance(value, list) else ():
        yield from _references(each)


def _strict(schema: dict[str, Any], at: str) -> dict[str, Any]:
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}  # nothing may stand beside it
    strict = {key: schema[key] for key in _KEPT if key in schema}
    if strict.get("format") not in (None, *_FORMATS):
        del strict["format"]
    if "enum" in strict and len(types := {_TYPES.get(value.__class__) for value in strict["enum"]}) == 1:
        strict = {"type": types.pop(), **strict}
    if "anyOf" in schema:
        strict["anyOf"] = [_strict(each, at) for each in schema["anyOf"]]
    elif strict.get("type") == "object":
        if "properties" not in schema and schema.get("additionalProperties", True) is not False:
            raise TypeError(f"{at} is a dict: a strict schema needs named fields, so use a list of a Struct with key and value")
        strict["properties"] = {key: _strict(each, f"{at}.{key}") for key, each in schema.get("properties", {}).items()}
        strict["required"] = list(strict["properties"])
        strict["additionalProperties"] = False
    elif strict.get("type") == "array":
        if "prefixItems" in schema:
            raise TypeError(f"{at} is a tuple of given length: a strict schema has none, so use a Struct")
        strict["items"] = _strict(schema.get("items", {}), at)
    elif "type" not in strict and "enum" not in strict and "const" not in strict:
        raise TypeError(f"{at} may be anything: a strict schema needs a type")
    if text := _description(schema, strict):
        strict["description"] = text
    return strict


def _description(schema: dict[str, Any], strict: dict[str, Any]) -> str:
    """Its own, then what the strict form has no place for."""
    left = {key: value for key, value in schema.items() if key not in strict and key not in _DROPPED}
    lines = [schema.get("description", "")]
    if left:
        lines.append(", ".join(f"{key}: {value}" for key, value in left.items()))
    if schema.get("default") is not None:
        lines.append(f"Default: {json.dumps(schema['default'])}")
    return "\n".join(line for line in lines if line)


def _breaches(schema: Any, at: str, root: dict[str, Any]) -> Iterator[str]:
    if not isinstance(schema, dict):
        yield f"{at} is no schema"
        return
    for name, each in schema.get("$defs", {}).items():
        yield from _breaches(each, f"$defs.{name}", root)
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        if name not in root.get("$defs", {}) and schema["$ref"] != "#":
            yield f"{at} refers to {schema['$ref']}, which is not there"
        return
    for place, each in enumerate(schema.get("anyOf", ())):
        yield from _breaches(each, f"{at}.anyOf[{place}]", root)
    if not schema.keys() & {"type", "anyOf", "enum", "const"}:
        yield f"{at} has no type"
    if unknown := schema.keys() & {"oneOf", "allOf", "not", "prefixItems", "default", "discriminator", "contentEncoding"}:
        yield f"{at} has {', '.join(sorted(unknown))}"
    if schema.get("type") == "array" and "items" not in schema:
        yield f"{at} has no items"
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            yield f"{at} does not say additionalProperties: false"
        if list(schema.get("required", ())) != list(schema.get("properties", ())):
            yield f"{at} does not require all its properties"
    for name, each in schema.get("properties", {}).items():
        yield from _breaches(each, f"{at}.{name}", root)
    if "items" in schema:
        yield from _breaches(schema["items"], f"{at}[]", root)


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The text before "Args:", and the line of each parameter after it."""
    text = inspect.getdoc(function) or ""
    start = _ARGUMENTS.search(text)
    if start is None:
        return text, {}
    lines = text[start.start() :].splitlines()
    return text[: start.start()].strip(), {match[1]: match[2] for line in lines if (match := _ARGUMENT.match(line))}


def json_in(text: str) -> str:
    """The JSON value that an answer holds, without what a talkative model puts around it; the text itself if there is none.

    >>> json_in('Sure! ```json\\n{"a": 1}\\n``` Anything else?')
    '{"a": 1}'
    """
    decoder = json.JSONDecoder()
    try:
        decoder.decode(text)
        return text
    except (ValueError, RecursionError):
        pass
    for match in itertools.islice(re.finditer(r"[{\[]", text), _STARTS_MAX):
        try:
            _, end = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        return text[match.start() : end]
    return text
