"""Agents and a host program for tests of mail on disk and of journaled steps."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from actorsys import Agent, Event, Request, StepInDoubt, Supervisor, on, run


class Work(Request[list[int | str]]):
    """Five steps; SIGKILL oneself after, or inside, step number `kill_at`, the first time only."""

    folder: str
    kill_at: int
    inside: bool = False
    repeatable: bool = True
    others: tuple[int, ...] = ()  # processes to kill first


def act(folder: str, step: int, inside: bool) -> int:
    """The outside effect: one line in a file."""
    with open(Path(folder) / "acts", "a") as file:
        file.write(f"{step}\n")
    if inside:
        die_once(folder)
    return step * 10


async def act_later(folder: str, step: int, inside: bool) -> int:
    await asyncio.sleep(0)
    return act(folder, step, inside)


def die_once(folder: str, others: tuple[int, ...] = ()) -> None:
    if not (Path(folder) / "died").exists():
        (Path(folder) / "died").touch()
        for pid in (*others, os.getpid()):
            os.kill(pid, signal.SIGKILL)


class Worker(Agent):
    @on
    async def work(self, msg: Work) -> list[int | str]:
        results: list[int | str] = []
        for step in range(5):
            function = act_later if step % 2 else act
            try:
                inside = msg.inside and step == msg.kill_at
                results.append(await self.step(f"step {step}", function, msg.folder, step, inside, repeatable=msg.repeatable))
            except StepInDoubt as doubt:
                results.append(f"in doubt: {doubt.name}")
            if step == msg.kill_at:
                die_once(msg.folder, msg.others)
        (Path(msg.folder) / "done").touch()
        return results


class Twice(Request[None]):
    pass


class Careless(Agent):
    @on
    async def twice(self, msg: Twice) -> None:
        await self.step("same", int)
        await self.step("same", int)


class Line(Event):
    number: int


class Lines(Request[list[int]]):
    pass


class Writer(Agent):
    @on
    async def line(self, msg: Line) -> None:
        self.state.setdefault("lines", []).append(msg.number)

    @on
    async def lines(self, msg: Lines) -> list[int]:
        lines: list[int] = self.state.get("lines", [])
        return lines


ON_DISK = {"durability": "disk", "size": 100_000}


async def main(folder: str, start: int) -> None:
    """Tell numbers from `start` on, printing each once it is accepted, until somebody kills us."""
    async with Supervisor(state_dir=folder, nats="off") as sup:
        writer = await sup.spawn(Writer, name="writer", memory="sqlite", mailbox=ON_DISK)
        for number in range(start, start + 100_000):
            await writer.tell(Line(number))
            print(number, flush=True)


async def work(folder: str, kill_at: int) -> None:
    """Have a worker kill us, its supervisor, after a step."""
    async with Supervisor(state_dir=folder + "/state", nats="off") as sup:
        worker = await sup.spawn(Worker, name="worker", memory="sqlite", mailbox=ON_DISK)
        await worker.tell(Work(folder, kill_at, others=(os.getpid(),)))
        await asyncio.Event().wait()


if __name__ == "__main__":
    run((work if sys.argv[3:] else main)(sys.argv[1], int(sys.argv[2])))
