"""What does custody cost, beside a hub with the same codec that keeps nothing? And do large messages hold up small ones?"""

import asyncio

from agents import Echo, Large, Sender, Sink, TellAround
from bench_roundtrip import ask_in_turn
from measure import Latency, Row, Series, Size, floor, print_document, quantile

from actorsys import Ref, Supervisor

QUESTION = "What does custody cost, and do large messages hold up small ones?"
TELLS = 60_000  # a round
ASKS = 1000
WARM_UP = 2000
LARGE = bytes(2**20)


async def rows(size: Size) -> list[Row]:
    custody = Series("custody_tells", "tell, agent to agent, beside the same frames without custody", "/s", "frames")
    alone = Latency("ask_alone", "small ask, nothing beside it", "us")
    beside = Latency("ask_beside_large", "small ask beside a stream of 1 MiB asks to another agent", "us", "alone")
    tells, asks = size.count(TELLS), size.count(ASKS)
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
            taken = await ask_in_turn(small, asks)
            alone.add(taken)
            beside.add(await ask_beside(small, large, asks), floor=quantile(taken, 0.5))
    return [custody.row(), *alone.rows(), *beside.rows()]


async def ask_beside(small: Ref, large: Ref, count: int) -> list[float]:
    """Microseconds of each ask, while one large ask after another goes to `large`."""

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
