"""What is rehearsed ends well and leaves nothing, and agents weigh less for it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from actorsys import Agent, Request, Supervisor, on
from actorsys.runtime.rehearsal import ROUNDS

NATS = ["actorsys.runtime.remote", "actorsys.bus.nats_light", "actorsys.bus.nats_client"]
SCRIPT = """
import asyncio, importlib, json, logging, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
from actorsys.mailbox import ref
from actorsys.runtime import rehearsal

def state():
    fds, threads = (sorted(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task"))
    return len(fds), threads, logging.root.handlers, ref.home, asyncio.get_event_loop_policy()._local._loop

rehearsal._lead(len(sys.argv) > 1)  # imports happen now
before = state()
led = [rehearsal.rehearse(), rehearsal.rehearse()]
print(json.dumps({"led": led, "leaves": before == state(), "threads": len(before[1])}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("modules", [[], NATS], ids=["alone", "nats"])
def test_every_life_comes_to_its_end_and_nothing_is_left(modules) -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT, *modules]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0)
    assert json.loads(done.stdout) == {"led": [ROUNDS, 1], "leaves": True, "threads": 1}


class Weigh(Request[int]):
    """Answered with the KiB that its process shares with no other."""


class Weighty(Agent):
    @on
    def weigh(self, msg: Weigh) -> int:
        fields = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines())
        return next(int(words[1]) for words in fields if words[0] == "Private_Dirty:")


@pytest.mark.slow
def test_an_agent_whose_life_was_rehearsed_shares_more(monkeypatch) -> None:
    async def weighed() -> int:
        async with Supervisor(nats="off") as sup:
            agents = [await sup.spawn(Weighty, name=f"weighty-{number}") for number in range(4)]
            return sum([await agent.ask(Weigh()) for agent in agents])

    with_it = asyncio.run(weighed())
    preload = Supervisor._preload
    monkeypatch.setattr(Supervisor, "_preload", lambda self: [name for name in preload(self) if "rehearsal" not in name])
    assert with_it < 0.95 * asyncio.run(weighed())
