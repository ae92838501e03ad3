"""What bench_growth.py compares with: a process of its own with few agents, that asks one of them.

    python benchmarks/growth_side.py AGENTS URL

Answers each line of its input with the median of so many asks, in microseconds.
"""

import asyncio
import sys

from agents import Echo
from bench_roundtrip import WARM_UP, ask_in_turn
from measure import quantile

import actorsys
from actorsys import Supervisor


async def main(agents: int, url: str) -> None:
    async with Supervisor(nats=url, name="few") as sup:
        refs = [await sup.spawn(Echo, name=f"few-{number}") for number in range(agents)]
        await ask_in_turn(refs[0], WARM_UP)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(quantile(await ask_in_turn(refs[0], int(line)), 0.5), flush=True)


if __name__ == "__main__":
    actorsys.run(main(int(sys.argv[1]), sys.argv[2]))
