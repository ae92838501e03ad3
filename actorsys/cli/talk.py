"""`ask` and `tell`: send an agent a message from the command line."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from ..errors import BadMessage
from ..units import Seconds
from .client import ANSWER_TIMEOUT_S, Client
from .options import settings, shared
from .output import print_json


def _duration(ctx: click.Context, param: click.Parameter, value: str) -> Seconds:
    try:
        number: float | str = float(value)
    except ValueError:
        number = value
    try:
        return Seconds.parse(number)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _talk(verb: str, help: str) -> click.Command:
    @click.command(verb, help=help)
    @click.argument("name")
    @click.argument("words", metavar="[TYPE] [FIELD=VALUE]...", nargs=-1, type=click.UNPROCESSED)
    @click.option("--json", "json", metavar="TEXT|@FILE|-", help="The content as JSON: text, a file, or - for stdin.")
    @click.option("--timeout", callback=_duration, default="30s", show_default=True, metavar="S", help="How long to wait.")
    @click.option("--priority", type=click.IntRange(1, 5), default=3, show_default=True, help="1 is urgent.")
    @shared()
    def command(name: str, words: tuple[str, ...], json: str | None, timeout: Seconds, priority: int) -> None:
        type, payload = _message(words, json)
        message = {
            "name": name,
            "type": type,
            "payload": payload,
            "lenient": json is None,
            "timeout": float(timeout),
            "priority": priority,
        }
        wanted = settings()
        # The supervisor ends the wait; we only guard against one that is hung itself.
        client, wait = Client(wanted.socket_path()), timeout + ANSWER_TIMEOUT_S
        try:
            reply = client.call(verb, message, timeout=wait)
        except BadMessage as error:
            if error.field != "stream":
                raise
            for part in client.stream(message, timeout=wait):
                print_json([part], lines=True)
            return
        if verb == "ask":
            print_json(reply, lines=wanted.output == "jsonl")

    return command


def _message(words: tuple[str, ...], json: str | None) -> tuple[str | None, Any]:
    """The type and the content that the words and --json give."""
    type = words[0] if words and "=" not in words[0] else None
    fields = words[1:] if type else words
    wrong = [word for word in fields if not word.partition("=")[1] or word.startswith("=")]
    if wrong:
        raise click.UsageError(f"{wrong[0]!r} is not FIELD=VALUE")
    if json is not None:
        if fields:
            raise click.UsageError("give the content either as FIELD=VALUE or with --json, not both")
        return type, _json(json)
    if type is None and not fields:
        raise click.UsageError("nothing to send: give a TYPE, FIELD=VALUE, or --json")
    values: dict[str, str] = {}
    for word in fields:
        field, _, value = word.partition("=")
        if field in values:
            raise click.UsageError(f"{field} is given twice")
        values[field] = value
    return type, values


def _json(source: str) -> Any:
    try:
        text = (
            sys.stdin.buffer.read() if source == "-" else Path(source[1:]).read_bytes() if source[:1] == "@" else source.encode()
        )
        return msgspec.json.decode(text)
    except OSError as error:
        raise click.UsageError(f"--json {source}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise click.UsageError(f"--json is not valid JSON: {error}") from None


ask = _talk(
    "ask",
    """Send an agent a message and print its reply as JSON.

    TYPE is the name of a message class of the agent. Each VALUE is text, converted to the type of its FIELD there; --json is taken
    as it is. Without TYPE the agent's `receive` gets the content as plain JSON. A reply in parts is printed as it comes, a line for
    each part; --timeout is the longest wait for the next one.

    \b
      actorsys ask counter Add n=2
      actorsys ask counter Add --json '{"n": 2}'
    """,
)
tell = _talk(
    "tell",
    """Send an agent a message that wants no reply; ends when the message is in custody.

    \b
      actorsys tell counter Reset
    """,
)
