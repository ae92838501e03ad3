"""Modules are loaded once, what fails is told, and the death of the zygote is nothing to a running agent."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(text))


@pytest.mark.slow
def test_what_does_not_load_is_told_and_the_rest_loads(run, home, tmp_path) -> None:
    write(tmp_path, "fails", "def f():\n    raise RuntimeError('broken on purpose')\nf()")
    write(tmp_path, "quits", "raise SystemExit('no')")
    write(tmp_path, "dies", "import os; os._exit(3)")
    write(tmp_path, "fine", "class Agent: pass")

    async def main() -> None:
        async with home() as here:
            here.launcher._nursery.path = (str(tmp_path), *here.launcher._nursery.path)
            here.launcher.renew()
            types = ["fails:A", "quits:A", "dies:A", "fine:Missing", "nowhere:A", "fine:Agent"]
            for found in (await here.launcher.check(types), await here.launcher.load(types)):
                assert list(found) == types
                assert "broken on purpose" in found["fails:A"]
                assert f'File "{tmp_path}/fails.py", line 3' in found["fails:A"]
                assert "loading.py" not in found["fails:A"]
                assert "SystemExit" in found["quits:A"]
                assert "the process ended while" in found["dies:A"]
                assert "no attribute 'Missing'" in found["fine:Missing"]
                assert "No module named 'nowhere'" in found["nowhere:A"]
                assert found["fine:Agent"] is None
            assert (await here.launch("leave", b"0")).how == "fork"

    run(main())


@pytest.mark.slow
def test_a_check_leaves_nothing_in_the_zygote_and_calls_the_validator(run, home, tmp_path) -> None:
    write(tmp_path, "traced", f"open({str(tmp_path / 'trace')!r}, 'a').write('x')\nprint('x' * 200_000)\nclass A: pass")

    async def main() -> None:
        async with home() as here:
            here.launcher._nursery.path = (str(tmp_path), *here.launcher._nursery.path)
            here.launcher.renew()
            assert await here.launcher.check(["traced:A"], "entries:find_faults", b"x") == {"traced:A": None, "args": "bad: x"}
            assert await here.launcher.check(["traced:A"]) == {"traced:A": None}
            assert await here.launcher.load(["traced:A"]) == {"traced:A": None}
            await here.launcher.load(["traced:A"])
            assert (tmp_path / "trace").read_text() == "xxx"
            write(tmp_path, "traced", "oops")
            assert "NameError" in (await here.launcher.check(["traced:A"]))["traced:A"]  # as it is on the disk, not in the zygote

    run(main())


@pytest.mark.slow
def test_an_import_that_never_ends_is_cut_off(run, home, tmp_path) -> None:
    write(tmp_path, "endless", "while True: pass")

    async def main() -> None:
        async with home() as here:
            here.launcher._nursery.path = (str(tmp_path), *here.launcher._nursery.path)
            here.launcher.renew()
            await here.launch("spin")
            for found in (
                await here.launcher.check(["endless:A"], timeout=0.5),
                await here.launcher.load(["endless:A"], timeout=0.5),
            ):
                assert "importing" in found["endless:A"]
                assert "took longer than 500ms" in found["endless:A"]
            agent = await here.launch("echo", b"still")
            assert (agent.how, await here.hear(agent)) == ("fork", b"still")

    run(main())


@pytest.mark.slow
def test_agents_of_a_module_that_leaves_a_thread_are_fresh_and_the_others_forked(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            assert await here.launcher.load(["entries:echo", "threaded:Agent"]) == {"entries:echo": None, "threaded:Agent": None}
            agent = await here.launch("threaded:main", type="threaded:Agent")
            assert agent.how == "fresh"
            assert agent.why_fresh == "threaded: the loaded modules left 1 thread running"
            assert (await here.end(agent))[0].exit_code == 4
            assert (await here.launch("leave", b"0", type="entries:echo")).how == "fork"

    run(main())


@pytest.mark.slow
def test_a_module_may_ignore_the_ends_of_children(run, home, tmp_path) -> None:
    write(tmp_path, "careless", "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nclass Agent: pass")

    async def main() -> None:
        async with home() as here:
            here.launcher._nursery.path = (str(tmp_path), *here.launcher._nursery.path)
            here.launcher.renew()
            assert await here.launcher.load(["careless:Agent"]) == {"careless:Agent": None}
            zygote = here.zygote()
            for _ in range(2):
                agent = await here.launch("leave", b"3", how="fork")
                assert (await here.end(agent))[0].exit_code == 3
            assert here.zygote() == zygote

    run(main())


@pytest.mark.slow
def test_agents_survive_the_zygote_and_the_next_launch_has_another(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            await here.launcher.load(["entries:echo"])
            first = await here.launch("echo", b"1")
            await here.hear(first)
            for _ in range(3):
                zygote = here.zygote()
                os.kill(zygote, signal.SIGKILL)
                second = await here.launch("echo", b"2")  # may be under way when the death is noticed
                assert (second.how, await here.hear(second)) == ("fork", b"2")
                assert here.zygote() != zygote
            first.connection.send_bytes(b"alive")
            assert await here.hear(first) == b"alive"

    run(main())


@pytest.mark.slow
def test_launches_under_way_when_the_zygote_dies_happen_once(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            for _ in range(5):
                zygote = here.zygote()
                launches = [asyncio.create_task(here.launch("echo", str(n).encode(), name=f"a{n}")) for n in range(20)]
                await asyncio.wait(launches, return_when=asyncio.FIRST_COMPLETED)
                os.kill(zygote, signal.SIGKILL)
                agents = await asyncio.gather(*launches)
                assert [await here.hear(agent) for agent in agents] == [str(n).encode() for n in range(20)]
                known = {agent.pid for agent in here.processes} | {here.zygote()}
                children = (Path("/proc") / str(here.keeper) / "task" / str(here.keeper) / "children").read_text().split()
                assert {pid for pid in map(int, children) if here.is_alive(pid)} <= known

    run(main())


SCRIPT = """
import asyncio, sys, threading
from actorsys.process.launcher import Launcher, Order
from actorsys.process.loading import is_loading

LOADING = is_loading()

class Greeter:
    def greet(self):
        return f"{__name__} {LOADING} {Greeter is sys.modules['__main__'].Greeter} {Greeter is sys.modules['__mp_main__'].Greeter}"

def entry(payload, connection):
    connection.send_bytes(Greeter().greet().encode())
    return 0

async def main():
    launcher = Launcher(sys.argv[1])
    await launcher.start()
    try:
        print(await launcher.load([NAME + ":Greeter"]))
        for how in "fork", "fresh":
            agent = await launcher.launch(Order(name="a", incarnation=1, entry=NAME + ":entry", how=how))
            await agent.exited
            print(agent.connection.recv_bytes().decode(), agent.read_output())
            agent.close()
    finally:
        await launcher.close()

if __name__ == "__main__":
    from actorsys.messages import real_module
    NAME = real_module("__main__")
    asyncio.run(main())
"""


@pytest.mark.slow
def test_a_class_of_the_main_script_can_be_an_agent(tmp_path, run_id) -> None:
    write(tmp_path, "script", SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", run_id], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "{'__main__:Greeter': None}",
        "__mp_main__ True True True b''",
        "__mp_main__ True True True b''",
    ]


@pytest.mark.slow
def test_a_main_module_run_by_name_has_its_real_name(tmp_path, run_id) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    write(
        tmp_path / "package",
        "mod",
        SCRIPT.replace("['__main__']", "['package.mod']").replace("['__mp_main__']", "['package.mod']"),
    )
    done = subprocess.run(
        [sys.executable, "-m", "package.mod", run_id], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "{'package.mod:Greeter': None}",
        "package.mod True True True b''",
        "package.mod True True True b''",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 1])
def test_a_fork_that_ends_before_it_has_made_the_agent_costs_a_zygote_and_no_launch(run, home, tmp_path, code) -> None:
    flag = tmp_path / "once"
    write(
        tmp_path,
        "fragile",
        f"""
        import os, pathlib

        def end():
            if not (flag := pathlib.Path({str(flag)!r})).exists():
                flag.touch()
                os._exit({code})

        os.register_at_fork(after_in_child=end)
        class Agent: pass
        """,
    )

    async def main() -> None:
        async with home() as here:
            here.launcher._nursery.path = (str(tmp_path), *here.launcher._nursery.path)
            here.launcher.renew()
            assert await here.launcher.load(["fragile:Agent"]) == {"fragile:Agent": None}
            zygote = here.zygote()
            agent = await here.launch("echo", b"all the same")
            assert (agent.how, await here.hear(agent)) == ("fork", b"all the same")
            assert flag.exists()
            assert here.zygote() != zygote

    run(main())
