"""How fast do agents start? Until each has answered; the floor is a bare fork."""

import asyncio
from time import perf_counter

from agents import Echo, Pid
from measure import Row, Series, Size, floor, print_document

from actorsys import Supervisor

QUESTION = "How fast do agents start?"
AGENTS = 100
ROUNDS = 3
FLOOR_FORKS = 30


async def rows(size: Size) -> list[Row]:
    up = Series("spawn_seconds", f"{AGENTS} agents, each a process, up and answering", "s")
    rate = Series("spawn_rate", "agents started, up and answering", "/s", "fork")
    for _ in range(size.count(ROUNDS)):
        beneath = await floor("fork", FLOOR_FORKS)
        async with Supervisor(nats="off") as sup:
            await spawn_one(sup, "warm-up")
            start = perf_counter()
            await asyncio.gather(*(spawn_one(sup, f"echo-{number}") for number in range(AGENTS)))
            seconds = perf_counter() - start
            up.add(seconds, samples=AGENTS)
            rate.add(AGENTS / seconds, floor=1e3 / beneath, samples=AGENTS)
    return [up.row(), rate.row()]


async def spawn_one(sup: Supervisor, name: str) -> int:
    """Its process id, by its own answer."""
    agent = await sup.spawn(Echo, name=name)
    return await agent.ask(Pid())


if __name__ == "__main__":
    print_document("spawn", QUESTION, rows)
