"""The options that every command takes, before its name or after it, and what follows from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_FILE = "agents.toml"


class Settings:
    """What the shared options say; found in `click.Context.obj`."""

    def __init__(self) -> None:
        self.file = DEFAULT_FILE
        self.socket = ""
        self.output = "table"

    def socket_path(self) -> Path:
        """The control socket: the one given, or that of the supervisor of our file."""
        from ..config.load import state_dir
        from ..config.paths import control_socket

        return Path(self.socket) if self.socket else control_socket(state_dir(self.file))

    def again(self, command: str) -> str:
        """`actorsys COMMAND` as it must be typed to reach the same supervisor."""
        where = f"-f {self.file} " if self.file != DEFAULT_FILE else ""
        return f"actorsys {where}{command}"


def settings() -> Settings:
    """Those of the running command."""
    return click.get_current_context().ensure_object(Settings)


def _keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    kept = ctx.ensure_object(Settings)
    if value is not None:
        setattr(kept, str(param.name), value)


def shared(*, environment: bool = False) -> Callable[[F], F]:
    """Add the shared options to a command. `environment`: each can be set by a variable ACTORSYS_..., too."""

    def add(command: F) -> F:
        for flags, variable, keywords in (
            (
                ("-o", "--output"),
                "ACTORSYS_OUTPUT",
                {"type": click.Choice(["table", "json", "jsonl"]), "help": "Form of the data."},
            ),
            (("--socket",), "ACTORSYS_SOCKET", {"metavar": "PATH", "help": "Control socket of the supervisor."}),
            (("-f", "--file"), "ACTORSYS_FILE", {"metavar": "FILE", "help": f"Configuration; default: ./{DEFAULT_FILE}"}),
        ):
            command = click.option(
                *flags, expose_value=False, callback=_keep, envvar=variable if environment else None, **keywords
            )(command)
        return command

    return add
