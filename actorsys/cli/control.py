"""`start`, `stop`, `restart`, `kill`, `reload`: tell the supervisor what to do with agents."""

import click

from .client import Client
from .failures import NOTHING_MATCHED
from .options import settings, shared
from .output import note, print_json, print_line, print_table, state_style

# A stop waits for each agent's stop_timeout, one after the other where they depend on each other.
CONTROL_TIMEOUT_S = 600.0


def _control(verb: str, help: str) -> click.Command:
    @click.command(verb, help=help)
    @click.argument("names", metavar="NAME...", nargs=-1, required=True)
    @shared()
    def command(names: tuple[str, ...]) -> int:
        wanted = settings()
        rows = Client(wanted.socket_path()).call(verb, {"names": list(names)}, timeout=CONTROL_TIMEOUT_S)
        if wanted.output != "table":
            print_json(rows, lines=wanted.output == "jsonl")
        elif rows:
            cells = [[row["name"], row["state"], str(row.get("pid") or "-")] for row in rows]
            print_table(("NAME", "STATE", "PID"), cells, {"STATE": state_style})
        if not rows:
            note(f"no agent is named {' or '.join(names)}\nhint: `{wanted.again('ps')}` lists all agents")
        return 0 if rows else NOTHING_MATCHED

    return command


start = _control("start", "Start agents that are stopped or failed; a failed one begins with a clear record.")
stop = _control("stop", "Stop agents in order; they stay stopped until `start`.")
restart = _control("restart", "Stop agents in order and start them again.")
kill = _control("kill", "SIGKILL agents; what follows is what their restart type says.")


@click.command()
@click.option("--plan", "plan_only", is_flag=True, help="Only show the difference.")
@shared()
def reload(plan_only: bool) -> None:
    """Read agents.toml again; print the difference (+ - ~, and what is restarted) and apply only that.

    It compares what the file says, not the code of the agents: changed modules are read when a reload starts or restarts an agent, or at
    the next start of the supervisor.
    """
    wanted = settings()
    rows = Client(wanted.socket_path()).call("reload", {"plan": plan_only}, timeout=CONTROL_TIMEOUT_S)
    if wanted.output != "table":
        print_json(rows, lines=wanted.output == "jsonl")
        return
    for row in rows:
        print_line(row["text"])
    if not rows:
        note("nothing has changed")
    elif plan_only:
        note(f"nothing was done; `{wanted.again('reload')}` applies it")
