"""Do all promises hold while agents die all the time? `make chaos SECONDS=60 AGENTS=100 [SEED=1]`

Every 50 ms a random agent dies in a random way while messages go to all of them. At the end all agents must be up; no process, zombie
or descriptor too many; the supervisor's memory grown by less than 5 MiB; each death on record with its true reason; and every message
handled, in order, once. Exits with 1, and says what is wrong, if not. `--plant BUG` plants a bug, to see that it is found.
"""

import argparse
import asyncio
import collections
import contextlib
import gc
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from actorsys import Agent, Event, Ref, Request, Supervisor, on, run

EVERY = 0.05  # seconds between two deaths
TELL_EVERY = 0.004  # seconds between two messages
HANG = 1.0  # seconds; a busy machine must not look like a hang
HUNG_MAX = 2  # that loop or are stopped at a time: each takes a core, or seconds
SETTLE = 30.0  # seconds that everything has to come to rest in
MEMORY_MAX = 5 * 2**20
SHOWN = 5  # lines for each promise that is broken
LINEAGE = 4  # every so manieth agent has a process of its own beside it


class Number(Request[int]):
    """Numbered from 1 for each agent; answered with how many came in order."""

    n: int


class Die(Event):
    """Die so, once: only while the file `token` is there."""

    how: str
    token: str


class Report(Request[tuple[int, int]]):
    """How many numbers came, and how many of them were not the next one."""


class Victim(Agent):
    def __init__(self, has_child: bool = False) -> None:
        self.has_child = has_child

    async def on_start(self) -> None:
        self.state.setdefault("count", 0)
        self.state.setdefault("wrong", 0)
        if self.has_child:
            subprocess.Popen(["sleep", "3600"], start_new_session=True)  # noqa: ASYNC220  # a misbehaving agent

    @on
    async def number(self, msg: Number) -> int:
        self.state["wrong"] += msg.n != self.state["count"] + 1
        self.state["count"] += 1
        return self.state["count"]

    @on
    async def report(self, msg: Report) -> tuple[int, int]:
        return self.state["count"], self.state["wrong"]

    @on
    async def die(self, msg: Die) -> None:
        try:
            os.unlink(msg.token)
        except FileNotFoundError:
            return  # given again after the death that it was
        match msg.how:
            case "os_exit":
                os._exit(7)
            case "sys_exit":
                sys.exit(3)
            case "exception":
                raise LookupError("chaos")
            case "loop":
                while True:
                    pass


SIGNALS = {"sigkill": signal.SIGKILL, "sigsegv": signal.SIGSEGV, "sigstop": signal.SIGSTOP}
# (reason, exit code, signal, what the record must also say)
TRUTH = {
    "sigkill": ("killed", None, "SIGKILL", "not by us"),
    "sigsegv": ("killed", None, "SIGSEGV", ""),
    "sigstop": ("unresponsive", None, "SIGKILL", ""),
    "os_exit": ("exit_code", 7, None, ""),
    "sys_exit": ("exit_code", 3, None, ""),
    "exception": ("crashed", 1, None, "LookupError: chaos"),
    "loop": ("unresponsive", None, "SIGKILL", "in die"),
}
HANGS = ("sigstop", "loop")


class Chaos:
    def __init__(self, sup: Supervisor, agents: int, seed: int, tokens: Path) -> None:
        self.sup = sup
        self.chance = random.Random(seed)
        self.tokens = tokens
        self.names = [f"victim{number}" for number in range(agents)]
        self.refs: dict[str, Ref] = {}
        self.sent: collections.Counter[str] = collections.Counter()
        self.dying: dict[str, tuple[str, int]] = {}  # how, and in which incarnation
        self.seen: dict[str, int] = dict.fromkeys(self.names, 0)  # the last incarnation whose death was looked at
        self.deaths: collections.Counter[str] = collections.Counter()
        self.asks: set[asyncio.Task[int]] = set()
        self.wrong: list[str] = []

    async def spawn_all(self) -> None:
        # No death is charged to a message here, and no number of deaths is too many.
        rule = {"max_restarts": 1_000_000, "window": "1h", "backoff": "1ms", "backoff_max": "10ms"}

        async def one(number: int, name: str) -> None:
            self.refs[name] = await self.sup.spawn(
                Victim,
                name=name,
                args={"has_child": number % LINEAGE == 0},
                memory="sqlite",
                restart=rule,
                hang_timeout=HANG,
                mailbox={"max_deliveries": 1_000_000},
            )

        await asyncio.gather(*(one(number, name) for number, name in enumerate(self.names)))

    async def go(self, seconds: float) -> None:
        """Kill and talk for so long, then until nobody is dying any more."""
        until = time.monotonic() + seconds
        next_death = time.monotonic()
        while (now := time.monotonic()) < until or (self.dying and now < until + SETTLE):
            self.look()
            if next_death <= now < until:
                next_death += EVERY
                await self.kill()
            for name in [self.chance.choice(self.names), *self.dying]:  # who hangs is found only if it owes something
                await self.talk(name)
            await asyncio.sleep(TELL_EVERY)

    async def kill(self) -> None:
        hung = sum(how in HANGS for how, _ in self.dying.values())
        how = self.chance.choice([how for how in TRUTH if how not in HANGS or hung < HUNG_MAX])
        rows = {row["name"]: row for row in self.sup.children() if row["state"] == "running"}
        names = [name for name in rows if name not in self.dying]
        if not names:
            return
        name = self.chance.choice(names)
        row = rows[name]
        self.dying[name] = how, row["incarnation"]
        if how in SIGNALS:
            os.kill(row["pid"], SIGNALS[how])
        else:
            token = self.tokens / f"{name}-{row['incarnation']}"
            token.touch()
            await self.refs[name].tell(Die(how, str(token)))

    async def talk(self, name: str) -> None:
        self.sent[name] += 1
        number = self.sent[name]
        if number % 10:
            await self.refs[name].tell(Number(number))
            return
        ask = asyncio.ensure_future(self.refs[name].ask(Number(number), timeout=120.0))
        self.asks.add(ask)
        ask.add_done_callback(lambda ask: self.answered(name, number, ask))
        await asyncio.sleep(0)  # it is sent before the next number

    def answered(self, name: str, number: int, ask: "asyncio.Task[int]") -> None:
        self.asks.discard(ask)
        if ask.cancelled() or ask.exception() is not None:
            self.wrong.append(f"messages: {name} did not answer number {number}: {ask if ask.cancelled() else ask.exception()}")
        elif ask.result() != number:
            self.wrong.append(f"messages: {name} answered number {number} with {ask.result()}")

    def look(self) -> None:
        """Compare each new death with what was done to the agent."""
        for name in self.names:
            for exit in self.sup.driver.members[f"{name}/0"].exits:
                if exit.incarnation <= self.seen[name]:
                    continue
                self.seen[name] = exit.incarnation
                how, incarnation = self.dying.pop(name, ("nothing", 0))
                self.deaths[how] += 1
                reason, code, signal_name, words = TRUTH.get(how, ("", None, None, ""))
                told = (exit.reason, exit.exit_code, exit.signal)
                text = f"{exit.detail}\n{exit.traceback}"
                if how == "nothing" or exit.incarnation != incarnation:
                    self.wrong.append(f"reasons: {name} died of {told} {exit.detail}, and nobody did anything to it")
                elif told != (reason, code, signal_name) or words not in text:
                    self.wrong.append(f"reasons: {name} died by {how}, on record is {told} {exit.detail}")

    async def check_all_up(self) -> None:
        until = time.monotonic() + SETTLE
        while down := [row for row in self.sup.children() if row["state"] != "running"]:
            if time.monotonic() > until or any(row["state"] == "failed" for row in down):
                states = {row["name"]: f"{row['state']}: {row['note']}" for row in down}
                self.wrong.append(f"up: not running at the end: {states}")
                return
            await asyncio.sleep(0.01)
        self.look()
        total = sum(row["restarts"] for row in self.sup.children())
        if total != self.deaths.total():
            self.wrong.append(f"reasons: {self.deaths.total()} deaths are on record, but {total} restarts")

    async def check_messages(self) -> None:
        for name in [row["name"] for row in self.sup.children() if row["state"] == "running"]:
            count, wrong = await self.refs[name].ask(Report(), timeout=60.0)
            if (count, wrong) != (self.sent[name], 0):
                self.wrong.append(f"messages: {name} was sent {self.sent[name]}, handled {count}, {wrong} of them out of turn")
        for dead in self.sup.mail.switchboard.dead_letters:
            if not dead.type.endswith(":Die"):
                self.wrong.append(f"messages: a dead letter for {dead.to}: {dead.reason}")

    def check_processes(self) -> None:
        """Below the supervisor: its keeper; below that the zygote, the agents, and one process for some of those."""
        me = psutil.Process()
        expected = 2 + len(self.names) + len(range(0, len(self.names), LINEAGE))

        def found() -> list[psutil.Process]:
            processes = me.children(recursive=True)
            known = {process.pid for process in processes}
            return processes + [psutil.Process(pid) for pid in _marked(self.sup.run_id) if pid not in known]

        until = time.monotonic() + 2.0
        while len(processes := found()) != expected and time.monotonic() < until:
            time.sleep(0.05)
        if len(processes) != expected:
            shown = collections.Counter(process.name() for process in processes)
            self.wrong.append(f"processes: {len(processes)} instead of {expected}: {dict(shown)}")
        for process in processes:
            if process.status() == psutil.STATUS_ZOMBIE:
                self.wrong.append(f"zombies: process {process.pid}, child of {process.ppid()}, was not waited for")


def _marked(run_id: str) -> list[int]:
    from actorsys.process.sweep import remains_of

    return [pid for pid in remains_of(run_id) if psutil.pid_exists(pid)]


def descriptors() -> dict[str, int]:
    """How many each of our own processes has open."""
    me = psutil.Process()
    keeper = me.children()[0]
    return {"the supervisor": me.num_fds(), "its keeper": keeper.num_fds()}


def memory() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


async def chaos(seconds: float, agents: int, seed: int, plant: str | None) -> list[str]:
    """What is wrong; empty is good."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        async with Supervisor(nats="off") as sup:
            it = Chaos(sup, agents, seed, Path(folder))
            await it.spawn_all()
            await it.go(min(2.0, seconds / 5))  # what is made once, at the first death of each kind, is no growth
            await it.check_all_up()
            before, weight = descriptors(), memory()
            if plant is not None:
                PLANTS[plant](it)
            began = time.monotonic()
            await it.go(seconds)
            taken = time.monotonic() - began
            await it.check_all_up()
            if it.asks:
                await asyncio.wait(it.asks, timeout=60.0)
            await it.check_messages()
            it.check_processes()
            if (after := descriptors()) != before:
                it.wrong.append(f"descriptors: {before} before, {after} after")
            if (grown := memory() - weight) > MEMORY_MAX:
                it.wrong.append(f"memory: the supervisor grew by {grown / 2**20:.1f} MiB")
        if left := _marked(sup.run_id):
            it.wrong.append(f"processes: {len(left)} survive the supervisor")
    ways = ", ".join(f"{count} {how}" for how, count in sorted(it.deaths.items()))
    print(
        f"{agents} agents, {taken:.0f} s: {it.deaths.total()} deaths ({ways}), {it.sent.total()} messages, {grown / 2**20:+.1f} MiB"
    )
    return it.wrong


# Planted bugs, one for each promise


def _some_stay_down(it: Chaos) -> None:
    from actorsys.supervision import restart

    restart.decide = lambda *_: restart.Fail("planted")  # type: ignore[assignment]


def _an_orphan(it: Chaos) -> None:
    # A daemon of an agent that nobody killed: not below us any more, with the agent's mark.
    command = ["sh", "-c", "sleep 60 & exit 0"]
    subprocess.run(command, env={**os.environ, "ACTORSYS_AGENT": f"{it.sup.run_id}/victim0/1"}, check=True)


def _a_zombie(it: Chaos) -> None:
    os.spawnlp(os.P_NOWAIT, "true", "true")


def _a_descriptor_a_death(it: Chaos) -> None:
    from actorsys.supervision.output import Output

    close = Output.close

    def leak(output: Output) -> None:
        os.dup(0)
        close(output)

    Output.close = leak  # type: ignore[method-assign]


def _memory_at_each_death(it: Chaos) -> None:
    from actorsys.supervision.member import Member

    ended = Member.ended

    def keep(member: Member, *more: object, **named: object) -> object:
        member.__dict__.setdefault("kept", []).append(bytearray(b"\1") * 2**20)
        return ended(member, *more, **named)  # type: ignore[arg-type]

    Member.ended = keep  # type: ignore[method-assign,assignment]


def _a_wrong_reason(it: Chaos) -> None:
    from actorsys.supervision import member

    member.judge = lambda *_, **__: ("exit_code", "")  # type: ignore[assignment]


def _a_lost_message(it: Chaos) -> None:
    from actorsys.mailbox.letter import TELL
    from actorsys.supervision.mail import HostOutbox

    post, number = HostOutbox.post, iter(range(10**9))

    def lose(outbox: HostOutbox, letter: object) -> None:
        if letter.kind != TELL or not letter.type.endswith(":Number") or next(number) % 50:  # type: ignore[attr-defined]
            post(outbox, letter)  # type: ignore[arg-type]

    HostOutbox.post = lose  # type: ignore[method-assign,assignment]


PLANTS: dict[str, Callable[[Chaos], None]] = {
    "up": _some_stay_down,
    "processes": _an_orphan,
    "zombies": _a_zombie,
    "descriptors": _a_descriptor_a_death,
    "memory": _memory_at_each_death,
    "reasons": _a_wrong_reason,
    "messages": _a_lost_message,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="of who dies when and how; default: another one each time")
    parser.add_argument("--plant", choices=PLANTS, help="a bug against this promise, which has to be found")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    logging.getLogger("actorsys").setLevel(logging.CRITICAL)  # each death is a warning, and these are meant
    wrong = run(chaos(options.seconds, options.agents, seed, options.plant))
    promises = collections.Counter[str]()
    for line in wrong:
        promises[promise := line.partition(":")[0]] += 1
        if promises[promise] <= SHOWN:
            print(line)
    if wrong:
        print(f"{len(wrong)} things are wrong; again: --seconds {options.seconds:g} --agents {options.agents} --seed {seed}")
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # a planted zombie
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
