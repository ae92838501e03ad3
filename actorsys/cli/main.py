"""The command line: which commands there are, and what an error looks like.

A command's module is imported only when that command runs, so that `--help` and a typing mistake answer at once.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from .. import __version__
from ..errors import ActorError
from .failures import report, report_usage
from .options import shared
from .output import silence_stdout

# command: module, and its line in --help
COMMANDS = {
    "supervise": ("up", "Run the agents of FILE in the foreground."),
    "ps": ("show", "List all agents and how they are."),
    "why": ("show", "Say why an agent died: its last deaths."),
    "state": ("show", "Print the stored state of an agent as JSON."),
    "ask": ("talk", "Send an agent a message and print its reply as JSON."),
    "tell": ("talk", "Send an agent a message that wants no reply."),
    "start": ("control", "Start agents that are stopped or failed."),
    "stop": ("control", "Stop agents; they stay stopped."),
    "restart": ("control", "Stop agents in order and start them again."),
    "kill": ("control", "SIGKILL agents; their restart type decides what follows."),
    "steps": ("show", "List the journaled steps of messages that an agent has not acknowledged."),
    "dead-letters": ("letters", "List, show, send again or drop the messages that nobody could take."),
    "agents": ("agents", "List the agents that answer on NATS, of all nodes."),
    "nats": ("nats", "Say where the supervisor's NATS server is, and what opens it."),
    "reload": ("control", "Read agents.toml again and apply the difference."),
    "check": ("check", "Say whether FILE is a valid configuration."),
    "bench": ("bench", "Measure this machine: figures beside their floors and targets."),
}


@contextmanager
def _until_nobody_reads() -> Iterator[None]:
    """Whoever read our output may have enough of it (`actorsys ps | head`): that is no failure."""
    try:
        yield
    except BrokenPipeError:
        silence_stdout()
        raise click.exceptions.Exit(0) from None


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f".{COMMANDS[cmd_name][0]}", __package__), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from ..names import did_you_mean

            raise click.UsageError(f"there is no command {args[0]!r}.{did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _until_nobody_reads():  # --help and --version print here
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _until_nobody_reads():
            code = super().invoke(ctx)
            sys.stdout.flush()
            return code

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            code = super().main(args, prog_name or "actorsys", complete_var, standalone_mode=False, **extra)
        except ActorError as error:
            code = report(error)
        except click.UsageError as error:
            code = report_usage(error)
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except click.Abort:
            code = 130
        code = code if isinstance(code, int) else 0
        if standalone_mode:
            sys.exit(code)
        return code


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="actorsys", message="%(prog)s %(version)s")
@shared(environment=True)
def cli() -> None:
    """Erlang-style supervision for plain Python: every agent is an OS process of its own.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 nothing matched, 4 timeout, 69 no supervisor answers, 78 bad configuration.
    """


def main() -> None:
    """The `actorsys` command."""
    cli.main()
