"""How many tells a second? They are counted by their receiver: the clock stops when it has answered a last ask with the count."""

from time import perf_counter

from agents import Count, Sender, Sink, TellAround, job
from measure import Row, Series, Size, floor, print_document

from actorsys import Ref, Supervisor

QUESTION = "How many messages a second?"
TELLS = 60_000  # a round
FLOOR_MESSAGES = 50_000
WARM_UP = 2000


async def rows(size: Size) -> list[Row]:
    between = Series("tell_between", "tell, agent to agent, typed, counted at the receiver", "/s", "codec")
    direct = Series("tell_direct", "tell, supervisor process to agent, counted at the receiver", "/s", "codec")
    tells = size.count(TELLS)
    async with Supervisor(nats="off") as sup:
        sender = await sup.spawn(Sender, name="sender")
        sink = await sup.spawn(Sink, name="sink")
        await sender.ask(TellAround("sink", WARM_UP))
        await tell(sink, WARM_UP)
        for _ in size.each_round():
            beneath = await floor("codec", size.count(FLOOR_MESSAGES))
            received, ns = await sender.ask(TellAround("sink", tells), timeout=60.0)
            between.add(tells / ns * 1e9, floor=beneath, samples=tells)
            between.count(tells, received)
            received, seconds = await tell(sink, tells)
            direct.add(tells / seconds, floor=beneath, samples=tells)
            direct.count(tells, received)
    return [between.row(), direct.row()]


async def tell(to: Ref, count: int) -> tuple[int, float]:
    """How many came, and the seconds from the first tell to that answer."""
    start = perf_counter()
    for number in range(count):
        await to.tell(job(number))
    received = await to.ask(Count(), timeout=60.0)
    return received, perf_counter() - start


if __name__ == "__main__":
    print_document("throughput", QUESTION, rows)
