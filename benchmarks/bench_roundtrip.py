"""How long does one ask take, from the supervisor's process to an agent and back?"""

from time import perf_counter_ns

from agents import Echo, question
from measure import Latency, Row, Size, floor, print_document

from actorsys import Ref, Supervisor

QUESTION = "How long does one ask take?"
ASKS = 3000  # a round
FLOOR_ROUNDS = 3000
WARM_UP = 500


async def rows(size: Size) -> list[Row]:
    direct = Latency("ask_direct", "ask, supervisor process to agent", "us", "loop")
    async with Supervisor(nats="off") as sup:
        echo = await sup.spawn(Echo, name="echo")
        await ask_in_turn(echo, WARM_UP)
        for _ in size.each_round():
            beneath = await floor("loop", size.count(FLOOR_ROUNDS))
            direct.add(await ask_in_turn(echo, size.count(ASKS)), floor=beneath)
    return direct.rows()


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
