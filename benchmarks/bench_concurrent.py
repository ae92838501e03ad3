"""How many asks a second when many are out at once, and how long does each then take?"""

import asyncio
from time import perf_counter, perf_counter_ns

from agents import Echo, question
from measure import Latency, Row, Series, Size, floor, print_document

from actorsys import Ref, Supervisor

QUESTION = "How many asks a second?"
ASKS = 20_000  # a round
OUTSTANDING = 64
FLOOR_MESSAGES = 50_000
WARM_UP = 2000


async def rows(size: Size) -> list[Row]:
    rate = Series("ask_outstanding", f"asks, supervisor process to agent, {OUTSTANDING} outstanding", "/s", "codec")
    each = Latency("ask_one_of_many", f"each of {OUTSTANDING} asks outstanding", "us")
    asks = size.count(ASKS)
    async with Supervisor(nats="off") as sup:
        echo = await sup.spawn(Echo, name="echo")
        await ask(echo, WARM_UP)
        for _ in size.each_round():
            beneath = await floor("codec", size.count(FLOOR_MESSAGES))
            taken, seconds = await ask(echo, asks)
            rate.add(asks / seconds, floor=beneath, samples=asks)
            each.add(taken)
    return [rate.row(), *each.rows()]


async def ask(to: Ref, count: int) -> tuple[list[float], float]:
    """Microseconds of each ask, `OUTSTANDING` of them at any time, and the seconds until all are answered."""
    numbers, taken = iter(range(count)), []

    async def one_after_another() -> None:
        for number in numbers:
            start = perf_counter_ns()
            answer = await to.ask(question(number))
            taken.append((perf_counter_ns() - start) / 1e3)
            if answer != number:
                raise AssertionError(f"question {number} was answered with {answer}")

    start = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(OUTSTANDING):
            group.create_task(one_after_another())
    return taken, perf_counter() - start


if __name__ == "__main__":
    print_document("concurrent", QUESTION, rows)
