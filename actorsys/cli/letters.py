"""`dead-letters`: the messages that nobody could take, with the reasons."""

import click

from ..units import format_seconds
from .client import Client
from .failures import NOTHING_MATCHED
from .options import settings, shared
from .output import note, print_json, print_line, print_table

DOING = {"retry": "sent again", "drop": "dropped"}


@click.command("dead-letters")
@click.argument("action", type=click.Choice(["list", "show", "retry", "drop"]), default="list")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=int)
@shared()
def dead_letters(action: str, ids: tuple[int, ...]) -> int:
    """List dead letters, show them with payload and traceback, send them again as new mail, or drop them.

    Without IDs: all of them.
    """
    wanted = settings()
    arguments = {"do": action, **({"ids": list(ids)} if ids else {})}
    rows = Client(wanted.socket_path()).call("dead-letters", arguments)
    if wanted.output != "table":
        print_json(rows, lines=wanted.output == "jsonl")
        return 0
    if action == "show":
        for row in rows:
            _show(row)
    elif action in DOING:
        note(f"{len(rows)} {DOING[action]}")
    elif rows:
        cells = [
            [
                str(row["id"]),
                row["to"],
                _kind(row),
                row["sender"],
                f"{format_seconds(row['age_s'])} ago",
                row["reason"].partition("\n")[0],
            ]
            for row in rows
        ]
        print_table(("ID", "TO", "TYPE", "FROM", "WHEN", "REASON"), cells, {})
    if not rows:
        note("there are no dead letters")
    return NOTHING_MATCHED if ids and not rows else 0


def _kind(row: dict[str, str]) -> str:
    return row["type"].rpartition(":")[2] or "-"


def _show(row: dict[str, object]) -> None:
    print_line(f"{row['id']}. {row['type'] or 'a message'} from {row['sender']} to {row['to']}, delivery {row['deliveries']}")
    print_line(f"   reason     {row['reason']}")
    print_line(f"   payload    {row['payload']}")
    for line in str(row["traceback"] or "").splitlines():
        print_line(f"     | {line}")
