"""How long is an agent away after a SIGKILL? With few and with many agents beside it."""

import asyncio
import logging
import os
import signal
from itertools import count
from time import perf_counter

from agents import Echo, Pid
from measure import FULL, Latency, Row, Size, print_document

from actorsys import Ref, Supervisor

QUESTION = "How long is an agent away after a SIGKILL?"
FLEETS = (10, 1000)
FLEETS_QUICK = (10, 100)
KILLS = 200
AT_ONCE = 20  # agents that are started at a time
# Each wait is as short as it can be: what is measured is the machinery, not the backoff that one agent's many deaths would earn.
RULE = {"max_restarts": 1_000_000, "window": "1h", "backoff": 0, "jitter": 0}


async def rows(size: Size) -> list[Row]:
    logging.getLogger("actorsys").setLevel(logging.ERROR)  # each kill is a warning, and these are meant
    found: list[Row] = []
    for agents in FLEETS if size is FULL else FLEETS_QUICK:
        away = Latency(f"away_{agents}", f"SIGKILL of an agent to its next answer, {agents} agents", "ms")
        away.add(await kills(agents, size.count(KILLS)))
        found += away.rows()
    return found


async def kills(agents: int, rounds: int) -> list[float]:
    """Milliseconds from the signal to the answer of the next incarnation; the victims take turns."""
    async with Supervisor(nats="off") as sup:
        refs: list[Ref] = []
        numbers = count()

        async def start() -> None:
            while (number := next(numbers)) < agents:
                refs.append(await sup.spawn(Echo, name=f"echo-{number}", restart=RULE))

        await asyncio.gather(*(start() for _ in range(AT_ONCE)))
        pids = {ref.name: await ref.ask(Pid()) for ref in refs}
        return [await kill(refs[number % agents], pids) for number in range(rounds)]


async def kill(agent: Ref, pids: dict[str, int]) -> float:
    old = pids[agent.name]
    began = perf_counter()
    os.kill(old, signal.SIGKILL)
    pids[agent.name] = await agent.ask(Pid(), timeout=10.0)
    taken = (perf_counter() - began) * 1e3
    if pids[agent.name] == old:
        raise AssertionError(f"process {old} answered after its SIGKILL")
    return taken


if __name__ == "__main__":
    print_document("restart", QUESTION, rows)
