"""Answers made of the prompt itself, for the mock: its sentences, or a value of a schema. Pure: the same turns, the same answer."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from .base import Turn

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_HEADER = re.compile(r"^\s*(?:#+|[-*]|\d+[.)])\s*|^\s*(?:title|source|content|item \d+)\s*:\s*", re.IGNORECASE)
_LISTED = re.compile(r"^\s*[-*]\s*[\"'`]?([A-Za-z][\w/-]*)[\"'`]?\s*[:(]\s*(.*)$", re.MULTILINE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_NEXT = re.compile(r"\s*(?:[,;.]\s*)?\b(?:and then|then|afterwards|after that|finally)\b[,:]?\s*|\s*[;.]\s+", re.IGNORECASE)
_BESIDE = re.compile(r"\s*,\s*(?:and\s+)?|\s+and\s+", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9]{3,}")
_DULL = {"the", "and", "for", "with", "that", "this", "them", "from", "into", "agent", "agents", "all", "its", "can", "task"}
SENTENCES = 2  # of the answer to a plain prompt
DEPTH = 8  # of values of a schema that refers to itself


def answer(turns: Sequence[Turn]) -> str:
    """The results of tools, if they came last; the first sentence of each item, where a summary is wanted; else of the last paragraph."""
    results = []
    for turn in reversed(turns):
        if turn.role != "tool":
            break
        results.append(turn.content)
    if results:
        return " ".join(reversed(results))
    asked = _asked(turns)
    if re.search(r"summar", " ".join(turn.content for turn in turns if turn.role in ("system", "user")), re.IGNORECASE):
        return summary(asked)
    paragraphs = _paragraphs(asked)
    return " ".join(_SENTENCE.split(_plain(paragraphs[-1]))[:SENTENCES]) if paragraphs else "I have nothing to say to that."


def summary(text: str) -> str:
    """The first sentence of each item: of JSON objects with a `content`, else of the paragraphs."""
    found = [item for value in values_in(text) for item in _items(value)]
    if found:
        bodies = [(str(item.get("title") or ""), str(item["content"])) for item in found]
    else:
        paragraphs = _paragraphs(text)
        if len(paragraphs) > 1 and re.search(r"summar", paragraphs[0], re.IGNORECASE):
            paragraphs = paragraphs[1:]  # the instruction
        bodies = [_title_and_body(paragraph) for paragraph in paragraphs]
    lines = []
    for title, body in bodies:
        first = _SENTENCE.split(_plain(body))[0] if body.strip() else ""
        lines.append(f"{title}: {first}" if title and first else title or first)
    return " ".join(line for line in lines if line) or "There is nothing to sum up."


def value_of(schema: dict[str, Any], turns: Sequence[Turn]) -> Any:
    """A value that the schema allows, made of the prompt where that has something for it."""
    text = "\n\n".join(turn.content for turn in turns if turn.role in ("system", "user"))
    return _Maker(schema, text, answer(turns)).value(schema, "", DEPTH)


def values_in(text: str) -> Iterator[Any]:
    """The JSON objects and lists that stand in a text, the outer ones."""
    decoder, place = json.JSONDecoder(), 0
    while (match := re.compile(r"[{\[]").search(text, place)) is not None:
        try:
            value, place = decoder.raw_decode(text, match.start())
        except ValueError:
            place = match.end()
        else:
            yield value


def agents_in(text: str) -> dict[str, str]:
    """The agents that a prompt offers, with what it says about each: JSON, or lines like `- name: description`."""
    for value in values_in(text):
        offered = value.get("available_agents") if isinstance(value, dict) else value
        found = dict(_described(offered))
        if found:
            return found
    return {match[1]: match[2] for match in _LISTED.finditer(text)}


def _described(offered: Any) -> Iterator[tuple[str, str]]:
    if isinstance(offered, dict):
        offered = [{"name": name, "description": str(about)} for name, about in offered.items()]
    for each in offered if isinstance(offered, list) else ():
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            yield each["name"], " ".join(str(value) for value in each.values())
        elif isinstance(each, str) and re.fullmatch(r"[A-Za-z][\w/-]*", each):
            yield each, each


def planned(task: str, agents: dict[str, str]) -> list[tuple[str, str, list[int]]]:
    """(agent, part of the task, indices of the parts it waits for): each part goes to the agent whose words it shares the most of."""
    words = {name: _words(f"{name} {about}") for name, about in agents.items()}
    steps: list[tuple[str, str, list[int]]] = []
    before: list[int] = []
    for stage in _NEXT.split(task.strip().rstrip(".")):
        now = []
        for part in _BESIDE.split(stage):
            best = max(words, key=lambda name: (len(words[name] & _words(part)), -list(words).index(name)))
            if words[best] & _words(part):
                now.append(len(steps))
                steps.append((best, part.strip(), list(before)))
        before = now or before
    return steps or [(next(iter(agents)), task.strip(), [])]


class _Maker:
    def __init__(self, schema: dict[str, Any], text: str, said: str) -> None:
        self._root = schema
        self._defs = schema.get("$defs") or {}
        self._text = text
        self._agents = agents_in(text)
        self._said = self._task_of(text) or said

    def value(self, schema: dict[str, Any], name: str, depth: int) -> Any:
        schema = self._meant(schema)
        for choice in ("anyOf", "oneOf", "allOf"):
            if choice in schema:
                options = [option for option in schema[choice] if option.get("type") != "null"]
                null = len(options) < len(schema[choice])
                return None if null and (depth <= 0 or not options) else self.value(options[0], name, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            said = self._text.lower()
            choices: list[Any] = schema["enum"]
            return next((each for each in choices if isinstance(each, str) and each.lower() in said), choices[0])
        kinds = schema.get("type", "object" if "properties" in schema else "string")
        kind = next((each for each in kinds if each != "null"), "null") if isinstance(kinds, list) else kinds
        match kind:
            case "object":
                needed = schema.get("required", schema.get("properties", {})) if depth <= 0 else schema.get("properties", {})
                return {
                    key: self.value(each, key, depth - 1) for key, each in schema.get("properties", {}).items() if key in needed
                }
            case "array":
                return self._list(schema, name, depth)
            case "integer" | "number":
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return False
            case "null":
                return None
        return self._string(schema, name)

    def _meant(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema, or the one that it refers to."""
        if "$ref" not in schema:
            return schema
        place = schema["$ref"].rpartition("/")[2]
        found: dict[str, Any] = self._root if place == "#" else self._defs[place]
        return found

    def _list(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        items = self._meant(schema.get("items") or {"type": "string"})
        if "agent" in items.get("properties", {}) and self._agents:
            return [self._step(items, number, *step) for number, step in enumerate(planned(self._said, self._agents))]
        if depth <= 0:
            return []
        return [self.value(items, name, depth - 1) for _ in range(max(1, schema.get("minItems", 1)))]

    def _step(self, items: dict[str, Any], number: int, agent: str, part: str, after: list[int]) -> dict[str, Any]:
        """One step of a plan: what its properties are called says what belongs there."""
        step: dict[str, Any] = self.value(items, "", 1)
        for key, kind in items["properties"].items():
            if key == "agent":
                step[key] = agent
            elif key in ("id", "step_id"):
                step[key] = number + 1 if kind.get("type") == "integer" else f"step{number + 1}"
            elif key in ("depends_on", "dependencies", "after"):
                is_number = (kind.get("items") or {}).get("type") == "integer"
                step[key] = [each + 1 if is_number else f"step{each + 1}" for each in after]
            elif key in ("task", "message", "description", "action", "instruction", "title", "name"):
                step[key] = part
        return step

    @staticmethod
    def _task_of(text: str) -> str:
        for value in values_in(text):
            if isinstance(value, dict) and isinstance(value.get("task_description"), str):
                return str(value["task_description"])
        found = re.search(r"^\s*(?:task(?:[ _]description)?|goal)\s*:\s*(.+)$", text, re.IGNORECASE | re.MULTILINE)
        return found[1] if found else ""

    def _number(self, schema: dict[str, Any], *, whole: bool) -> float:
        found = _NUMBER.search(self._text)
        number = float(found[0]) if found else 0.0
        number = min(max(number, schema.get("minimum", number)), schema.get("maximum", number))
        return int(number) if whole else number

    def _string(self, schema: dict[str, Any], name: str) -> str:
        found = re.search(rf"^\W*{re.escape(name)}\W*:\s*(.+)$", self._text, re.IGNORECASE | re.MULTILINE) if name else None
        text = found[1].strip() if found else self._said
        return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), ".")


def _asked(turns: Sequence[Turn]) -> str:
    return next((turn.content for turn in reversed(turns) if turn.role == "user"), "")


def _paragraphs(text: str) -> list[str]:
    return [part for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]


def _plain(text: str) -> str:
    return " ".join(_HEADER.sub("", line).strip() for line in text.splitlines()).strip()


def _title_and_body(paragraph: str) -> tuple[str, str]:
    """An item's title, where its first line is one, and the rest."""
    first, _, rest = paragraph.partition("\n")
    if rest.strip() and not re.search(r"[.!?]\s*$", first):
        lines = [line for line in rest.splitlines() if not re.match(r"\s*source\s*:", line, re.IGNORECASE)]
        return _plain(first), "\n".join(lines)
    return "", paragraph


def _items(value: Any) -> Iterator[dict[str, Any]]:
    for each in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        if isinstance(each, dict) and isinstance(each.get("content"), str):
            yield each
        elif isinstance(each, list):
            yield from _items(each)


def _words(text: str) -> set[str]:
    """Its words without endings, so that `summarize` and `summaries` are one."""
    return {word[:5] for word in _WORD.findall(text.lower()) if word not in _DULL}
