"""One node of bench_nodes.py: a supervisor with its agents, on the machine's NATS server.

    python benchmarks/nodes_side.py NAME PAIRS URL

`tell COUNT`: each sender tells its own sink so many jobs, all at once; answered with the nanoseconds of processor time it took.
`ask TO COUNT`: the caller asks TO, on whichever node that is; answered with the median in microseconds.
"""

import asyncio
import os
import sys
from pathlib import Path

import psutil
from agents import AskAround, Caller, Echo, Sender, Sink, TellAround
from measure import quantile

import actorsys
from actorsys import Supervisor
from actorsys.testing.waiting import eventually

CONNECT_MAX = 10.0  # seconds
PARTS = 20_000  # jobs of one message to a sender, so that each is done well within its timeout


def used(pids: list[int]) -> int:
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids)


async def main(name: str, pairs: int, url: str) -> None:
    async with Supervisor(nats=url, name=name) as sup:
        senders = [await sup.spawn(Sender, name=f"{name}-sender{number}") for number in range(pairs)]
        sinks = [(await sup.spawn(Sink, name=f"{name}-sink{number}")).name for number in range(pairs)]
        await sup.spawn(Echo, name=f"{name}-echo")
        caller = await sup.spawn(Caller, name=f"{name}-caller")
        members = sup.driver.members.values()
        await eventually(lambda: all(member.nats == "connected" for member in members), CONNECT_MAX)
        pids = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]

        async def tell(sender: actorsys.Ref, sink: str, count: int) -> None:
            for start in range(0, count, PARTS):
                part = min(PARTS, count - start)
                counted, _ = await sender.ask(TellAround(sink, part), timeout=60.0)
                if counted != part:
                    raise AssertionError(f"{counted} of {part} messages arrived")

        print("ready", flush=True)
        while words := (await asyncio.to_thread(sys.stdin.readline)).split():
            if words[0] == "tell":
                before = used(pids)
                await asyncio.gather(*(tell(sender, sink, int(words[1])) for sender, sink in zip(senders, sinks, strict=True)))
                print(used(pids) - before, flush=True)
            else:
                print(quantile(await caller.ask(AskAround(words[1], int(words[2])), timeout=60.0), 0.5) / 1e3, flush=True)


if __name__ == "__main__":
    actorsys.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
