"""What is asked of the launcher, and what it answers: values only."""

from __future__ import annotations

import os
import sys
from typing import Literal

from msgspec import Struct, field

from .exits import signal_name

How = Literal["fork", "fresh"]


class Order(Struct, frozen=True, kw_only=True):
    """Everything one incarnation of an agent needs to be born."""

    name: str
    incarnation: int
    entry: str  # "module:function", called with (payload, connection); its int result is the exit code
    payload: bytes = b""
    env: dict[str, str] = field(default_factory=dict)  # over the host's own
    how: Literal["auto", "fork", "fresh"] = "auto"
    type: str | None = None  # "module:Class" of the agent: a module that cannot be forked after loading goes the fresh way


class Status(Struct, frozen=True):
    """How a process ended: an exit code or a signal, never both."""

    exit_code: int | None
    signal: str | None  # "SIGKILL"
    max_rss_bytes: int

    @classmethod
    def of(cls, wait_status: int, max_rss_bytes: int) -> Status:
        if os.WIFSIGNALED(wait_status):
            return cls(None, signal_name(os.WTERMSIG(wait_status)), max_rss_bytes)
        return cls(os.waitstatus_to_exitcode(wait_status), None, max_rss_bytes)


class MainModule(Struct, frozen=True, kw_only=True):
    """The host's main program: a script by path, or a module by its real name (`python -m`)."""

    path: str | None = None
    name: str | None = None

    def as_dict(self) -> dict[str, str]:
        return {"path": self.path} if self.path else {"name": self.name or ""}


def main_module() -> MainModule | None:
    """This process's main program; None where there is none to load: an interactive session, `python -c`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":  # "__main__": a folder or archive, run by its path
        return MainModule(name=spec.name)
    path = getattr(main, "__file__", None)
    return MainModule(path=os.path.abspath(path)) if path and os.path.exists(path) else None
