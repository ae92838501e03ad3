"""Does anything pile up when one agent dies again and again? `make soak-restarts RESTARTS=1000`

After a first tenth the supervisor's descriptors are counted; at the end there must be as many, and its memory must not have grown by
more than 2 MiB. The time that a restart takes must not drift.
"""

import argparse
import gc
import logging
import os
import signal
import statistics
import sys
import time

import psutil

from actorsys import Supervisor, run
from actorsys.testing.children import Obedient, Pid

MEMORY_MAX = 2 * 2**20  # bytes
DRIFT_MAX = 3.0  # a restart at the end takes at most so many times one at the beginning; a leak in a list shows as far more


async def soak(restarts: int) -> list[str]:
    """What is wrong; empty is good."""
    me = psutil.Process()
    times: list[float] = []
    wrong: list[str] = []
    async with Supervisor(nats="off") as sup:
        rule = {"max_restarts": restarts + 10, "window": "1h", "backoff": 0.0}
        agent = await sup.spawn(Obedient, name="a", restart=rule)
        pid = await agent.ask(Pid())
        settled = descriptors = memory = 0
        for number in range(restarts):
            if number == restarts // 10:
                gc.collect()
                settled, descriptors, memory = number, me.num_fds(), me.memory_info().rss
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            before, pid = pid, await agent.ask(Pid())
            times.append(time.perf_counter() - began)
            if pid == before:
                wrong.append(f"process {pid} answered after its SIGKILL")
        gc.collect()
        row = sup.children()[0]
        if row["restarts"] != restarts:
            wrong.append(f"{restarts} deaths, but {row['restarts']} restarts are counted")
        if (now := me.num_fds()) != descriptors:
            wrong.append(f"{descriptors} descriptors after {settled} restarts, {now} after {restarts}")
        if (grown := me.memory_info().rss - memory) > MEMORY_MAX:
            wrong.append(f"memory grew by {grown / 2**20:.1f} MiB")
        if me.children() and len(me.children()) != 1:
            wrong.append(f"the supervisor has {len(me.children())} children; its keeper is the only one it should have")
        tenth = max(1, restarts // 10)
        first, last = statistics.median(times[:tenth]), statistics.median(times[-tenth:])
        if last > DRIFT_MAX * first:
            wrong.append(f"a restart took {first * 1e3:.1f} ms at first and {last * 1e3:.1f} ms at last")
        print(
            f"{restarts} restarts, p50 {statistics.median(times) * 1e3:.1f} ms, memory {grown / 2**20:+.1f} MiB, {now} descriptors"
        )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--restarts", type=int, default=1000)
    options = parser.parse_args()
    logging.getLogger("actorsys").setLevel(logging.CRITICAL)  # each death is a warning, and these are meant
    wrong = run(soak(options.restarts))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
