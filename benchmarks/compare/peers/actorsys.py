"""actorsys: the public API, as the README shows it."""

import asyncio
import logging
import os
import signal
from importlib.metadata import version
from time import perf_counter

from loops import FAN, Tally, Told, echoed_async, in_turn_async, outstanding_async, told_async
from messages import BODY

from actorsys import Agent, Event, Request, Supervisor, on

# No wait before a restart: what is measured is the machinery, not the backoff that one agent's many deaths would earn.
RULE = {"max_restarts": 1_000_000, "window": "1h", "backoff": 0, "jitter": 0}


class Question(Request[int]):
    id: int
    task: str
    tags: list[str]
    body: str


class Job(Event):
    id: int
    task: str
    tags: list[str]
    body: str


class Count(Request[int]):
    pass


class Pid(Request[int]):
    pass


class Large(Request[bytes]):
    data: bytes


class Around(Request[list[int]]):
    seconds: float


def question(number: int) -> Question:
    return Question(number, "process", ["a", "b"], BODY)


def job(number: int) -> Job:
    return Job(number, "process", ["a", "b"], BODY)


class Worker(Agent):
    def __init__(self) -> None:
        self.count = 0

    @on
    async def question(self, msg: Question) -> int:
        return msg.id

    @on
    async def job(self, msg: Job) -> None:
        self.count += 1

    @on
    async def counted(self, msg: Count) -> int:
        count, self.count = self.count, 0
        return count

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()

    @on
    async def large(self, msg: Large) -> bytes:
        return msg.data

    @on
    async def around(self, msg: Around) -> list[int]:
        return await in_turn_async(self.agent("worker-1").ask, msg.seconds, question)


class Peer:
    async def start(self) -> str:
        logging.getLogger("actorsys").setLevel(logging.ERROR)  # each kill is a warning, and these are meant
        self.sup = Supervisor(nats="off")
        await self.sup.__aenter__()
        self.workers = [await self.sup.spawn(Worker, name=f"worker-{number}", restart=RULE) for number in range(FAN)]
        self.first = self.workers[0]
        self.spawned = 0
        return version("actorsys")

    async def ask(self, seconds: float) -> list[int]:
        return await in_turn_async(self.first.ask, seconds, question)

    async def asks(self, seconds: float) -> Tally:
        return await outstanding_async(self.first.ask, seconds, question)

    async def tells(self, to: int, seconds: float) -> Told:
        workers = self.workers[:to]

        async def counted() -> int:
            return sum([await worker.ask(Count()) for worker in workers])

        return await told_async([worker.tell for worker in workers], counted, seconds, job)

    async def between(self, seconds: float) -> list[int]:
        return await self.first.ask(Around(seconds), timeout=seconds + 10)

    async def echo(self, seconds: float) -> Tally:
        async def echo(data: bytes) -> bytes:
            return await self.first.ask(Large(data))

        return await echoed_async(echo, seconds)

    async def spawn(self, count: int) -> float:
        async def one(number: int) -> int:
            agent = await self.sup.spawn(Worker, name=f"more-{number}")
            return await agent.ask(Pid())

        start = perf_counter()
        await asyncio.gather(*(one(self.spawned + number) for number in range(count)))
        self.spawned += count
        return perf_counter() - start

    async def kill(self) -> float:
        old = await self.first.ask(Pid())
        start = perf_counter()
        os.kill(old, signal.SIGKILL)
        assert await self.first.ask(Pid()) != old
        return perf_counter() - start

    async def stop(self) -> None:
        await self.sup.__aexit__(None, None, None)
