"""Thespian: a process per actor over its TCP transport, messages pickled. A killed child is reported to its parent, which makes a new one."""

import os
import signal
import socket
from datetime import timedelta
from importlib.metadata import version
from time import perf_counter, perf_counter_ns
from typing import Any

from loops import FAN, RESTART, Tally, Told, echoed, in_turn, outstanding, told
from messages import Around, Count, Job, Pid, Question, question
from thespian.actors import Actor, ActorAddress, ActorSystem, ChildActorExited

LONG = timedelta(seconds=30)


class Worker(Actor):
    count = 0

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:  # noqa: N802 - their name
        match message:
            case Question(id=id):
                self.send(sender, id)
            case Job():
                self.count += 1
            case Count():
                self.send(sender, self.count)
                self.count = 0
            case bytes():
                self.send(sender, message)
            case Pid():
                self.send(sender, os.getpid())


class Caller(Actor):
    """An actor cannot wait for an answer: each one that comes sends the next question."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:  # noqa: N802
        match message:
            case (Around(seconds=seconds), other):
                self.boss, self.other = sender, other
                self.taken: list[int] = []
                self.until = perf_counter_ns() + int(seconds * 1e9)
                self.next()
            case int():
                self.taken.append(perf_counter_ns() - self.began)
                if perf_counter_ns() < self.until:
                    self.next()
                else:
                    self.send(self.boss, self.taken)

    def next(self) -> None:
        self.began = perf_counter_ns()
        self.send(self.other, question(len(self.taken)))


class Boss(Actor):
    """Has one child, and replaces it when it is gone; tells where it is."""

    child: ActorAddress | None = None

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:  # noqa: N802
        if self.child is None or (isinstance(message, ChildActorExited) and message.childAddress == self.child):
            self.child = self.createActor(Worker)
        if message == "child":
            self.send(sender, self.child)


class Peer:
    def start(self) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        quiet = {"version": 1, "root": {"level": "CRITICAL", "handlers": []}}
        os.environ["THESPIAN_BASE_IPADDR"] = "127.0.0.1"  # or it looks for a way out of the machine
        self.system = ActorSystem("multiprocTCPBase", {"Admin Port": port}, logDefs=quiet)
        self.workers = [self.system.createActor(Worker) for _ in range(FAN)]
        self.caller = self.system.createActor(Caller)
        self.boss = self.system.createActor(Boss)
        for worker in self.workers:
            self._ask(worker, question(0))
        return version("thespian")

    def _ask(self, to: ActorAddress, message: object) -> Any:
        answer = self.system.ask(to, message, LONG)
        if answer is None:
            raise TimeoutError(f"no answer within {LONG}")
        return answer

    def ask(self, seconds: float) -> list[int]:
        return in_turn(lambda message: self._ask(self.workers[0], message), seconds)

    def asks(self, seconds: float) -> Tally:
        return outstanding(lambda message: self.system.tell(self.workers[0], message), lambda: self.system.listen(LONG), seconds)

    def tells(self, to: int, seconds: float) -> Told:
        workers = self.workers[:to]
        tells = [lambda message, worker=worker: self.system.tell(worker, message) for worker in workers]
        return told(tells, lambda: sum(self._ask(worker, Count()) for worker in workers), seconds)

    def between(self, seconds: float) -> list[int]:
        return list(self._ask(self.caller, (Around(seconds), self.workers[1])))

    def echo(self, seconds: float) -> Tally:
        return echoed(lambda data: self._ask(self.workers[0], data), seconds)

    def spawn(self, count: int) -> float:
        start = perf_counter()
        for worker in [self.system.createActor(Worker) for _ in range(count)]:
            self._ask(worker, question(0))
        return perf_counter() - start

    def kill(self) -> float:
        child = self._ask(self.boss, "child")
        pid = self._ask(child, Pid())
        start = perf_counter()
        os.kill(pid, signal.SIGKILL)
        while (new := self._ask(self.boss, "child")) == child and perf_counter() < start + RESTART:
            pass
        assert self._ask(new, Pid()) != pid
        return perf_counter() - start

    def stop(self) -> None:
        self.system.shutdown()
