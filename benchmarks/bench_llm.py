"""What does an agent that talks to a model cost to keep, to have back, and beyond the model's own time? Against a fake server."""

import asyncio
import logging
import os
import signal
from time import perf_counter

from agents import Pid, Prompt, Thinker
from measure import Row, Series, Size, print_document, pss, tail

from actorsys import Ref, Supervisor
from actorsys.testing.llm import FakeOpenAI

QUESTION = "What does an agent that talks to a model cost?"
AGENTS = 50
KILLS = 30
CALLS = 200


async def rows(size: Size) -> list[Row]:
    logging.getLogger("actorsys").setLevel(logging.ERROR)  # each kill is a warning, and these are meant
    memory = Series("llm_pss", f"private memory per agent that has called a model (PSS), {AGENTS} agents", "MiB")
    with FakeOpenAI() as fake:
        profile = {"provider": "openai", "model": "fake", "base_url": fake.url}
        async with Supervisor(nats="off", llm={"default": profile}) as sup:
            refs = await asyncio.gather(*(sup.spawn(Thinker, name=f"thinker-{number}") for number in range(AGENTS)))
            await asyncio.gather(*(ref.ask(Prompt("hello")) for ref in refs))
            pids = await asyncio.gather(*(ref.ask(Pid()) for ref in refs))
            memory.add(sum(pss(pid) for pid in pids) / AGENTS, samples=AGENTS)
            back = [await kill(ref, pid) for ref, pid in zip(refs[: size.count(KILLS)], pids, strict=False)]
            free = [await call(refs[-1], number) for number in range(size.count(CALLS))]
        async with Supervisor(nats="off", llm={"default": {**profile, "budget": {"tokens": 10**12}}}) as sup:
            ref = await sup.spawn(Thinker, name="thinker")
            await call(ref, 0)
            leased = [await call(ref, number) for number in range(size.count(CALLS))]
    what = "SIGKILL of an agent that has called a model to its next answer"
    return [
        memory.row(),
        tail("llm_restart_p50", f"{what}, p50", "ms", [up for up, _ in back], 0.5, 1),
        tail("llm_restart_p99", f"{what}, p99", "ms", [up for up, _ in back], 0.99, 1),
        tail("llm_first_p50", "the first call of the new process after that, p50", "ms", [first for _, first in back], 0.5, 1),
        tail("llm_call_p50", "ask of an agent that calls a model, no limits, p50", "ms", free, 0.5, 1),
        tail("llm_leased_p50", "the same with a budget: one lease a call, p50", "ms", leased, 0.5, 1),
    ]


async def kill(agent: Ref, pid: int) -> tuple[float, float]:
    """Milliseconds from the signal to the answer of the next incarnation, and of its first call."""
    began = perf_counter()
    os.kill(pid, signal.SIGKILL)
    await agent.ask(Pid(), timeout=10.0)
    up = perf_counter()
    await agent.ask(Prompt("hello"), timeout=10.0)
    return (up - began) * 1e3, (perf_counter() - up) * 1e3


async def call(agent: Ref, number: int) -> float:
    began = perf_counter()
    await agent.ask(Prompt(f"hello {number}"), timeout=10.0)
    return (perf_counter() - began) * 1e3


if __name__ == "__main__":
    print_document("llm", QUESTION, rows)
