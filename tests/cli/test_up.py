import asyncio
import logging
import os
import signal

import pytest

from actorsys.cli.options import Settings
from actorsys.cli.up import serve
from actorsys.errors import StartFailed

# The command as a whole, with real processes, is tested in tests/system.


class Supervisor:
    """Does nothing, and records what it was told."""

    name, control_path, nats_urls = "shop", "/run/control.sock", ["nats://here:1"]

    def __init__(self):
        self.calls = []
        self.code = asyncio.get_running_loop().create_future()
        self.on_stop = lambda: None

    async def start(self):
        self.calls.append("start")

    async def wait_stopped(self):
        self.calls.append("wait_stopped")
        return await self.code

    async def stop(self):
        self.calls.append("stop")
        self.on_stop()
        await asyncio.sleep(0)

    def kill_now(self):
        self.calls.append("kill_now")


@pytest.fixture
def serving():
    """Serve a supervisor that `prepare` has set up; the exit code (or "forced") and its calls."""

    def serving(prepare):
        async def main():
            supervisor = Supervisor()
            prepare(supervisor)
            forced = asyncio.get_running_loop().create_future()
            served = asyncio.ensure_future(serve(supervisor, Settings(), lambda: forced.set_result("forced")))
            await asyncio.wait({served, forced}, return_when=asyncio.FIRST_COMPLETED)
            if not served.done():
                served.cancel()
                await asyncio.wait({served})
            return (forced.result() if forced.done() else served.result()), supervisor.calls

        return asyncio.run(main())

    return serving


def later(number):
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)


def replace(supervisor, name, does):
    async def replaced():
        supervisor.calls.append(name)
        await does()

    setattr(supervisor, name, replaced)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_in_order_and_ends_with_0(serving, number):
    code, calls = serving(lambda supervisor: supervisor.code.get_loop().call_later(0.02, os.kill, os.getpid(), number))
    assert (code, calls) == (0, ["start", "wait_stopped", "stop"])


def test_the_second_signal_kills(serving):
    async def again():
        later(signal.SIGINT)
        await asyncio.Event().wait()

    def prepare(supervisor):
        replace(supervisor, "stop", again)
        supervisor.code.get_loop().call_later(0.02, os.kill, os.getpid(), signal.SIGINT)

    assert serving(prepare) == ("forced", ["start", "wait_stopped", "stop", "kill_now"])


def test_a_signal_during_the_start_stops_what_has_started(serving):
    async def forever():
        later(signal.SIGTERM)
        await asyncio.Event().wait()

    assert serving(lambda supervisor: replace(supervisor, "start", forever)) == (0, ["start", "stop"])


def test_a_supervisor_that_ends_by_itself_gives_the_exit_code(serving):
    assert serving(lambda supervisor: supervisor.code.set_result(1)) == (1, ["start", "wait_stopped"])


def test_an_error_of_the_start_is_raised(serving):
    async def fail():
        raise StartFailed("no")

    with pytest.raises(StartFailed):
        serving(lambda supervisor: replace(supervisor, "start", fail))


def test_it_says_where_it_is_and_what_to_try_next(serving, caplog):
    caplog.set_level(logging.INFO, "actorsys")
    serving(lambda supervisor: supervisor.code.set_result(0))
    assert "control socket: /run/control.sock" in caplog.text
    assert "NATS: nats://here:1" in caplog.text
    assert all(
        f"`{text}`" in caplog.text or f"`{text} PID`" in caplog.text for text in ("actorsys ps", "kill -9", "actorsys why NAME")
    )


@pytest.mark.parametrize(("outcome", "text"), [(None, ""), (ValueError("bad key"), "the configuration was not applied")])
def test_sighup_reads_the_configuration_again(serving, caplog, outcome, text):
    def prepare(supervisor):
        async def reload():
            supervisor.calls.append("reload")
            supervisor.code.set_result(0)
            if outcome:
                raise outcome

        supervisor.reload = reload
        supervisor.code.get_loop().call_later(0.02, os.kill, os.getpid(), signal.SIGHUP)

    assert serving(prepare) == (0, ["start", "wait_stopped", "reload"])
    assert text in caplog.text


def test_sighup_without_reload_says_so_and_goes_on(serving, caplog):
    def prepare(supervisor):
        loop = supervisor.code.get_loop()
        loop.call_later(0.02, os.kill, os.getpid(), signal.SIGHUP)
        loop.call_later(0.04, os.kill, os.getpid(), signal.SIGTERM)

    assert serving(prepare)[0] == 0
    assert "cannot read its configuration again" in caplog.text


def test_a_broken_file_starts_nothing(run, tmp_path):
    (tmp_path / "agents.toml").write_text('[agents.counter]\ntype = "m:A"\nreplcas = 2\n')
    for words in (["supervise"], ["supervise", "agents.toml"], ["check"], ["-f", "agents.toml", "check"]):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (78, "")
        assert result.stderr.splitlines() == [
            'agents.toml:3:1  agents.counter.replcas: unknown field; did you mean "replicas"?',
            "1 error; nothing was started or changed",
            "hint: correct that, then look again with `actorsys check`",
        ]
    assert list(tmp_path.iterdir()) == [tmp_path / "agents.toml"]


def test_a_missing_file_says_how_to_give_another(run):
    result = run("supervise")
    assert result.exit_code == 78
    assert result.stderr.startswith("agents.toml: there is no such file; give the path of yours")
