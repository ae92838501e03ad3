"""multiprocessing.Pipe: pickled dataclasses over a socket pair to forked processes that loop by hand. No mailbox, no supervision."""

import multiprocessing
import os
import platform
import signal
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from time import perf_counter
from typing import Any

from loops import FAN, Tally, Told, echoed, in_turn, outstanding, told
from messages import Around, Count, Job, Pid, Question, question

FORK = multiprocessing.get_context("fork")


def work(conn: Connection, other: Connection | None = None) -> None:
    count = 0
    while True:
        match conn.recv():
            case Question(id=id):
                conn.send(id)
            case Job():
                count += 1
            case Count():
                conn.send(count)
                count = 0
            case bytes() as data:
                conn.send(data)
            case Pid():
                conn.send(os.getpid())
            case Around(seconds=seconds):
                conn.send(in_turn(lambda message: ask(other, message), seconds))
            case None:
                return


def ask(conn: Connection | None, message: object) -> Any:
    assert conn is not None
    conn.send(message)
    return conn.recv()


class Peer:
    def start(self) -> str:
        self.processes: list[ForkProcess] = []
        self.conns = [self._one() for _ in range(FAN)]
        self.first = self.conns[0]
        self.caller = self._one(self._one())
        return f"Python {platform.python_version()}"

    def _one(self, *other: Connection) -> Connection:
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=work, args=(theirs, *other), daemon=True)
        process.start()
        self.processes.append(process)
        theirs.close()
        return ours

    def ask(self, seconds: float) -> list[int]:
        return in_turn(lambda message: ask(self.first, message), seconds)

    def asks(self, seconds: float) -> Tally:
        return outstanding(self.first.send, self.first.recv, seconds)

    def tells(self, to: int, seconds: float) -> Told:
        conns = self.conns[:to]
        return told([conn.send for conn in conns], lambda: sum(ask(conn, Count()) for conn in conns), seconds)

    def between(self, seconds: float) -> list[int]:
        return list(ask(self.caller, Around(seconds)))

    def echo(self, seconds: float) -> Tally:
        return echoed(lambda data: ask(self.first, data), seconds)

    def spawn(self, count: int) -> float:
        start = perf_counter()
        conns = [self._one() for _ in range(count)]
        for conn in conns:
            conn.send(question(0))
        for conn in conns:
            conn.recv()
        taken = perf_counter() - start
        self.conns += conns  # or they would be closed
        return taken

    def kill(self) -> float:
        """The least a supervisor can do: see the process end, start another, ask it."""
        victim = self.processes[0]
        assert victim.pid is not None
        start = perf_counter()
        os.kill(victim.pid, signal.SIGKILL)
        wait([victim.sentinel])
        self.first = self.conns[0] = self._one()
        self.processes[0] = self.processes.pop()
        assert ask(self.first, Pid()) != victim.pid
        return perf_counter() - start

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
