"""Who we are: NKeys, creds files, and what happens when they expire or change."""

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.bus.nats_creds import Term, expiry, is_creds, is_seed
from actorsys.testing.waiting import eventually

sys.path.append(str(Path(__file__).parent))

from operator_keys import USER, Key, Operator, replace  # found only now


@pytest.fixture(scope="module")
def operator() -> Operator:
    return Operator()


def test_what_a_creds_file_says_is_read(operator: Operator) -> None:
    assert expiry(operator.creds()) == math.inf
    assert expiry(operator.creds(100)) == pytest.approx(time.time() + 100, abs=2)
    assert is_creds(operator.creds())
    jwt_alone = operator.creds().partition("-----BEGIN USER NKEY SEED-----")[0]
    assert not is_creds(jwt_alone)
    for text in ("", "x", jwt_alone.replace(".", "-"), "-----BEGIN NATS USER JWT-----\na.e30x.c\n"):
        assert expiry(text) is None
        assert not is_creds(text)
    assert is_seed(Key(USER).seed.decode())
    assert not is_seed(Key(USER).public)


def test_newer_credentials_are_looked_for_a_minute_or_a_third_before_the_end() -> None:
    term = Term.of(1000.0, now=0.0)
    assert (term.wait(10.0, 935.0), term.wait(10.0, 925.0), term.wait(10.0, 950.0)) == (5.0, 10.0, 10.0)
    assert Term.of(math.inf, now=0.0) == Term.of(None, now=0.0) == Term()
    assert Term().wait(10.0, 1e12) == 10.0


async def works(bus: NatsBus, subject: str = "q") -> None:
    await bus.wait_connected(5.0)

    async def echo(incoming: Incoming) -> None:
        await bus.publish(incoming.reply, incoming.payload)

    await bus.subscribe(subject, echo)
    assert (await bus.request(subject, b"hi", 5.0)).payload == b"hi"


def test_an_nkey_logs_in_and_another_does_not(run: Any, nats_server: Any) -> None:
    ours, other = Key(USER), Key(USER)
    users = f"authorization {{ users: [ {{ nkey: {ours.public} }} ] }}"

    async def main() -> None:
        async with nats_server(authorization=users) as server:
            async with NatsBus(server.options(nkey_seed=ours.seed.decode())) as bus:
                await works(bus)
            async with NatsBus(server.options(nkey_seed=other.seed.decode())) as bus:
                await eventually(lambda: "the login is refused" in bus.reason)
                assert other.seed.decode() not in bus.reason

    run(main)


def test_creds_log_in_as_text_and_as_a_file(run: Any, nats_server: Any, operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "me.creds"
    file.write_text(operator.creds())

    async def main() -> None:
        async with nats_server(authorization=operator.authorization, jetstream=False) as server:
            for login in ({"creds": operator.creds()}, {"creds_file": str(file)}):
                async with NatsBus(server.options(**login)) as bus:
                    await works(bus)
            async with NatsBus(server.options(creds=Operator().creds())) as bus:
                await eventually(lambda: "the login is refused" in bus.reason)
            async with NatsBus(server.options(creds_file=str(tmp_path / "none.creds"))) as bus:
                await eventually(lambda: "none.creds" in bus.reason)

    run(main)


@pytest.mark.slow
def test_renewed_credentials_are_used_before_the_old_ones_expire(
    run: Any, nats_server: Any, operator: Operator, tmp_path: Path
) -> None:
    file = tmp_path / "me.creds"

    async def main() -> None:
        replace(file, operator.creds(1))
        async with nats_server(authorization=operator.authorization, jetstream=False) as server:
            async with NatsBus(server.options(creds_file=str(file))) as bus:
                await works(bus)
                replace(file, operator.creds(600))
                answers = 0
                while not bus.stats().moves:
                    assert (await bus.request("q", b"%d" % answers, 5.0)).payload == b"%d" % answers
                    answers += 1
                await works(bus, "other")
                stats = bus.stats()
                assert (stats.connects, stats.disconnects, stats.unconfirmed, stats.errors) == (2, 0, 0, 0)

    run(main)


@pytest.mark.slow
def test_credentials_that_expire_end_the_connection_and_newer_ones_bring_it_back(
    run: Any, nats_server: Any, operator: Operator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "me.creds"

    async def main() -> None:
        caplog.clear()
        replace(file, operator.creds(1))
        async with nats_server(authorization=operator.authorization, jetstream=False) as server:
            async with NatsBus(server.options(creds_file=str(file), refused_max=0.2)) as bus:
                await works(bus)
                await eventually(lambda: "the login is refused" in bus.reason)
                assert "expired" in caplog.text
                replace(file, operator.creds())
                await bus.wait_connected(5.0)
                assert (await bus.request("q", b"hi", 5.0)).payload == b"hi"
                assert bus.stats().disconnects == 1
        assert caplog.text.count("the NATS credentials expire in") == 1

    caplog.set_level(logging.INFO, "actorsys.bus")
    run(main)
