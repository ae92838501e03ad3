"""Runs under the shim: for each fault and each point, a process of its own that dies or fails there; then looks what a restart finds.

    LD_PRELOAD=shim.so python worker.py '{"folder": ..., "backend": "file", "fault": "kill", "commits": 4, "step": 1}'

Prints one JSON line: points tried, and what was wrong at which.
"""

import asyncio
import ctypes
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from scenario import BACKENDS, RUN, commits, perform, snapshots, verdict

from actorsys.errors import StateError
from actorsys.memory.base import MemoryContext, Restored

FAULTS = {"count": 1, "kill": 2, "torn": 3, "short": 4, "enospc": 5, "full": 6, "eio": 7}
shim = ctypes.CDLL(None)
shim.crash_count.restype = ctypes.c_long


def run_one(make: Any, all_commits: Any, fault: int, point: int) -> tuple[int, int]:
    """The last commit that was acknowledged, and the calls counted (0 when the process was killed)."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            shim.crash_arm(fault, ctypes.c_long(point))
            asyncio.run(perform(make(), all_commits, lambda number: os.write(writable, b"%d\n" % number)))
        except StateError:
            pass
        finally:
            calls = shim.crash_count()
            shim.crash_arm(0, ctypes.c_long(0))
            os.write(writable, b"calls %d\n" % calls)
            os._exit(0)
    os.close(writable)
    with open(readable) as lines:
        said = lines.read().split("\n")
    os.waitpid(pid, 0)
    acknowledged = [int(line) for line in said if line.isdigit()]
    calls = [int(line.split()[1]) for line in said if line.startswith("calls")]
    return max(acknowledged, default=0), max(calls, default=0)


def restart(make: Any) -> Restored | StateError:
    async def opened() -> Restored:
        memory = make()
        try:
            return await memory.open(RUN)
        finally:
            await memory.close()

    try:
        return asyncio.run(opened())
    except StateError as error:
        return error


def main() -> None:
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    all_commits = commits(job["commits"], job.get("size", 40))
    all_snapshots = snapshots(all_commits)

    def make() -> Any:
        return BACKENDS[job["backend"]](MemoryContext(name="counter/0", folder=folder))

    acknowledged, calls = run_one(make, all_commits, FAULTS["count"], 0)
    assert acknowledged == len(all_commits), "it does not work even without a fault"
    wrong = []
    tried = 0
    for point in range(1, calls + 1, job["step"]):
        shutil.rmtree(folder)
        acknowledged, _ = run_one(make, all_commits, FAULTS[job["fault"]], point)
        tried += 1
        if problem := verdict(restart(make), acknowledged, all_snapshots):
            wrong.append(f"call {point}: {problem}")
    shutil.rmtree(folder)
    print(json.dumps({"calls": calls, "points": tried, "wrong": wrong}))


if __name__ == "__main__":
    main()
