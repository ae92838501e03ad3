"""The far side of counts.py, a process of its own: a plain client that asks an agent over NATS.

    python benchmarks/counts_side.py URL

Makes as many requests as each line of its input says, one after another, and answers with a line.
"""

import asyncio
import sys

import nats
from bench_nats import TIMEOUT, asked

import actorsys
from actorsys.bus import envelope


async def main(url: str) -> None:
    client = await nats.connect(url)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        for number in range(int(line)):
            answer = await client.request("agents.request.counted", asked(number), timeout=TIMEOUT)
            if envelope.decode(answer.data, limit=2**20).content != number:  # that of an error is no number
                raise AssertionError(f"the agent answered {answer.data!r}")
        print("done", flush=True)
    await client.close()


if __name__ == "__main__":
    actorsys.run(main(sys.argv[1]))
