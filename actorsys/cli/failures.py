"""What does a failed command say, and with which code does it end?"""

import sys

import click

from ..errors import (
    ActorError,
    AgentDown,
    AskTimeout,
    BadMessage,
    ConfigError,
    MailboxFull,
    RemoteError,
    StartFailed,
    UnknownAgent,
    Unreachable,
)
from .output import clean, clean_lines

FAILED, USAGE, NOTHING_MATCHED, TIMEOUT, UNREACHABLE, BAD_CONFIG, FORCED = 1, 2, 3, 4, 69, 78, 130

_CODES: dict[type[ActorError], int] = {
    UnknownAgent: NOTHING_MATCHED,
    AskTimeout: TIMEOUT,
    Unreachable: UNREACHABLE,
    ConfigError: BAD_CONFIG,
}
_HINTS: dict[type[ActorError], str] = {
    UnknownAgent: "`actorsys ps` lists all agents",
    AskTimeout: "allow more with --timeout, or see with `actorsys ps` what the agent is busy with",
    Unreachable: "start one with `actorsys supervise agents.toml`, or point to it with -f FILE or --socket PATH",
    ConfigError: "correct that, then look again with `actorsys check`",
    AgentDown: "`actorsys why NAME` shows why it ended",
    BadMessage: "give the type and its fields, as in `actorsys ask NAME TYPE FIELD=VALUE`, or plain JSON with --json",
    MailboxFull: "wait until it has caught up; `actorsys ps` shows its mailbox",
    RemoteError: "the agent's own code raised this; the agent decides what it accepts",
    StartFailed: "`actorsys why NAME` shows its last output; correct the agent, then `actorsys start NAME`",
}
_ANY_HINT = "`actorsys ps` shows how all agents are"


def report(error: ActorError) -> int:
    """Print the error, and what to do next, on stderr; answer with the exit code."""
    sys.stdout.flush()
    if isinstance(error, ConfigError):
        _say(*clean_lines(error.message), f"{_count(len(error.message.splitlines()))}; nothing was started or changed")
    else:
        if traceback := getattr(error, "traceback", None):
            _say(*(f"  {line}" for line in clean_lines(traceback)))
        _say(f"error: {clean(error.message)}")
    if "`actorsys " not in error.message:  # else it says itself what to do next
        _say(f"hint: {_HINTS.get(type(error), _ANY_HINT)}")
    return _CODES.get(type(error), FAILED)


def report_usage(error: click.UsageError) -> int:
    """The same for a command line that cannot be read."""
    _say(f"error: {error.format_message()}")
    _say(f"hint: `{error.ctx.command_path if error.ctx else 'actorsys'} --help` shows what it takes")
    return USAGE


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(line, err=True)


def _count(number: int) -> str:
    return "1 error" if number == 1 else f"{number} errors"
