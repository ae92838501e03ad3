"""What does custody cost, beside a hub with the same codec that keeps nothing? And do large messages hold up small ones?"""

import asyncio
from time import perf_counter_ns

from agents import Echo, Large, Sender, Sink, TellAround, question
from measure import Row, Series, Size, floor, print_document, tail

from actorsys import Ref, Supervisor

QUESTION = "What does custody cost, and do large messages hold up small ones?"
TELLS = 60_000  # a round
ASKS = 1000
WARM_UP = 2000
LARGE = bytes(2**20)


async def rows(size: Size) -> list[Row]:
    custody = Series("custody_tells", "tell, agent to agent, beside the same frames without custody", "/s", "frames")
    alone: list[float] = []
    beside: list[float] = []
    tells, asks, rounds = size.count(TELLS), size.count(ASKS), 0
    async with Supervisor(nats="off") as sup:
        sender = await sup.spawn(Sender, name="sender")
        await sup.spawn(Sink, name="sink")
        small = await sup.spawn(Echo, name="small")
        large = await sup.spawn(Echo, name="large")
        await sender.ask(TellAround("sink", WARM_UP))
        for _ in size.each_round():
            beneath = await floor("frames", tells)
            received, ns = await sender.ask(TellAround("sink", tells), timeout=60.0)
            custody.add(tells / ns * 1e9, floor=beneath, samples=tells)
            custody.count(tells, received)
            alone += await ask_in_turn(small, asks)
            beside += await ask_beside(small, large, asks)
            rounds += 1
    what = "small ask beside a stream of 1 MiB asks to another agent"
    return [
        custody.row(),
        tail("ask_alone_p99", "small ask, nothing beside it, p99", "us", alone, 0.99, rounds),
        tail("ask_beside_large_p50", f"{what}, p50", "us", beside, 0.5, rounds),
        tail("ask_beside_large_p99", f"{what}, p99", "us", beside, 0.99, rounds),
    ]


async def ask_in_turn(to: Ref, count: int) -> list[float]:
    """Microseconds of each ask."""
    taken = []
    for number in range(count):
        start = perf_counter_ns()
        await to.ask(question(number))
        taken.append((perf_counter_ns() - start) / 1e3)
    return taken


async def ask_beside(small: Ref, large: Ref, count: int) -> list[float]:
    """The same while one large ask after another goes to `large`."""

    async def stream() -> None:
        while True:
            if await large.ask(Large(LARGE)) != len(LARGE):
                raise AssertionError("a large message arrived in part")

    streaming = asyncio.ensure_future(stream())
    try:
        return await ask_in_turn(small, count)
    finally:
        streaming.cancel()
        await asyncio.wait({streaming})


if __name__ == "__main__":
    print_document("custody", QUESTION, rows)
