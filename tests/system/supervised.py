"""What the tests of supervision share: looking at a node's children, and waiting for what becomes of them."""

import os
import signal
from pathlib import Path

from actorsys.testing.waiting import eventually

# Restarts without a wait that a test would notice.
QUICK = {"backoff": "1ms", "backoff_max": "5ms"}
# The death of a handler is the agent's fault here, so its message is not given again.
ONCE = {"max_deliveries": 1}


def row(sup, name):
    return next(row for row in sup.children() if row["name"] == name)


def states(sup):
    return {row["name"]: row["state"] for row in sup.children()}


def counts(sup):
    """As OTP's count_children: specs and those of them that run."""
    rows = sup.children()
    return len(rows), sum(row["pid"] is not None for row in rows)


async def in_state(sup, name, state):
    """Its row, once it is in that state."""
    return await eventually(lambda: found if (found := row(sup, name))["state"] == state else None)


async def up_again(sup, name, pid):
    """Its row, once it runs in another process than `pid`."""
    return await eventually(lambda: found if (found := row(sup, name))["state"] == "running" and found["pid"] != pid else None)


async def kill(sup, name, number=signal.SIGKILL):
    """Send a signal to an agent once it runs; its pid."""
    pid = (await in_state(sup, name, "running"))["pid"]
    os.kill(pid, number)
    return pid


async def kill_and_wait(sup, name):
    """Its row, in the life after this one."""
    return await up_again(sup, name, await kill(sup, name))


async def why(sup, name):
    """The last deaths of an agent."""
    return (await sup._commands("why", {"name": name}))["exits"]


async def control(sup, do, *names):
    """What the command line would do."""
    return await sup._commands(do, {"names": list(names)})


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


class Journal:
    """Into which the children of `actorsys.testing.children` write what happens to them."""

    def __init__(self, folder):
        self.path = folder / "journal"
        self.path.touch()

    def __str__(self):
        return str(self.path)

    @property
    def lines(self):
        return self.path.read_text().splitlines()
