"""Why did a process end? A wait status and what we know besides, turned into one exit reason."""

import signal as signals
from typing import Literal

from msgspec import Struct

from ..messages import Failure

Reason = Literal[
    "normal", "shutdown", "crashed", "exit_code", "killed", "out_of_memory", "unresponsive", "start_failed", "start_timeout"
]


class Exit(Struct, frozen=True, kw_only=True):
    """The end of one incarnation. `detail` is the exception's line or another sentence for people; `at` is wall time, ISO-8601."""

    reason: Reason
    exit_code: int | None = None
    signal: str | None = None  # "SIGKILL"
    detail: str = ""
    traceback: str | None = None
    at: str = ""
    uptime_s: float = 0.0
    output: tuple[str, ...] = ()  # its last lines
    message: str | None = None  # id and type of the message it held, when known for certain
    incarnation: int = 0
    pid: int | None = None


def signal_name(number: int) -> str:
    """
    >>> signal_name(9)
    'SIGKILL'
    """
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def describe(exit: Exit) -> str:
    """One line for people.

    >>> describe(Exit(reason="killed", signal="SIGKILL"))
    'killed by SIGKILL'
    """
    match exit.reason:
        case "killed":
            text = f"killed by {exit.signal}"
        case "exit_code":
            text = f"exited with code {exit.exit_code}"
        case "crashed" | "start_failed":
            text = exit.reason.replace("_", " ")
        case other:
            text = other.replace("_", " ")
    return f"{text}: {exit.detail}" if exit.detail else text


def judge(
    exit_code: int | None,
    signal: str | None,
    *,
    said: Failure | None = None,
    is_ready: bool = True,
    has_stopped: bool = False,
    killed_for: tuple[Reason, str] | None = None,
) -> tuple[Reason, str]:
    """The reason of an exit, and a detail for people.

    `said`: the exception that the process reported last; `has_stopped`: it said that it ends in order; `killed_for`: reason and detail
    of the SIGKILL that we sent.

    >>> judge(None, "SIGKILL")
    ('killed', '')
    >>> judge(3, None)
    ('exit_code', '')
    """
    if killed_for is not None and signal == "SIGKILL":
        return killed_for
    if said is not None:
        return "crashed" if is_ready else "start_failed", said.line
    if has_stopped:
        return "shutdown", ""
    if signal is not None:
        return "killed", "" if is_ready else "before it was ready"
    if exit_code == 0:
        return "normal", "" if is_ready else "before it was ready"
    return "exit_code" if is_ready else "start_failed", "" if is_ready else f"exit code {exit_code}"
