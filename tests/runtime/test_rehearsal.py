"""What is rehearsed ends well and leaves nothing, and agents weigh less for it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from actorsys import Agent, Request, Supervisor, on
from actorsys.runtime.rehearsal import ROUNDS, rehearse

NATS = ["actorsys.runtime.remote", "actorsys.bus.nats_light", "actorsys.bus.nats_client"]
SCRIPT = """
import asyncio, importlib, json, logging, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
from actorsys.mailbox import ref
from actorsys.runtime import rehearsal

for name in "actorsys", "asyncio", "player":
    logging.getLogger(name).addHandler(logging.StreamHandler(sys.stderr))
    logging.getLogger(name).setLevel(1)

def state():
    fds, threads = (sorted(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task"))
    policy = asyncio.get_event_loop_policy()
    return len(fds), threads, logging.root.handlers, logging.root.manager.disable, ref.home, policy, dict(vars(policy._local))

with rehearsal._apart():
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


AMISS = """
import asyncio, os, sys, threading, time
from actorsys.runtime import rehearsal

set_event_loop, fork, parent, forks = asyncio.set_event_loop, os.fork, os.getpid(), []

def amiss(loop):
    set_event_loop(loop)
    assert os.getpid() != parent
    {}

def counted():
    forks.append(1)
    return fork()

asyncio.set_event_loop, os.fork = amiss, counted
print(rehearsal.rehearse(), rehearsal.rehearse(), len(forks), len(os.listdir("/proc/self/task")))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    [
        "threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()",
        "time.sleep(1e6)",
        "raise SystemExit",
        "os._exit(3)",
        "os.abort()",
    ],
)
def test_a_life_that_goes_amiss_does_so_once_and_in_another_process(what) -> None:
    command = [sys.executable, "-c", AMISS.format(what)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.stdout) == ("", "0 0 1 1\n")


@pytest.mark.parametrize("watch", [sys.setprofile, sys.settrace])
def test_nothing_is_rehearsed_while_somebody_watches(watch, monkeypatch) -> None:
    monkeypatch.setattr("os.fork", None)
    get = getattr(sys, watch.__name__.replace("set", "get"))
    before = get()
    watch(lambda *_: None)
    try:
        led = rehearse()
    finally:
        watch(before)
    assert led == 0


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
