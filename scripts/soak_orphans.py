"""Does anything survive a supervisor that is killed? `make soak-orphans ROUNDS=1000`

Each round starts a supervisor with five agents that have children of their own (in their group, in a session of their own, forked
twice), sends it SIGKILL at a random moment (while it starts, runs, restarts agents, or stops), and looks two seconds later at the latest
for any process that carries the round's mark. Exits with 1, and says which, when there is one.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid

import psutil

MARK = "ACTORSYS_SOAK_ROUND"
GRACE = 2.0  # seconds that everything has to be gone in
KINDS = (["plain"], ["session"], ["daemon"], ["plain", "session"], ["daemon", "daemon"])


async def victim(do: str) -> None:
    """The supervisor that is killed. It says on stdout how far it is."""
    from actorsys import Supervisor
    from actorsys.testing.children import Forker

    async with Supervisor(nats="off") as sup:
        print("spawning", flush=True)
        names = [f"forker{number}" for number in range(len(KINDS))]
        rule = {"max_restarts": 1000, "backoff": "1ms", "backoff_max": "1ms"}
        await asyncio.gather(
            *(sup.spawn(Forker, name=name, args={"kinds": kinds}, restart=rule) for name, kinds in zip(names, KINDS, strict=True))
        )
        print("up", flush=True)
        if do == "restart":
            while True:
                with contextlib.suppress(TypeError, ProcessLookupError):  # it has no process at the moment
                    os.kill(random.choice(sup.children())["pid"], signal.SIGKILL)
                await asyncio.sleep(0.005)
        if do == "run":
            await asyncio.Event().wait()
    print("stopped", flush=True)


def survivors(mark: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline()) or process.name()}")
    return found


def one_round(chance: random.Random) -> tuple[str, list[str]]:
    """What was killed when, and what was left of it."""
    mark = uuid.uuid4().hex
    do = chance.choice(["start", "run", "restart", "stop"])
    wait_for = {"start": "spawning", "run": "up", "restart": "up", "stop": "up"}[do]
    longest = {"start": 0.06, "run": 0.01, "restart": 0.05, "stop": 0.04}[do]
    process = subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "--victim", do],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == wait_for:
                break
        time.sleep(chance.uniform(0.0, longest))  # the moment is what is drawn
        process.kill()
        process.wait()
        process.stdout.close()
        until = time.monotonic() + GRACE
        while (left := survivors(mark)) and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    for line in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
    return do, left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victim", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.victim:
        asyncio.run(victim(options.victim))
        return 0
    chance = random.Random(options.seed)
    total = 0
    for number in range(options.rounds):
        do, left = one_round(chance)
        total += len(left)
        for line in left:
            print(f"round {number}, killed while it was to {do}: process {line} is still there")
    print(f"{options.rounds} rounds, {total} survivors")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
