"""`check`: is the configuration right, and can the agents' modules be imported? Nothing is started."""

import click

from .options import settings, shared
from .output import print_json, print_line


@click.command()
@click.argument("path", metavar="[FILE]", required=False)
@shared()
def check(path: str | None) -> None:
    """Say whether FILE is a valid configuration; all errors at once."""
    wanted = settings()
    wanted.file = path or wanted.file
    from ..config.load import load

    config = load(wanted.file)
    # The whole supervisor is loaded only for a file that is right so far: errors come at once.
    from ..supervision.supervisor import Supervisor, run

    run(Supervisor.from_toml(wanted.file).check())
    if wanted.output == "table":
        count = len(config.agents)
        print_line(f"{wanted.file}: {count} agent{'' if count == 1 else 's'}, ok")
    else:
        print_json({"file": wanted.file, "agents": list(config.agents), "ok": True}, lines=wanted.output == "jsonl")
