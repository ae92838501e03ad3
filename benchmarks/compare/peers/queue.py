"""multiprocessing.Queue: one each way between forked processes; feeder threads and pickle inside.

No restart: a reader killed inside get() takes the lock of its queue with it, and a replacement waits for ever.
"""

import multiprocessing
import platform
from multiprocessing.context import ForkProcess
from multiprocessing.queues import Queue
from time import perf_counter
from typing import Any

from loops import FAN, Tally, Told, echoed, in_turn, outstanding, told
from messages import Around, Count, Job, Question, question

FORK = multiprocessing.get_context("fork")


def work(inbox: "Queue[Any]", outbox: "Queue[Any]", *other: "Queue[Any]") -> None:
    count = 0
    while True:
        match inbox.get():
            case Question(id=id):
                outbox.put(id)
            case Job():
                count += 1
            case Count():
                outbox.put(count)
                count = 0
            case bytes() as data:
                outbox.put(data)
            case Around(seconds=seconds):
                outbox.put(in_turn(lambda message: ask(*other, message), seconds))


def ask(to: "Queue[Any]", answers: "Queue[Any]", message: object) -> Any:
    to.put(message)
    return answers.get()


class Peer:
    def start(self) -> str:
        self.processes: list[ForkProcess] = []
        self.pairs = [self._one() for _ in range(FAN)]
        self.caller = self._one(*self._one())
        return f"Python {platform.python_version()}"

    def _one(self, *other: "Queue[Any]") -> tuple["Queue[Any]", "Queue[Any]"]:
        pair = FORK.Queue(), FORK.Queue()
        process = FORK.Process(target=work, args=(*pair, *other), daemon=True)
        process.start()
        self.processes.append(process)
        return pair

    def ask(self, seconds: float) -> list[int]:
        return in_turn(lambda message: ask(*self.pairs[0], message), seconds)

    def asks(self, seconds: float) -> Tally:
        to, answers = self.pairs[0]
        return outstanding(to.put, answers.get, seconds)

    def tells(self, to: int, seconds: float) -> Told:
        pairs = self.pairs[:to]
        return told([inbox.put for inbox, _ in pairs], lambda: sum(ask(*pair, Count()) for pair in pairs), seconds)

    def between(self, seconds: float) -> list[int]:
        return list(ask(*self.caller, Around(seconds)))

    def echo(self, seconds: float) -> Tally:
        return echoed(lambda data: ask(*self.pairs[0], data), seconds)

    def spawn(self, count: int) -> float:
        start = perf_counter()
        pairs = [self._one() for _ in range(count)]
        for to, _ in pairs:
            to.put(question(0))
        for _, answers in pairs:
            answers.get()
        taken = perf_counter() - start
        self.pairs += pairs
        return taken

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
