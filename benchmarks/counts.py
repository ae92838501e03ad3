"""How much work is a message? A guard against regressions that counts instead of timing, so that a slow machine cannot fail it.

    python benchmarks/counts.py [--renew]

Function calls (Python's and those into C, as cProfile sees them), reads, writes and bytes written (as the kernel counts them) per
message, in the supervisor's process and in the agent's: of an ask and a tell from the one to the other, and (nats) of a request that a
plain client makes; with strace also all system calls of all processes. Each is compared with reference.json: more than MARGIN and SLACK
above is a failure, exit code 1. --renew writes that file anew, for a change that is meant; what cannot be counted here stays as it is.
"""

import argparse
import asyncio
import cProfile
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from agents import Count, Echo, Sink, job, question
from measure import side

import actorsys
from actorsys import Ref, Request, Supervisor, on
from actorsys.bus.nats_server import find_server
from actorsys.testing.nats import run_server
from actorsys.testing.waiting import eventually

REFERENCE = Path(__file__).with_name("reference.json")
MARGIN = 0.15
SLACK = 0.1  # which tells share a frame is partly chance: a few system calls for a hundred of them; one for each is not
WARM_UP = 500
MESSAGES = 2000
BURST = 100  # tells that are out before their receiver is asked: how they share frames is then no matter of chance
CALLS = "calls"  # what depends on the version of Python

Counts = dict[str, float]


class Begin(Request[None]):
    """Count from now on."""


class End(Request[Counts]):
    """What was counted since."""


class Work:
    """Counts what this process does."""

    def __init__(self) -> None:
        self._before = self._io()
        self._profile = cProfile.Profile()
        self._profile.enable()

    def end(self) -> Counts:
        self._profile.disable()
        now = self._io()
        calls = sum(entry.callcount for entry in self._profile.getstats())
        return {CALLS: calls, **{name: now[name] - before for name, before in self._before.items()}}

    @staticmethod
    def _io() -> dict[str, int]:
        found = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return {"reads": int(found["syscr"]), "writes": int(found["syscw"]), "bytes": int(found["wchar"])}


class Counted(Echo, Sink):
    """An agent that counts its own work."""

    @on
    async def begin(self, msg: Begin) -> None:
        self.work = Work()

    @on
    async def end(self, msg: End) -> Counts:
        return self.work.end()


async def ask(to: Ref, count: int) -> None:
    for number in range(count):
        await to.ask(question(number))


async def tell(to: Ref, count: int) -> None:
    for _ in range(count // BURST):
        for number in range(BURST):
            await to.tell(job(number))
        if (received := await to.ask(Count())) != BURST:
            raise AssertionError(f"{received} of {BURST} messages arrived")


SENT: dict[str, Callable[[Ref, int], Awaitable[None]]] = {"ask": ask, "tell": tell}


async def counted() -> Counts:
    """Of each process, per message."""
    found: Counts = {}
    async with Supervisor(nats="off") as sup:
        agent = await sup.spawn(Counted, name="counted")
        for kind, send in SENT.items():
            found |= await per_message(kind, agent, lambda count, send=send: send(agent, count))  # type: ignore[misc]
    if find_server() is None:
        print("requests over NATS are not counted: no nats-server found", file=sys.stderr)
        return found
    with tempfile.TemporaryDirectory() as folder:
        async with run_server(Path(folder)) as server:
            url = server.url.replace("://", f"://{server.info.token}@")
            async with side("counts_side.py", url) as client, Supervisor(nats=url) as sup:
                agent = await sup.spawn(Counted, name="counted")
                await eventually(lambda: sup.children()[0]["nats"] == "connected")
                found |= await per_message("nats", agent, lambda count: requested(client, count))
    return found


async def requested(client: asyncio.subprocess.Process, count: int) -> None:
    """So many requests of a client in a process of its own."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(f"{count}\n".encode())
    if (said := await client.stdout.readline()) != b"done\n":
        raise RuntimeError(f"the client did not get its {count} answers, but said {said!r}")


async def per_message(kind: str, agent: Ref, send: Callable[[int], Awaitable[None]]) -> Counts:
    await send(WARM_UP)
    await agent.ask(Begin())
    work = Work()
    await send(MESSAGES)
    ours, theirs = work.end(), await agent.ask(End())
    found: Counts = {}
    for process, counts in (("supervisor", ours), ("agent", theirs)):
        found |= {f"{kind}: {name} of the {process}": round(count / MESSAGES, 3) for name, count in counts.items()}
    return found


async def sent(kind: str, count: int) -> None:
    """What strace looks at."""
    async with Supervisor(nats="off") as sup:
        agent = await sup.spawn(Counted, name="counted")
        await SENT[kind](agent, count)


def system_calls(kind: str) -> float:
    """Of all processes, per message: the difference of two runs, so that start and stop do not count."""
    first, second = (_traced(kind, count) for count in (WARM_UP, WARM_UP + MESSAGES))
    return round((second - first) / MESSAGES, 3)


def _traced(kind: str, count: int) -> int:
    with tempfile.NamedTemporaryFile("r") as file:
        ours = [sys.executable, str(Path(__file__)), "--send", kind, str(count)]
        subprocess.run(["strace", "-f", "-c", "-U", "calls,name", "-o", file.name, *ours], check=True, stderr=subprocess.DEVNULL)
        total = next(line for line in Path(file.name).read_text().splitlines() if line.endswith("total"))
        return int(total.split()[0])


def measured() -> Counts:
    found = actorsys.run(counted())
    if shutil.which("strace"):
        found |= {f"{kind}: system calls of all processes": system_calls(kind) for kind in SENT}
    else:
        print("system calls are not counted: strace is not installed", file=sys.stderr)
    return found


def compare(found: Counts, reference: Counts, python: str) -> list[str]:
    """Prints one line for each count; what has grown too much is the answer."""
    wrong = []
    for name, wanted in reference.items():
        if name not in found:
            continue
        if f" {CALLS} of" in name and python != _python():
            print(f"  {name:<40} {found[name]:>9.2f}  not compared: the reference is of Python {python}")
            continue
        limit = wanted * (1 + MARGIN) + SLACK
        verdict = (
            "too much"
            if found[name] > limit
            else "less: keep it with --renew"
            if found[name] < wanted * (1 - MARGIN) - SLACK
            else ""
        )
        print(f"  {name:<40} {found[name]:>9.2f}  reference {wanted:>9.2f}  at most {limit:>9.2f}  {verdict}".rstrip())
        if found[name] > limit:
            wrong.append(name)
    return wrong


def renewed(found: Counts, reference: Counts, python: str) -> Counts:
    """What was found, and what could not be counted for want of strace or a nats-server as it was."""

    def group(name: str) -> tuple[str, bool]:
        return name.partition(":")[0], "system calls" in name

    groups = set(map(group, found))
    kept = {name: count for name, count in reference.items() if group(name) not in groups}
    return found | {name: count for name, count in kept.items() if f" {CALLS} of" not in name or python == _python()}


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def main() -> int:
    parser = argparse.ArgumentParser(
        description="How much work is a message? Compared with reference.json, in counts and not in time."
    )
    parser.add_argument("--renew", action="store_true", help="write reference.json instead of comparing with it")
    parser.add_argument("--send", nargs=2, metavar=("KIND", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        actorsys.run(sent(options.send[0], int(options.send[1])))
        return 0
    found = measured()
    reference = msgspec.json.decode(REFERENCE.read_bytes())
    if options.renew:
        found = renewed(found, reference["per_message"], reference["python"])
        text = msgspec.json.format(msgspec.json.encode({"python": _python(), "per_message": found}))
        REFERENCE.write_bytes(text + b"\n")
        print(f"written: {REFERENCE.name}, {len(found)} counts")
        return 0
    wrong = compare(found, reference["per_message"], reference["python"])
    for name in wrong:
        print(f"too much: {name}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
