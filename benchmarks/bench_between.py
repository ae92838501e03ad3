"""How long does one agent's ask of another take? Through custody: four frames, and three processes that have to wake up."""

from agents import AskAround, Caller, Echo
from measure import Latency, Row, Size, floor, print_document

from actorsys import Supervisor

QUESTION = "How long does one agent's ask of another take?"
ASKS = 3000  # a round
FLOOR_ROUNDS = 3000
WARM_UP = 500


async def rows(size: Size) -> list[Row]:
    between = Latency("ask_between", "ask, agent to agent through custody", "us", "relay")
    async with Supervisor(nats="off") as sup:
        await sup.spawn(Echo, name="echo")
        caller = await sup.spawn(Caller, name="caller")
        await caller.ask(AskAround("echo", WARM_UP))
        for _ in size.each_round():
            beneath = await floor("relay", size.count(FLOOR_ROUNDS))
            taken = await caller.ask(AskAround("echo", size.count(ASKS)), timeout=60.0)
            between.add([ns / 1e3 for ns in taken], floor=beneath)
    return between.rows()


if __name__ == "__main__":
    print_document("between", QUESTION, rows)
