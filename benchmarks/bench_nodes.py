"""What do two supervisors on one machine bring? The same agents under one and under two of them, joined by a NATS server."""

import asyncio
import tempfile
from pathlib import Path
from time import perf_counter

from measure import Row, Series, Size, need_nats, print_document, side
from nodes_side import PARTS

from actorsys.testing.nats import run_server

QUESTION = "What do two supervisors on one machine bring?"
ASKS = 2000  # a round
WARM_UP = 500


async def rows(size: Size) -> list[Row]:
    need_nats()
    rate = Series("nodes_two", "tells, two pairs of agents under a supervisor each", "/s", "one sup")
    work = Series("nodes_two_cpu", "the same, processor time of all processes per tell", "us", "one sup")
    across = Series("nodes_ask", "ask, agent to agent of the other supervisor, p50", "us", "same sup")
    with tempfile.TemporaryDirectory() as folder:
        async with run_server(Path(folder) / "nats") as server:
            url = server.url.replace("://", f"://{server.info.token}@")
            async with (
                side("nodes_side.py", "both", "2", url) as both,
                side("nodes_side.py", "left", "1", url) as left,
                side("nodes_side.py", "right", "1", url) as right,
            ):
                count, asks = size.count(3 * PARTS), size.count(ASKS)
                await say(left, f"ask right-echo {WARM_UP}")
                await say(left, f"ask left-echo {WARM_UP}")
                for node in (both, left, right):
                    await say(node, f"tell {size.count(PARTS)}")
                for _ in size.each_round():
                    one_rate, one_work = await told([both], count)
                    two_rate, two_work = await told([left, right], count)
                    rate.add(two_rate, floor=one_rate, samples=2 * count)
                    work.add(two_work, floor=one_work, samples=2 * count)
                    near = await say(left, f"ask left-echo {asks}")
                    across.add(await say(left, f"ask right-echo {asks}"), floor=near, samples=asks)
    return [rate.row(), work.row(), across.row()]


async def told(nodes: list[asyncio.subprocess.Process], count: int) -> tuple[float, float]:
    """Tells a second of two pairs, each `count` times, and microseconds of processor time for each tell."""
    start = perf_counter()
    spent = await asyncio.gather(*(say(node, f"tell {count}") for node in nodes))
    return 2 * count / (perf_counter() - start), sum(spent) / 1e3 / (2 * count)


async def say(node: asyncio.subprocess.Process, words: str) -> float:
    assert node.stdin is not None
    assert node.stdout is not None
    node.stdin.write(f"{words}\n".encode())
    return float(await node.stdout.readline())


if __name__ == "__main__":
    print_document("nodes", QUESTION, rows)
