"""A connection on which nothing is sent is tried seldom, and one on which something is, or that was refused something, as often as ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.testing.waiting import eventually

QUIET = {"ping_interval": 0.1, "ping_timeout": 0.3, "quiet_interval": 60.0}
DENIED = 'authorization {{ users: [ {{ user: "me", password: "geheim"{} }} ] }}'


async def ignore(_: Incoming) -> None: ...


async def rests(bus: NatsBus) -> None:
    """Return when its next ping is not due for long."""

    def is_far_off() -> bool:
        watch: Any = bus._link._watch
        return watch is not None and watch._is_resting and watch._timer.when() - asyncio.get_running_loop().time() > 30

    await eventually(is_far_off)


async def publish_twice(bus: NatsBus) -> None:
    for _ in range(2):
        await bus.publish("s", bytes(5 * 2**18))


async def leave(bus: NatsBus) -> None:
    await next(iter(bus._subscriptions)).unsubscribe()


SENDING: dict[str, Callable[[NatsBus], Awaitable[Any]]] = {
    "a message": lambda bus: bus.publish("s", b""),
    "with headers": lambda bus: bus.publish("s", b"", headers={"Key": "value"}),
    "more than fits the buffer": lambda bus: bus.publish("s", bytes(5 * 2**19)),
    "twice half of it": publish_twice,
    "a request": lambda bus: bus.request("s", b"", 30.0),
    "to JetStream": lambda bus: bus.client.jetstream(timeout=30).publish("s", b""),
    "a flush that fails": lambda bus: bus.flush(0.01),
    "a subscription": lambda bus: bus.subscribe("s", ignore),
    "the end of one": leave,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", SENDING)
def test_a_frozen_server_is_noticed_within_the_usual_time_by_who_sends_something(run: Any, nats_server: Any, what: str) -> None:
    async def main() -> None:
        async with nats_server(max_payload=2**22) as server, NatsBus(server.options(**QUIET)) as bus:
            await bus.wait_connected(5.0)
            await bus.subscribe("t", ignore)
            await rests(bus)
            server.freeze()
            sending = asyncio.ensure_future(SENDING[what](bus))
            await eventually(lambda: bus.state == "connecting", 5.0)
            assert "ping" in bus.reason
            server.thaw()
            await bus.wait_connected(5.0)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    run(main)


def test_an_answer_to_the_server_s_own_ping_is_not_something_that_was_sent(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options(**QUIET)) as bus:
            await bus.wait_connected(5.0)
            await rests(bus)
            watch: Any = bus._link._watch
            due = watch._timer.when()
            await bus.client._process_ping()
            assert watch._timer.when() == due
            await bus.flush()
            assert watch._timer.when() < due

    run(main)


@pytest.mark.slow
def test_what_was_sent_is_confirmed_before_a_connection_counts_as_quiet_again(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with nats_server() as server, NatsBus(server.options(**QUIET)) as bus:
            await bus.wait_connected(5.0)
            for number in range(3):
                await rests(bus)
                await bus.publish("s", b"%d" % number)
                await asyncio.sleep(0)
                await rests(bus)
                assert bus._link._confirmed == bus.stats().out_messages == number + 1
            server.kill()
            await eventually(lambda: bus.state == "connecting")
            assert bus.stats().unconfirmed == 0

    run(main)


@pytest.mark.slow
def test_a_quiet_connection_asks_soon_for_what_a_reload_took_away(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        login = {"token": "", "user": "me", "password": "geheim"}
        async with nats_server(authorization=DENIED.format("")) as server, NatsBus(server.options(**login, **QUIET)) as bus:
            await bus.wait_connected(5.0)
            await bus.subscribe("s", ignore)
            await rests(bus)
            server.reload(authorization=DENIED.format(", permissions: { subscribe: { deny: [s] } }"))
            await eventually(lambda: bus.stats().refused == 1)
            server.reload(authorization=DENIED.format(""))
            await eventually(lambda: bus.stats().refused == 0, 5.0)
            await rests(bus)

    run(main)
