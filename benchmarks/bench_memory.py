"""What does an idle agent weigh? Beside a bare fork of a process that has imported the same modules."""

import asyncio
import tempfile
from pathlib import Path

from agents import Echo, Pid
from measure import Row, Series, Size, floor, need_nats, print_document, pss

from actorsys import Supervisor
from actorsys.testing.nats import run_server
from actorsys.testing.waiting import eventually

QUESTION = "What does an idle agent weigh?"
AGENTS = 100
ROUNDS = 3


async def rows(size: Size) -> list[Row]:
    need_nats()
    alone = Series("pss", f"private memory per idle agent (PSS), {AGENTS} agents", "MiB", "idle")
    on_nats = Series("pss_nats", f"the same, each with a NATS connection, {AGENTS} agents", "MiB", "idle")
    with tempfile.TemporaryDirectory() as folder:
        async with run_server(Path(folder) / "nats") as server:
            for _ in range(size.count(ROUNDS)):
                for series, url in ((alone, "off"), (on_nats, server.url.replace("://", f"://{server.info.token}@"))):
                    beneath = await floor("idle", AGENTS)
                    series.add(await weighed(url), floor=beneath, samples=AGENTS)
    return [alone.row(), on_nats.row()]


async def weighed(url: str) -> float:
    """MiB per agent: the mean of `AGENTS`, each of which has answered and is connected."""
    async with Supervisor(nats=url) as sup:
        refs = await asyncio.gather(*(sup.spawn(Echo, name=f"echo-{number}") for number in range(AGENTS)))
        pids = await asyncio.gather(*(ref.ask(Pid()) for ref in refs))
        wanted = "off" if url == "off" else "connected"
        await eventually(lambda: all(row["nats"] == wanted for row in sup.children()), 60.0)
        return sum(map(pss, pids)) / AGENTS


if __name__ == "__main__":
    print_document("memory", QUESTION, rows)
