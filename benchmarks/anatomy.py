"""Where does the time of one message go? Prints the tables of docs/performance.md.

    python benchmarks/anatomy.py [--asks N] [--tells N]

Stamps are put around the steps of each process, on one clock, and the steps of an ask are what lies between two
stamps that follow each other: they add up. Taken are the means of the asks between the quartiles, so that a slow
phase of the machine is no step. Tells travel many to a frame and in all processes at once: of them it is told how
much processor time each process spends, and in what.
"""

import argparse
import os
import statistics
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import Any

from agents import AskAround, Caller, Echo, Question, Sender, Sink, TellAround
from bench_roundtrip import WARM_UP, ask_in_turn
from measure import floor

import actorsys
from actorsys import Request, Supervisor, on
from actorsys.mailbox import pipe
from actorsys.mailbox.switchboard import Switchboard
from actorsys.runtime.reading import Reading

Stamps = list[tuple[int, str]]
Spent = dict[str, int]

# Which step ends at a stamp. A hop begins with the write of one process and ends when the next one runs.
FIRST = "`ask`: payload, letter, future"
HOP = "write, until the other process runs"
STEPS = {
    "run": HOP,
    "read": "read from the socket",
    "decoded": "decode the frame",
    "route": "to the switchboard",
    "taken": "switchboard: custody",
    "routed": "switchboard: what goes out now",
    "reading": "to the handler: queue, wake the worker",
    "handle": "decode the message, call the handler",
    "handled": "the handler",
    "encode": "from there to the frame: payload, outbox, action",
    "write": "encode the frame",
    "answered": "decode the answer, wake whoever asked",
}


class Watch:
    """Puts stamps into this process, or adds up what calls take."""

    def __init__(self) -> None:
        self.stamps: Stamps = []
        self.spent: Spent = defaultdict(int)
        self._undo: list[Callable[[], None]] = []

    def stamp(self, name: str) -> None:
        self.stamps.append((perf_counter_ns(), name))

    def _replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        before = getattr(owner, name)
        setattr(owner, name, make(before))
        self._undo.append(partial(setattr, owner, name, before))

    def mark(self, owner: Any, name: str, before: str = "", after: str = "") -> None:
        def make(call: Any) -> Any:
            def marked(*arguments: Any) -> Any:
                if before:
                    self.stamp(before)
                result = call(*arguments)
                if after:
                    self.stamp(after)
                return result

            return marked

        self._replace(owner, name, make)

    def clock(self, owner: Any, name: str, what: str) -> None:
        def make(call: Any) -> Any:
            def timed(*arguments: Any) -> Any:
                start = thread_time_ns()  # not the time on the wall: a write may wake somebody who is given our core
                try:
                    return call(*arguments)
                finally:
                    self.spent[what] += thread_time_ns() - start

            return timed

        self._replace(owner, name, make)

    def steps(self) -> None:
        self.mark(os, "readv", "run", "read")
        self.mark(pipe, "decode_frame", after="decoded")
        self.mark(pipe, "encode_frame", before="encode")
        self.mark(os, "write", before="write")
        self.mark(Switchboard, "take", "route", "taken")
        self.mark(Switchboard, "take_letter", "route", "taken")
        self.mark(Switchboard, "settle", after="routed")
        self.mark(Reading, "read", before="reading")

    def sums(self) -> None:
        self.clock(os, "readv", "read from the socket")
        self.clock(pipe, "decode_frame", "decode frames")
        self.clock(pipe, "encode_frame", "encode frames")
        self.clock(os, "write", "write to the socket")
        self.clock(Switchboard, "take", "switchboard: custody and routing")
        self.clock(Switchboard, "settle", "switchboard: what goes out now")

    def end(self) -> None:
        while self._undo:
            self._undo.pop()()


class Begin(Request[None]):
    steps: bool


class End(Request[tuple[Stamps, Spent]]):
    """What was seen since."""


class _Watched:
    watch: Watch

    @on
    async def begin(self, msg: Begin) -> None:
        self.watch = Watch()
        (self.watch.steps if msg.steps else self.watch.sums)()

    @on
    async def end(self, msg: End) -> tuple[Stamps, Spent]:
        self.watch.end()
        return self.watch.stamps, dict(self.watch.spent)


class SeenEcho(_Watched, Echo):
    watch = None  # type: ignore[assignment]  # until `Begin`

    @on
    async def question(self, msg: Question) -> int:
        if self.watch is not None:
            self.watch.stamp("handle")
            self.watch.stamp("handled")
        return msg.id


class SeenCaller(_Watched, Caller):
    @on
    async def ask_around(self, msg: AskAround) -> list[int]:
        """When each began and ended, one after another."""
        to, ends = self.agent(msg.to), []
        for number in range(msg.count):
            ends.append(perf_counter_ns())
            await to.ask(Question(number, "process", ["a", "b"], "x" * 118))
            ends.append(perf_counter_ns())
        return ends


class SeenSender(_Watched, Sender):
    pass


class SeenSink(_Watched, Sink):
    pass


def table(title: str, ends: list[int], seen: dict[str, Stamps], plain: float, beneath: tuple[str, float]) -> None:
    """One row for each step, in the order in which they happen."""
    stamps = sorted((at, name, who) for who, each in seen.items() for at, name in each)
    asks, place = [], 0
    for start, end in zip(ends[::2], ends[1::2], strict=True):
        while stamps[place][0] < start:
            place += 1
        found: list[tuple[str, str, int]] = []
        last, who = start, "asker"
        while place < len(stamps) and stamps[place][0] < end:
            at, name, who = stamps[place]
            found.append((who, STEPS[name] if found else FIRST, at - last))
            last, place = at, place + 1
        found.append((who, STEPS["answered"], end - last))
        asks.append((end - start, found))
    asks.sort(key=lambda ask: ask[0])
    asks = asks[len(asks) // 4 : 3 * len(asks) // 4]
    shape = statistics.mode(tuple((who, step) for who, step, _ in found) for _, found in asks)
    asks = [(total, found) for total, found in asks if tuple((who, step) for who, step, _ in found) == shape]
    print(f"\n{title}: {plain:.1f} us (p50) without stamps; the floor `{beneath[0]}` in the same run: {beneath[1]:.1f} us\n")
    print("| In | Step | us |\n|---|---|---|")
    kinds: dict[str, float] = defaultdict(float)
    for index, (who, step) in enumerate(shape):
        us = statistics.mean(found[index][2] for _, found in asks) / 1e3
        kinds["kernel and wake-ups" if step in (HOP, STEPS["read"]) else who] += us
        print(f"| {who} | {step} | {us:.1f} |")
    total = statistics.mean(total for total, _ in asks) / 1e3
    print(f"| | sum, of {len(asks):,} asks with stamps | {total:.1f} |")
    print("\n" + ", ".join(f"{who} {us:.1f} us ({us / total:.0%})" for who, us in kinds.items()))


def processor(pid: int) -> tuple[float, float]:
    """Microseconds of processor time so far, and of these in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    ran = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e3
    return ran, ran * system / max(1, user + system)


async def asks(count: int) -> None:
    async with Supervisor(nats="off") as sup:
        echo, caller = await sup.spawn(SeenEcho, name="echo"), await sup.spawn(SeenCaller, name="caller")
        await ask_in_turn(echo, WARM_UP)
        beneath, plain = await floor("loop", count), statistics.median(await ask_in_turn(echo, count))
        watch = Watch()
        watch.steps()
        await echo.ask(Begin(True))
        ends = []
        for number in range(count):
            ends.append(perf_counter_ns())
            await echo.ask(Question(number, "process", ["a", "b"], "x" * 118))
            ends.append(perf_counter_ns())
        watch.end()
        stamps, _ = await echo.ask(End())
        table("ask, supervisor process to agent", ends, {"supervisor": watch.stamps, "agent": stamps}, plain, ("loop", beneath))

        ends = await caller.ask(AskAround("echo", count), timeout=60.0)
        plain = statistics.median([end - start for start, end in zip(ends[::2], ends[1::2], strict=True)]) / 1e3
        beneath = await floor("relay", count)
        watch = Watch()
        await echo.ask(Begin(True))
        await caller.ask(Begin(True))
        watch.steps()
        ends = await caller.ask(AskAround("echo", count), timeout=60.0)
        watch.end()
        seen = {"supervisor": watch.stamps, "asker": (await caller.ask(End()))[0], "answerer": (await echo.ask(End()))[0]}
        table("ask, agent to agent", ends, seen, plain, ("relay", beneath))


async def tells(count: int) -> None:
    async with Supervisor(nats="off") as sup:
        sender, sink = await sup.spawn(SeenSender, name="sender"), await sup.spawn(SeenSink, name="sink")
        pids = {"sender": (await sender.info())["pid"], "supervisor": os.getpid(), "receiver": (await sink.info())["pid"]}
        await sender.ask(TellAround("sink", count // 10), timeout=60.0)
        await sender.ask(Begin(False))
        await sink.ask(Begin(False))
        beneath, watch = await floor("codec", 50_000), Watch()
        watch.sums()
        before = {who: processor(pid) for who, pid in pids.items()}
        counted, ns = await sender.ask(TellAround("sink", count), timeout=120.0)
        after = {who: processor(pid) for who, pid in pids.items()}
        watch.end()
        if counted != count:
            raise AssertionError(f"{counted} of {count} messages arrived")
        theirs = {who: (await agent.ask(End()))[1] for who, agent in (("sender", sender), ("receiver", sink))}
    spent = {"sender": theirs["sender"], "supervisor": dict(watch.spent), "receiver": theirs["receiver"]}
    rest = {
        "sender": "handler, `tell`, payload",
        "supervisor": "events, actions, loop",
        "receiver": "queue, payload, handler, acknowledgement",
    }
    print(f"\ntell, agent to agent: {count / ns * 1e9:,.0f} a second; `codec` {beneath:,.0f}\n")
    print("| In | Step | us a message |\n|---|---|---|")
    for who, parts in spent.items():
        total, kernel = (after[who][each] - before[who][each] for each in (0, 1))
        for what, each in parts.items():
            print(f"| {who} | {what} | {each / 1e3 / count:.2f} |")
        print(f"| {who} | {rest[who]} | {(total - sum(parts.values()) / 1e3) / count:.2f} |")
        print(f"| {who} | sum, {kernel / total:.0%} of it in the kernel | {total / count:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Where does the time of one message go?")
    parser.add_argument("--asks", type=int, default=5000, help="of each kind")
    parser.add_argument("--tells", type=int, default=300_000)
    options = parser.parse_args()
    actorsys.run(asks(options.asks))
    actorsys.run(tells(options.tells))


if __name__ == "__main__":
    main()
