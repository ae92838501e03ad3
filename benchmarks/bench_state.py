"""What does a durable state cost? Each message changes it; the floor is an append of 200 bytes and an fdatasync, on the same disk."""

import tempfile
from pathlib import Path
from time import perf_counter

from agents import Count, Job, Question, job
from measure import Row, Series, Size, print_document, syncs

from actorsys import Agent, Ref, Supervisor, on
from actorsys.mailbox.codec import encode
from actorsys.memory.base import MemoryContext, create

QUESTION = "What does a durable state cost?"
COMMITS = {"sqlite": 3000, "file": 400}  # a round
TELLS = 20_000
ASKS = 1000
WARM_UP = 500
SYNCS = 1000


class Tally(Agent):
    """Counts in its state."""

    async def on_start(self) -> None:
        self.state.setdefault("count", 0)

    @on
    async def job(self, msg: Job) -> None:
        self.state["count"] += 1

    @on
    async def question(self, msg: Question) -> int:
        self.state["asked"] = msg.id
        return msg.id

    @on
    async def counted(self, msg: Count) -> int:
        count, self.state["count"] = self.state["count"], 0
        return count


async def rows(size: Size) -> list[Row]:
    backends = {
        name: Series(f"state_{name}", f"{name}: commits, one message each", "/s", "sync" if name == "sqlite" else "")
        for name in COMMITS
    }
    grouped = Series("state_grouped", "sqlite: tells to an agent, each changes its state, counted by it", "/s", "sync")
    asks = Series("state_asks", "sqlite: asks one after another, each changes the state", "/s", "sync")
    tells, questions = size.count(TELLS), size.count(ASKS)
    async with Supervisor(nats="off") as sup:
        tally = await sup.spawn(Tally, name="tally", memory="sqlite")
        await tell(tally, WARM_UP)
        with tempfile.TemporaryDirectory() as folder:
            for number in size.each_round():
                beneath = syncs(Path(folder), size.count(SYNCS))
                for name, count in COMMITS.items():
                    floor = beneath if name == "sqlite" else None
                    rate = await commits(name, Path(folder) / str(number), size.count(count))
                    backends[name].add(rate, floor=floor, samples=size.count(count))
                received, seconds = await tell(tally, tells)
                grouped.add(tells / seconds, floor=beneath, samples=tells)
                grouped.count(tells, received)
                asks.add(questions / await ask(tally, questions), floor=beneath, samples=questions)
    return [*(series.row() for series in backends.values()), grouped.row(), asks.row()]


async def commits(backend: str, folder: Path, count: int) -> float:
    """Commits a second as an agent makes them: a value, a message id, a frame, and the one before confirmed."""
    memory = create(backend, MemoryContext(name="bench/0", folder=folder))
    await memory.open("run")
    frame = bytes(100)
    start = perf_counter()
    for number in range(count):
        await memory.commit({"total": encode(number)}, (f"run.{number}",), frame)
        memory.confirmed((f"run.{number}",))
    seconds = perf_counter() - start
    await memory.close()
    return count / seconds


async def tell(to: Ref, count: int) -> tuple[int, float]:
    """How many were counted, and the seconds from the first tell to that answer."""
    start = perf_counter()
    for number in range(count):
        await to.tell(job(number))
    received = await to.ask(Count(), timeout=60.0)
    return received, perf_counter() - start


async def ask(to: Ref, count: int) -> float:
    """Seconds for so many asks, one after another."""
    start = perf_counter()
    for number in range(count):
        await to.ask(Question(number))
    return perf_counter() - start


if __name__ == "__main__":
    print_document("state", QUESTION, rows)
