"""The script that everybody pastes first."""

import subprocess
import sys

import pytest

HELLO = """\
import asyncio
from actorsys import Agent, Event, Request, Supervisor, on

class Add(Request[int]):          # a msgspec Struct; Request[R] carries the reply type, so ask() is typed under mypy --strict
    n: int
class Reset(Event):               # no reply
    pass

class Counter(Agent):
    async def on_start(self) -> None:            # ready when this returns; self.state is already restored
        self.state.setdefault("total", 0)
    @on
    async def add(self, msg: Add) -> int:
        self.state["total"] += msg.n
        return self.state["total"]
    @on
    async def reset(self, msg: Reset) -> None:
        self.state["total"] = 0
    async def receive(self, message) -> object: ...   # optional: whatever no handler takes (plain JSON from NATS, a browser)
    async def on_stop(self, reason) -> None: ...

async def main() -> None:
    async with Supervisor() as sup:
        counter = await sup.spawn(Counter, name="counter", memory="sqlite")
        await counter.tell(Reset())
        print(await counter.ask(Add(2), timeout=1.0))
"""
GUARD = 'if __name__ == "__main__":\n'
RUN = "asyncio.run(main())\n"


def python(folder, text):
    (folder / "hello.py").write_text(text)
    argv = [sys.executable, "-W", "error", "hello.py"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_hello_world_prints_2(folder):
    done = python(folder, HELLO.replace("timeout=1.0", "timeout=20.0") + GUARD + "    " + RUN)
    assert (done.stdout, done.stderr, done.returncode) == ("2\n", "", 0)


def test_hello_world_leaves_no_files(folder):
    done = python(folder, HELLO + GUARD + "    " + RUN)
    assert done.returncode == 0
    assert [path.name for path in folder.iterdir()] == ["hello.py"]


def test_without_the_guard_it_fails_and_says_to_add_it(folder):
    done = python(folder, HELLO + RUN)
    assert done.returncode == 1
    assert done.stdout == ""
    assert 'Put the lines that start it under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("loop", ["asyncio.run", "actorsys.run"])
def test_it_runs_on_either_loop(folder, loop):
    done = python(folder, "import actorsys\n" + HELLO + GUARD + f"    {loop}(main())\n")
    assert (done.stdout, done.returncode) == ("2\n", 0)
