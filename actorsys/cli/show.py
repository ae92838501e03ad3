"""`ps`, `why`, `state`: how are the agents, and why did one die?"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
import msgspec

from ..clock import wall
from ..process.exits import Exit, describe
from ..units import format_bytes, format_seconds
from .client import Client
from .failures import NOTHING_MATCHED
from .options import settings, shared
from .output import clean, clean_lines, note, print_json, print_line, print_table, state_style

COLUMNS = ("NAME", "TYPE", "STATE", "PID", "UP", "RESTARTS", "MAILBOX", "HANDLED", "RSS", "NATS", "LAST")
_ENDED_CHARS = 80


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@shared()
def ps(names: tuple[str, ...]) -> int:
    """List all agents, or those named, and how they are."""
    wanted = settings()
    rows = Client(wanted.socket_path()).call("ps", {"names": list(names)} if names else {})
    if wanted.output != "table":
        print_json(rows, lines=wanted.output == "jsonl")
    elif rows:
        print_table(COLUMNS, [_row(row) for row in rows], {"STATE": state_style})
    if wanted.output == "table":
        states = Counter(row["state"] for row in rows)
        counts = f": {', '.join(f'{number} {state}' for state, number in states.most_common())}" if rows else ""
        note(f"{len(rows)} agent{'' if len(rows) == 1 else 's'}{counts}")
    return NOTHING_MATCHED if names and not rows else 0


def _row(row: Mapping[str, Any]) -> list[str]:
    last = ", ".join(part for part in (_ended(row.get("last_exit")), row.get("note")) if part)
    return [
        row["name"],
        row["type"].rpartition(":")[2],
        row["state"],
        _or_dash(row.get("pid")),
        _or_dash(row.get("uptime_s"), format_seconds),
        _or_dash(row.get("restarts")),
        _or_dash(row.get("mailbox")),
        _or_dash(row.get("handled")),
        _or_dash(row.get("rss_bytes"), format_bytes),
        _or_dash(row.get("nats")),
        last,
    ]


def _or_dash(value: Any, form: Any = str) -> str:
    return "-" if value is None else form(value)


def _ended(exit: Mapping[str, Any] | None) -> str:
    if not exit:
        return ""
    text = describe(_exit(exit)).partition("\n")[0]
    text = text if len(text) <= _ENDED_CHARS else text[: _ENDED_CHARS - 3] + "..."
    return f"{text} {_ago(exit.get('at'))}".rstrip()


def _exit(fields: Mapping[str, Any]) -> Exit:
    return msgspec.convert({key: value for key, value in fields.items() if value is not None}, Exit)


def _ago(at: str | None) -> str:
    try:
        then = datetime.fromisoformat(at or "")
    except ValueError:
        return ""
    then = then if then.tzinfo else then.astimezone()
    return f"{format_seconds(max(0.0, (wall() - then).total_seconds()))} ago"


@click.command()
@click.argument("name")
@shared()
def why(name: str) -> None:
    """Say why an agent died: its last deaths, the newest last."""
    wanted = settings()
    found = Client(wanted.socket_path()).call("why", {"name": name})
    deaths = found.get("exits") or []
    if wanted.output != "table":
        print_json(deaths if wanted.output == "jsonl" else found, lines=wanted.output == "jsonl")
        return
    if not deaths:
        print_line(f"{found['name']} is {found['state']} and has not died since this supervisor started")
        return
    print_line(f"{found['name']} is {found['state']}; {len(deaths)} death{'' if len(deaths) == 1 else 's'}, the newest last")
    for number, death in enumerate(deaths, 1):
        print_line("")
        for line in _death(number, death):
            print_line(line)


def _death(number: int, death: Mapping[str, Any]) -> list[str]:
    exit = _exit({key: value for key, value in death.items() if key != "decision"})
    life = [f"incarnation {exit.incarnation}" if "incarnation" in death else "", f"pid {exit.pid}" if exit.pid else ""]
    facts = {
        "when": " ".join(part for part in (exit.at, f"({_ago(exit.at)})" if _ago(exit.at) else "") if part),
        "life": ", ".join(part for part in (*life, f"up {format_seconds(exit.uptime_s)}") if part),
        "decision": str(death.get("decision") or ""),
        "message": exit.message or "",
    }
    lines = [f"{number}. {clean(describe(exit))}"]
    lines += [f"   {label:<9}  {clean(text)}" for label, text in facts.items() if text]
    if exit.traceback:
        lines += ["   traceback", *(f"     {line}" for line in clean_lines(exit.traceback))]
    if exit.output:
        lines += ["   last output", *(f"     | {clean(line)}" for line in exit.output)]
    return lines


@click.command()
@click.argument("name")
@shared()
def state(name: str) -> None:
    """Print the stored state of an agent as JSON."""
    wanted = settings()
    print_json(Client(wanted.socket_path()).call("state", {"name": name}), lines=wanted.output == "jsonl")


@click.command()
@click.argument("name")
@shared()
def steps(name: str) -> None:
    """List the journaled steps of the messages that an agent has begun and not acknowledged, with their results."""
    wanted = settings()
    rows = Client(wanted.socket_path()).call("steps", {"name": name})
    if wanted.output != "table":
        print_json(rows, lines=wanted.output == "jsonl")
    elif rows:
        print_table(
            ("MESSAGE", "STEP", "STATUS", "RESULT"), [[r["message"], r["step"], r["status"], str(r["result"])] for r in rows], {}
        )
    else:
        note(f"{name} has no steps under way")
