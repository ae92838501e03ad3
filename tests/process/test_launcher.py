"""An agent is born with what it needs and nothing else, and its true end is told."""

import asyncio
import json
import logging
import multiprocessing
import os
import resource
import socket
import subprocess
import sys

import pytest

from actorsys.errors import StartFailed
from actorsys.process.launcher import Launcher, Order, Status

BOTH = pytest.mark.parametrize("how", ["fork", "fresh"])


@BOTH
def test_an_agent_gets_its_payload_and_a_connection(run, home, how) -> None:
    async def main() -> None:
        async with home() as here:
            agent = await here.launch("echo", b"payload" * 100_000, how=how)
            assert agent.how == how
            assert await here.hear(agent) == b"payload" * 100_000
            agent.connection.send_bytes(b"more")
            assert await here.hear(agent) == b"more"
            agent.connection.close()
            status, output = await here.end(agent)
            assert (status.exit_code, status.signal, output) == (0, None, "")
            assert status.max_rss_bytes > 2**20

    run(main())


@BOTH
@pytest.mark.parametrize(
    ("entry", "payload", "code", "signal"),
    [("leave", b"7", 7, None), ("say_exit", b"9", 9, None), ("crash", b"", 1, None), ("segfault", b"", None, "SIGSEGV")],
)
@pytest.mark.slow
def test_the_exit_status_is_the_true_one(run, home, how, entry, payload, code, signal) -> None:
    async def main() -> None:
        async with home() as here:
            status, output = await here.end(await here.launch(entry, payload, how=how))
            assert (status.exit_code, status.signal) == (code, signal)
            if entry == "crash":
                assert output.startswith("before the crash")
                assert "ValueError: on purpose: \\udcff" in output
                assert "birth.py" not in output
            if entry == "segfault":
                assert "Fatal Python error: Segmentation fault" in output

    run(main())


def way_bytes(end) -> int:
    with socket.socket(fileno=os.dup(end.fileno())) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other defaults")
@BOTH
def test_more_may_be_on_its_way_between_supervisor_and_agent_than_the_kernel_allows_by_itself(run, home, how) -> None:
    async def main() -> None:
        async with home() as here:
            agent = await here.launch("look", how=how)
            one, two = multiprocessing.Pipe()
            with one, two:
                usual = way_bytes(one)
            assert way_bytes(agent.connection) > usual
            assert json.loads(await here.hear(agent))["way_bytes"] > usual

    run(main())


def test_a_killed_agent_says_so_even_if_it_spins(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            agent = await here.launch("spin")
            await here.hear(agent)
            agent.kill()
            assert (await agent.exited).signal == "SIGKILL"
            agent.kill()  # nothing happens
            agent.close()

    run(main())


@BOTH
@pytest.mark.slow
def test_an_agent_holds_nothing_but_its_own(run, home, how) -> None:
    async def main() -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with home() as here:
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limit[1], limit[1])
            await here.launch("spin")  # its descriptors must not show up in the next one
            found = json.loads(await here.hear(await here.launch("look", how=how, name="eye/3", env={"GIVEN": "yes"})))
            assert set(found["fds"]) == {"0", "1", "2", "3"}
            assert found["fds"]["0"] == "/dev/null"
            assert found["fds"]["1"] == found["fds"]["2"]
            assert found["fds"]["1"].startswith("pipe:")
            assert found["fds"]["3"].startswith("socket:")
            assert found["inheritable"] is False
            assert found["session"] is True
            assert found["parent"] == here.keeper
            assert found["nofile"] == limit[0]
            assert found["oom"] >= 500
            assert found["mark"] == f"{here.launcher.run}/eye/3/2"
            assert found["given"] == "yes"
            assert found["sigterm"] is True
            assert found["blocked"] == 0
            assert found["encoding"] == ["utf-8", "backslashreplace", True]
            assert found["cwd"] == os.getcwd()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == limit

    run(main())


@BOTH
@pytest.mark.slow
def test_its_environment_need_not_be_utf_8(run, home, how) -> None:
    async def main() -> None:
        async with home() as here:
            found = json.loads(await here.hear(await here.launch("look", how=how, env={"GIVEN": "\udcff"})))
            assert found["given"] == "\udcff"

    run(main())


@pytest.mark.slow
def test_no_descriptor_is_left_after_many_launches(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            await here.end(await here.launch("leave", b"0"))
            before = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), here.keeper, here.zygote())}
            for _ in range(5):
                for agent in await asyncio.gather(*(here.launch("leave", b"0") for _ in range(10))):
                    await here.end(agent)
            assert {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in before} == before

    run(main())


def test_a_child_of_the_host_is_not_touched(run, home) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read(); sys.exit(5)"], stdin=subprocess.PIPE)

    async def main() -> None:
        async with home() as here:
            await here.end(await here.launch("leave", b"0"))
            child.stdin.close()
            assert await here.soon(lambda: os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
            await here.end(await here.launch("leave", b"0"))
        assert child.wait() == 5

    run(main())


def test_a_fork_that_the_system_refuses_is_a_start_failed_with_its_words(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            zygote = here.zygote()
            # Every process of root may exceed its number, so the one call is made to fail where it is made.
            await here.launcher.load(["no_more_processes"])
            with pytest.raises(StartFailed, match="agent could not be started: Resource temporarily unavailable"):
                await here.launch("leave", b"0")
            assert here.zygote() == zygote

    run(main())


def test_a_program_that_does_not_exist_is_a_start_failed(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            with pytest.raises(StartFailed, match="No such file or directory"):
                await here.launcher.run_program(["/no/such/server"], name="server")

    run(main())


def test_a_program_runs_until_it_is_told_to_end(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            program = await here.launcher.run_program(
                ["/bin/sh", "-c", "echo $WORD; exec sleep 300"], name="server", env={"WORD": "hello"}
            )
            assert await here.soon(program.read_output) == b"hello\n"
            program.signal(15)
            assert await program.exited == Status(None, "SIGTERM", (await program.exited).max_rss_bytes)
            program.close()
            other = await here.launcher.run_program(["/bin/sleep", "300"], name="server")
        assert (await other.exited).signal == "SIGKILL"
        other.close()

    run(main())


def test_closing_ends_all_and_twice_is_once(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            agents = await asyncio.gather(*(here.launch("spin") for _ in range(5)))
            keeper = here.keeper
            await here.launcher.close()
            assert [agent.exited.result().signal for agent in agents] == ["SIGKILL"] * 5
            assert not here.is_alive(keeper)
            await here.launcher.close()
            with pytest.raises(StartFailed, match="closed"):
                await here.launch("spin")

    run(main())


def test_kill_now_needs_no_loop(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            agent = await here.launch("spin")
            here.launcher.kill_now()
            assert not here.is_alive(agent.pid)
            assert (await agent.exited).signal == "SIGKILL"

    run(main())


def test_a_launch_that_nobody_waits_for_any_more_leaves_nothing(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            zygote = here.zygote()
            os.kill(zygote, 19)
            launch = asyncio.create_task(here.launch("spin"))
            await here.soon(lambda: here.launcher._nursery.keeper._open)
            launch.cancel()
            await asyncio.wait([launch])
            os.kill(zygote, 18)
            other = await here.launch("echo", b"next")  # the cancelled one was made before this
            assert await here.hear(other) == b"next"
            from actorsys.process.sweep import remains_of

            assert await here.soon(lambda: set(remains_of(here.launcher.run)) == {other.pid, zygote, here.keeper})

    run(main())


def test_it_works_in_a_host_with_threads(run, home) -> None:
    async def main() -> None:
        async with home() as here:
            results = await asyncio.gather(*(asyncio.to_thread(sum, range(1000)) for _ in range(4)))
            agent = await here.launch("echo", b"hi")
            assert (results[0], await here.hear(agent)) == (499500, b"hi")

    run(main())


def test_before_the_start_nothing_is_open_and_closing_is_allowed() -> None:
    asyncio.run(Launcher("test-unused").close())


def test_a_preload_that_leaves_a_thread_means_fresh_interpreters_with_a_reason(run, home, caplog) -> None:
    async def main() -> None:
        async with home(preload=["threaded"]) as here:
            agent = await here.launch("leave", b"3")
            assert (agent.how, (await here.end(agent))[0].exit_code) == ("fresh", 3)
            assert "left 1 thread running (preload: threaded)" in agent.why_fresh
            with pytest.raises(StartFailed, match='launch = "fork", but it cannot be forked: the loaded modules left 1 thread'):
                await here.launch("leave", b"3", how="fork")

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "agents start in fresh interpreters" in caplog.text


def test_an_order_is_a_value() -> None:
    assert Order(name="a", incarnation=1, entry="m:f") == Order(name="a", incarnation=1, entry="m:f")
