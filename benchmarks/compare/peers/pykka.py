"""Pykka: each actor a thread of one process, messages by reference. No isolation: a reference point, not an equal."""

from collections import deque
from importlib.metadata import version
from time import perf_counter
from typing import Any

import pykka
from loops import FAN, Tally, Told, echoed, in_turn, outstanding, told
from messages import Around, Count, Job, Question, question


class Worker(pykka.ThreadingActor):
    def __init__(self, other: "pykka.ActorRef[Worker] | None" = None) -> None:
        super().__init__()
        self.count = 0
        self.other = other

    def on_receive(self, message: Any) -> Any:
        match message:
            case Question(id=id):
                return id
            case Job():
                self.count += 1
            case Count():
                count, self.count = self.count, 0
                return count
            case bytes():
                return message
            case Around(seconds=seconds):
                assert self.other is not None
                return in_turn(self.other.ask, seconds)
        return None


class Peer:
    def start(self) -> str:
        self.workers = [Worker.start() for _ in range(FAN)]
        self.caller = Worker.start(self.workers[1])
        return version("pykka")

    def ask(self, seconds: float) -> list[int]:
        return in_turn(self.workers[0].ask, seconds)

    def asks(self, seconds: float) -> Tally:
        first, futures = self.workers[0], deque[Any]()
        return outstanding(
            lambda message: futures.append(first.ask(message, block=False)), lambda: futures.popleft().get(), seconds
        )

    def tells(self, to: int, seconds: float) -> Told:
        workers = self.workers[:to]
        return told([worker.tell for worker in workers], lambda: sum(worker.ask(Count()) for worker in workers), seconds)

    def between(self, seconds: float) -> list[int]:
        return list(self.caller.ask(Around(seconds)))

    def echo(self, seconds: float) -> Tally:
        return echoed(self.workers[0].ask, seconds)

    def spawn(self, count: int) -> float:
        start = perf_counter()
        for future in [Worker.start().ask(question(0), block=False) for _ in range(count)]:
            future.get()
        return perf_counter() - start

    def stop(self) -> None:
        pykka.ActorRegistry.stop_all()
