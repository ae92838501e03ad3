"""What does an agent cost to have: to start, in memory, and to have back after a SIGKILL?"""

import asyncio
import logging
import os
import signal
from pathlib import Path
from time import perf_counter

from agents import Echo, Pid
from measure import Row, Series, Size, floor, print_document, tail

from actorsys import Ref, Supervisor

QUESTION = "What does an agent cost to start, to keep, and to have back?"
AGENTS = 100
ROUNDS = 3
KILLS = 30  # over all rounds; each hits another agent, as only the first death in a window is without backoff
FLOOR_FORKS = 30


async def rows(size: Size) -> list[Row]:
    up = Series("spawn_seconds", f"{AGENTS} agents, each a process, up and answering", "s")
    rate = Series("spawn_rate", "agents started, up and answering", "/s", "fork")
    memory = Series("pss", f"private memory per idle agent (PSS), {AGENTS} agents", "MiB")
    back: list[float] = []
    rounds = size.count(ROUNDS)
    kills = size.count(KILLS) // rounds
    logging.getLogger("actorsys").setLevel(logging.ERROR)  # each kill is a warning, and these are meant
    for _ in range(rounds):
        beneath = await floor("fork", FLOOR_FORKS)
        async with Supervisor(nats="off") as sup:
            await spawn_one(sup, "warm-up")
            start = perf_counter()
            pids = await asyncio.gather(*(spawn_one(sup, f"echo-{number}") for number in range(AGENTS)))
            seconds = perf_counter() - start
            up.add(seconds, samples=AGENTS)
            rate.add(AGENTS / seconds, floor=1e3 / beneath, samples=AGENTS)
            memory.add(sum(pss(pid) for pid in pids) / AGENTS, samples=AGENTS)
            back += [await kill(sup.agent(f"echo-{number}"), pids[number]) for number in range(kills)]
    return [
        up.row(),
        rate.row(),
        memory.row(),
        tail("restart_p50", f"SIGKILL of an agent to its next answer, {AGENTS} agents, p50", "ms", back, 0.5, rounds),
        tail("restart_p99", f"SIGKILL of an agent to its next answer, {AGENTS} agents, p99", "ms", back, 0.99, rounds),
    ]


async def spawn_one(sup: Supervisor, name: str) -> int:
    """Its process id, by its own answer."""
    agent = await sup.spawn(Echo, name=name)
    return await agent.ask(Pid())


async def kill(agent: Ref, pid: int) -> float:
    """Milliseconds from the signal to the answer of the next incarnation."""
    start = perf_counter()
    os.kill(pid, signal.SIGKILL)
    answer = await agent.ask(Pid(), timeout=10.0)
    taken = (perf_counter() - start) * 1e3
    if answer == pid:
        raise AssertionError(f"process {pid} answered after its SIGKILL")
    return taken


def pss(pid: int) -> float:
    """MiB: pages of its own, and its share of those it has in common with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel tells no Pss for process {pid}")


if __name__ == "__main__":
    print_document("spawn", QUESTION, rows)
