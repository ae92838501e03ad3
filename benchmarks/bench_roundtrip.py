"""How long does one ask take, from the supervisor's process to an agent, and from agent to agent through custody?"""

from time import perf_counter_ns

from agents import AskAround, Caller, Echo, question
from measure import Row, Series, Size, floor, print_document, quantile, tail

from actorsys import Ref, Supervisor

QUESTION = "How long does one ask take?"
ASKS = 3000  # a round
FLOOR_ROUNDS = 3000
WARM_UP = 500


async def rows(size: Size) -> list[Row]:
    direct = Series("ask_direct_p50", "ask, supervisor process to agent, p50", "us", "loop")
    between = Series("ask_between_p50", "ask, agent to agent through custody, p50", "us", "relay")
    direct_all: list[float] = []
    between_all: list[float] = []
    count = size.count(ASKS)
    async with Supervisor(nats="off") as sup:
        echo = await sup.spawn(Echo, name="echo")
        caller = await sup.spawn(Caller, name="caller")
        await ask_in_turn(echo, WARM_UP)
        await caller.ask(AskAround("echo", WARM_UP))
        for _ in size.each_round():
            beneath = await floor("loop", size.count(FLOOR_ROUNDS))
            taken = await ask_in_turn(echo, count)
            direct.add(quantile(taken, 0.5), floor=beneath, samples=count)
            direct_all += taken
            beneath = await floor("relay", size.count(FLOOR_ROUNDS))
            taken = [ns / 1e3 for ns in await caller.ask(AskAround("echo", count), timeout=60.0)]
            between.add(quantile(taken, 0.5), floor=beneath, samples=count)
            between_all += taken
    rounds = len(direct.figures)
    return [
        direct.row(),
        tail("ask_direct_p99", "ask, supervisor process to agent, p99", "us", direct_all, 0.99, rounds),
        tail("ask_direct_p99_9", "ask, supervisor process to agent, p99.9", "us", direct_all, 0.999, rounds),
        between.row(),
        tail("ask_between_p99", "ask, agent to agent through custody, p99", "us", between_all, 0.99, rounds),
        tail("ask_between_p99_9", "ask, agent to agent through custody, p99.9", "us", between_all, 0.999, rounds),
    ]


async def ask_in_turn(to: Ref, count: int) -> list[float]:
    """Microseconds of each ask."""
    taken = []
    for number in range(count):
        start = perf_counter_ns()
        answer = await to.ask(question(number))
        taken.append((perf_counter_ns() - start) / 1e3)
        if answer != number:
            raise AssertionError(f"question {number} was answered with {answer}")
    return taken


if __name__ == "__main__":
    print_document("roundtrip", QUESTION, rows)
