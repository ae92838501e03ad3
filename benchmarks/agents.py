"""The agents that the benchmarks spawn. Every message is built anew and takes 160 bytes as a typed payload."""

import os
from time import perf_counter_ns

from actorsys import Agent, Event, Request, on

BODY = "x" * 118


class Job(Event):
    id: int
    task: str = ""
    tags: list[str] = []
    body: str = ""


class Question(Request[int]):
    """Answered with its id."""

    id: int
    task: str = ""
    tags: list[str] = []
    body: str = ""


def job(number: int) -> Job:
    return Job(number, "process", ["a", "b"], BODY)


def question(number: int) -> Question:
    return Question(number, "process", ["a", "b"], BODY)


class Large(Request[int]):
    """Answered with the length of its data."""

    data: bytes


class Blob(Request[bytes]):
    """Answered with its data."""

    data: bytes


class Pid(Request[int]):
    """The process id of whoever answers."""


class Count(Request[int]):
    """How many jobs came since the last count."""


class AskAround(Request[list[int]]):
    """Ask `to` a question `count` times, one after another; how many nanoseconds each took."""

    to: str
    count: int


class TellAround(Request[tuple[int, int]]):
    """Tell `to` a job `count` times, then ask it how many came: that number, and nanoseconds from the first tell to the answer."""

    to: str
    count: int


class Echo(Agent):
    @on
    async def question(self, msg: Question) -> int:
        return msg.id

    @on
    async def large(self, msg: Large) -> int:
        return len(msg.data)

    @on
    async def blob(self, msg: Blob) -> bytes:
        return msg.data

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()


class Sink(Agent):
    def __init__(self) -> None:
        self.count = 0

    @on
    async def job(self, msg: Job) -> None:
        self.count += 1

    @on
    async def counted(self, msg: Count) -> int:
        count, self.count = self.count, 0
        return count


class Caller(Agent):
    @on
    async def ask_around(self, msg: AskAround) -> list[int]:
        to, taken = self.agent(msg.to), []
        for number in range(msg.count):
            start = perf_counter_ns()
            answer = await to.ask(question(number))
            taken.append(perf_counter_ns() - start)
            if answer != number:
                raise AssertionError(f"question {number} was answered with {answer}")
        return taken


class Sender(Agent):
    @on
    async def tell_around(self, msg: TellAround) -> tuple[int, int]:
        to = self.agent(msg.to)
        start = perf_counter_ns()
        for number in range(msg.count):
            await to.tell(job(number))
        counted = await to.ask(Count(), timeout=60.0)
        return counted, perf_counter_ns() - start


class Prompt(Request[str]):
    text: str


class Thinker(Agent):
    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()

    @on
    async def prompt(self, msg: Prompt) -> str:
        return (await self.llm.complete(msg.text)).text
