"""`agents`: who answers on NATS, on whatever machine?"""

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError, Unreachable
from ..spec import nats_url
from ..units import SECOND_NS, Seconds, format_seconds
from .options import settings, shared
from .output import note, print_json, print_table

COLUMNS = ("NAME", "NODE", "STATUS", "CAPABILITIES", "DESCRIPTION", "SEEN")
CONNECT_TIMEOUT = 5.0  # seconds
QUIET = 0.3  # seconds without another answer: that was all


@click.command()
@click.option(
    "--url", metavar="URL", help="NATS server; default: NATS_URL, NATS_WEBSOCKET_URL, or that of the supervisor of FILE."
)
@click.option("--wait", metavar="S", default="1s", show_default=True, help="How long to listen for answers and heartbeats.")
@click.option("--capability", metavar="NAME", help="Only agents that can do this.")
@shared()
def agents(url: str | None, wait: str, capability: str | None) -> None:
    """List the agents that answer on NATS, of all nodes. Needs no supervisor."""
    try:
        seconds = Seconds.parse(wait if wait.rstrip("0123456789.") or not wait else float(wait))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    rows = asyncio.run(_listen(_options(url), seconds))
    if capability is not None:
        rows = [row for row in rows if capability in row["capabilities"]]
    wanted = settings()
    if wanted.output != "table":
        print_json(rows, lines=wanted.output == "jsonl")
        return
    if rows:
        print_table(COLUMNS, [_row(row) for row in rows])
    nodes = len({row["node"] for row in rows})
    on = f" on {nodes} node{'' if nodes == 1 else 's'}" if rows else ""
    note(f"{len(rows)} agent{'' if len(rows) == 1 else 's'}{on}")


def _options(url: str | None) -> Any:
    from ..bus.nats_options import NatsOptions
    from ..config.load import load
    from .nats import credentials_file, embedded

    try:
        if text := url or nats_url(os.environ):
            return NatsOptions.parse(text)
        if (file := Path(settings().file)).exists() and (spec := load(file).nats).url and spec.mode in ("auto", "external"):
            return NatsOptions.of(spec).check()
        if (found := embedded()) is not None:
            return found.options()
    except ConfigError as error:
        raise click.UsageError(error.message) from None
    text = f"no NATS server is known: no --url, no NATS_URL, no url in [nats], and no supervisor that runs one ({credentials_file()})"
    raise Unreachable(f"{text}. Give one, as in `actorsys agents --url nats://HOST:4222`.")


async def _listen(options: Any, wait: float) -> list[dict[str, Any]]:
    from ..bus import envelope, subjects
    from ..bus.base import Incoming
    from ..bus.nats import NatsBus
    from ..clock import now_ns
    from ..comms.micro import discover
    from ..comms.peers import Peers
    from ..errors import BadMessage

    peers = Peers(30 * SECOND_NS)
    bus = NatsBus(options, name="actorsys agents")

    async def heard(incoming: Incoming) -> None:
        try:
            peers.heard(envelope.decode(incoming.payload, limit=2**20), now_ns())
        except BadMessage:
            pass  # whoever sent it hears of it from the agents

    await bus.start()
    try:
        try:
            await bus.wait_connected(CONNECT_TIMEOUT)
        except Unreachable as error:
            raise Unreachable(f"{error.message} Is that where it is? `actorsys nats` shows a supervisor's own.") from None
        await bus.subscribe(subjects.ALL, heard)
        for info in await discover(bus, wait, quiet=min(wait, QUIET)):
            info.tell(peers, now_ns())
        now = now_ns()
        return [
            {
                "name": peer.name,
                "node": peer.node,
                "status": peer.status,
                "capabilities": peer.capabilities,
                "description": peer.description,
                "instance": peer.instance,
                "last_seen_s": round((now - peer.last_seen_ns) / SECOND_NS, 3),
            }
            for peer in peers.all(now)
        ]
    finally:
        await bus.close()


def _row(row: dict[str, Any]) -> list[str]:
    return [
        row["name"],
        row["node"] or "-",
        row["status"] or "-",
        ",".join(row["capabilities"]) or "-",
        row["description"] or "-",
        f"{format_seconds(row['last_seen_s'])} ago",
    ]
