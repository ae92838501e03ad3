"""What does it cost to reach many agents at once? One process tells, or asks, each of 8 and of 64."""

import asyncio
from collections.abc import Sequence
from time import perf_counter, perf_counter_ns

from agents import Count, Echo, Sink, job, question
from measure import Latency, Row, Series, Size, floor, print_document

from actorsys import Ref, Supervisor

QUESTION = "What does it cost to reach many agents at once?"
RECEIVERS = (8, 64)
TELLS = 40_000  # a round, to all of them together
ASKS = 8000
FLOOR_MESSAGES = 50_000
WARM_UP = 20  # to each


async def rows(size: Size) -> list[Row]:
    found: list[Row] = []
    for receivers in RECEIVERS:
        told = Series(f"fan_tells_{receivers}", f"tells, one to {receivers} in turn, counted at all receivers", "/s", "codec")
        asked = Latency(f"fan_ask_{receivers}", f"ask each of {receivers} until all have answered", "us", f"fan{receivers}")
        tells, asks = max(1, size.count(TELLS) // receivers), max(1, size.count(ASKS) // receivers)
        async with Supervisor(nats="off") as sup:
            sinks = [await sup.spawn(Sink, name=f"sink-{number}") for number in range(receivers)]
            echoes = [await sup.spawn(Echo, name=f"echo-{number}") for number in range(receivers)]
            await tell_all(sinks, WARM_UP)
            await ask_all(echoes, WARM_UP)
            for _ in size.each_round():
                beneath = await floor("codec", size.count(FLOOR_MESSAGES))
                received, seconds = await tell_all(sinks, tells)
                told.add(received / seconds, floor=beneath, samples=tells * receivers)
                told.count(tells * receivers, received)
                beneath = await floor(f"fan{receivers}", asks)
                asked.add(await ask_all(echoes, asks), floor=beneath)
        found += [told.row(), *asked.rows()]
    return found


async def tell_all(to: Sequence[Ref], count: int) -> tuple[int, float]:
    """How many came to all of them, and the seconds from the first tell to the last of these answers."""
    start = perf_counter()
    for number in range(count):
        for ref in to:
            await ref.tell(job(number))
    counted = await asyncio.gather(*(ref.ask(Count(), timeout=60.0) for ref in to))
    return sum(counted), perf_counter() - start


async def ask_all(to: Sequence[Ref], count: int) -> list[float]:
    """Microseconds from the first question of a volley to its last answer, for each volley."""
    taken = []
    for number in range(count):
        start = perf_counter_ns()
        answers = await asyncio.gather(*(ref.ask(question(number)) for ref in to))
        taken.append((perf_counter_ns() - start) / 1e3)
        if set(answers) != {number}:
            raise AssertionError(f"question {number} was answered with {set(answers)}")
    return taken


if __name__ == "__main__":
    print_document("fanout", QUESTION, rows)
