"""The plan of an embedded server, executed."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from actorsys.bus import nats_server
from actorsys.bus.nats import NatsBus
from actorsys.bus.nats_plan import pinned
from actorsys.errors import ConfigError, StartFailed
from actorsys.testing.nats import eventually, require_server, run_server


@pytest.fixture(autouse=True)
def _server() -> None:
    require_server()


def test_a_plan_is_private_valid_and_shows_no_secret(tmp_path: Path) -> None:
    plan = nats_server.plan(tmp_path / "a b" / "nats", name='odd "name"', websocket=True)
    nats_server.validate(plan)
    assert stat.S_IMODE(plan.config.stat().st_mode) == 0o600
    assert stat.S_IMODE(plan.folder.stat().st_mode) == 0o700
    assert plan.token not in repr(plan) + " ".join(plan.argv)
    assert len(plan.token) >= 32
    assert plan.token != nats_server.plan(tmp_path / "c", name="n").token
    assert "sync_interval: always" in plan.config.read_text()


def test_a_config_the_server_refuses_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        nats_server.validate(nats_server.plan(tmp_path, name="n", extra='nonsense: "x"'))


def test_ports_stay_the_same_when_it_comes_back(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with run_server(tmp_path / "nats", websocket=True) as server:
            first = server.info
            assert len(first.urls) == len(first.websocket_urls) == len(first.monitoring_urls) == 1
            for end in (server.kill, server.stop):
                end()
                await server.start()
                assert server.info == first
            async with NatsBus(server.options()) as bus:
                await bus.wait_connected(5.0)
                assert (await bus.client.jetstream().account_info()).limits
            nats_server.validate(server.plan)

    run(main)


def test_nobody_gets_in_without_the_token(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options(token="x")) as bus:
            assert server.url.startswith("nats://127.0.0.1:")
            await eventually(lambda: "refused" in bus.reason)

    run(main)


def test_a_server_that_dies_at_the_start_says_why(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with run_server(tmp_path / "one") as one:
            port = pinned(one.plan, one.info).port
            plan = nats_server.plan(tmp_path / "two", name="two", port=port)
            process = await asyncio.create_subprocess_exec(*plan.argv)
            with pytest.raises(StartFailed, match="ended while it started") as caught:
                await nats_server.wait_ready(plan, 10.0, lambda: process.returncode is None)
            assert "address already in use" in (caught.value.traceback or "")
            await process.wait()

    run(main)


def test_a_server_that_never_comes_is_given_up(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        plan = nats_server.plan(tmp_path, name="n")
        (plan.ports_folder / "nats-server_1.ports").write_text('{"nats": ["nats://127.0')  # half written
        with pytest.raises(StartFailed, match=r"not ready after 0\.05 s"):
            await nats_server.wait_ready(plan, 0.05, lambda: True)

    run(main)


def test_the_program_is_found_or_the_override_is_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nats_server.find_server()
    monkeypatch.setenv("ACTORSYS_NATS_SERVER", "/nowhere/nats-server")
    with pytest.raises(ConfigError) as caught:
        nats_server.find_server()
    assert caught.value.where == "ACTORSYS_NATS_SERVER"
    monkeypatch.delenv("ACTORSYS_NATS_SERVER")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nats_server.sysconfig, "get_path", lambda name: str(tmp_path))
    assert nats_server.find_server() is None
    with pytest.raises(ConfigError, match=r"actorsys\[server\]"):
        nats_server.plan(tmp_path, name="n")
