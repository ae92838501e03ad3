"""What every bus promises: the local one and the one over NATS, on both event loops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from actorsys.bus.base import Bus, Incoming
from actorsys.bus.local import LocalBus, LocalHub
from actorsys.bus.nats import NatsBus
from actorsys.errors import AskTimeout, BadMessage, UnknownAgent, Unreachable
from actorsys.testing.nats import eventually, require_server, run_server

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class World:
    """Makes buses that talk to each other, and takes the thing between them away."""

    def __init__(self, new: Callable[[], Bus], stop: Callable[[], None], start: Callable[[], Awaitable[None]]) -> None:
        self._new = new
        self.stop = stop
        self.start = start
        self.buses: list[Bus] = []

    async def bus(self) -> Bus:
        bus = self._new()
        self.buses.append(bus)
        await bus.start()
        await bus.wait_connected(5.0)
        return bus


@asynccontextmanager
async def local_world(_: Path) -> AsyncIterator[World]:
    hub = LocalHub()

    async def start() -> None:
        hub.start()

    yield World(lambda: LocalBus(hub), hub.stop, start)


@asynccontextmanager
async def nats_world(folder: Path) -> AsyncIterator[World]:
    async with run_server(folder / "nats") as server:
        yield World(lambda: NatsBus(server.options()), server.kill, server.start)


WORLDS = {"local": local_world, "nats": nats_world}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    def runner(main: Any) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as loop:
            loop.run(main)

    return runner


@pytest.fixture(params=WORLDS)
def check(request: pytest.FixtureRequest, run: Any, tmp_path: Path) -> Callable[[Callable[[World], Awaitable[None]]], None]:
    """Run a test body in a world; close its buses whatever happens, and see that no task is left."""
    if request.param == "nats":
        require_server()

    async def guarded(body: Callable[[World], Awaitable[None]]) -> None:
        async with asyncio.timeout(30), AsyncExitStack() as stack:
            world = await stack.enter_async_context(WORLDS[request.param](tmp_path))
            try:
                await body(world)
            finally:
                for bus in world.buses:
                    await bus.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    return lambda body: run(guarded(body))


class Collector:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[Incoming] = []

    async def __call__(self, incoming: Incoming) -> None:
        self.messages.append(incoming)

    @property
    def payloads(self) -> list[bytes]:
        return [incoming.payload for incoming in self.messages]


async def echo_on(bus: Bus, subject: str, **options: Any) -> None:
    async def echo(incoming: Incoming) -> None:
        await bus.publish(incoming.reply, b"echo " + incoming.payload)

    await bus.subscribe(subject, echo, **options)


def test_messages_arrive_in_order_with_reply_and_headers(check: Any) -> None:
    async def body(world: World) -> None:
        one, two = await world.bus(), await world.bus()
        got = Collector()
        await two.subscribe("a.b", got)
        for number in range(500):
            await one.publish("a.b", b"%d" % number, reply="r.x", headers={"Key": "väl ue"})
        await eventually(lambda: len(got.messages) == 500)
        assert got.payloads == [b"%d" % number for number in range(500)]
        first = got.messages[0]
        assert (first.subject, first.reply, dict(first.headers or {})) == ("a.b", "r.x", {"Key": "väl ue"})
        assert one.stats().out_messages == 500
        assert two.stats().in_messages == 500

    check(body)


def test_wildcards_match_as_the_server_matches(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        star, rest = Collector(), Collector()
        await bus.subscribe("x.*.z", star)
        await bus.subscribe("x.>", rest)
        for subject in ("x.y.z", "x.y", "x", "x.y.z.w", "y.y.z"):
            await bus.publish(subject, b"")
        await bus.flush()
        await eventually(lambda: len(rest.messages) >= 3)
        assert [incoming.subject for incoming in star.messages] == ["x.y.z"]
        assert [incoming.subject for incoming in rest.messages] == ["x.y.z", "x.y", "x.y.z.w"]

    check(body)


def test_of_a_queue_group_one_member_gets_each_message(check: Any) -> None:
    async def body(world: World) -> None:
        members = [Collector(), Collector(), Collector()]
        everyone = Collector()
        for member in members:
            await (await world.bus()).subscribe("work", member, queue="group")
        watcher = await world.bus()
        await watcher.subscribe("work", everyone)
        for number in range(300):
            await watcher.publish("work", b"%d" % number)
        await eventually(lambda: sum(len(member.messages) for member in members) == 300)
        await eventually(lambda: len(everyone.messages) == 300)
        assert sorted(payload for member in members for payload in member.payloads) == sorted(everyone.payloads)
        assert all(len(member.messages) > 30 for member in members)

    check(body)


def test_a_request_gets_the_first_answer(check: Any) -> None:
    async def body(world: World) -> None:
        asker, answerer = await world.bus(), await world.bus()
        await echo_on(answerer, "q", concurrency=64)
        answers = await asyncio.gather(*(asker.request("q", b"%d" % number, 5.0) for number in range(200)))
        assert [answer.payload for answer in answers] == [b"echo %d" % number for number in range(200)]

    check(body)


def test_a_request_nobody_listens_to_fails_at_once(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        async with asyncio.timeout(2.0):
            with pytest.raises(UnknownAgent, match=r"nobody listens on 'agents\.request\.ghost'"):
                await bus.request("agents.request.ghost", b"", 60.0)

    check(body)


def test_a_request_without_an_answer_times_out(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        await bus.subscribe("silent", Collector())
        with pytest.raises(AskTimeout, match=r"'silent' within 0\.05 s"):
            await bus.request("silent", b"", 0.05)

    check(body)


def test_a_handler_that_raises_does_not_end_the_subscription(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        seen = []

        async def fails(incoming: Incoming) -> None:
            seen.append(incoming.payload)
            if incoming.payload == b"cancel":
                raise asyncio.CancelledError
            raise RuntimeError("no")

        await bus.subscribe("s", fails)
        for payload in (b"raise", b"cancel", b"again"):
            await bus.publish("s", payload)
        await eventually(lambda: len(seen) == 3)
        await eventually(lambda: bus.stats().handler_errors == 3)

    check(body)


def test_a_handler_that_returns_nothing_to_wait_for_keeps_its_place_in_the_line(check: Any) -> None:
    async def body(world: World) -> None:
        one, two = await world.bus(), await world.bus()
        got: list[bytes] = []
        slow = asyncio.Event()

        async def wait(payload: bytes) -> None:
            await slow.wait()
            got.append(payload)

        def handle(incoming: Incoming) -> Awaitable[None] | None:
            if incoming.payload == b"bad":
                raise ValueError("not that")
            if incoming.payload == b"slow":
                return wait(incoming.payload)
            got.append(incoming.payload)
            return None

        await two.subscribe("a.b", handle)
        for payload in (b"1", b"bad", b"2", b"slow", b"3", b"bad", b"4"):
            await one.publish("a.b", payload)
        await eventually(lambda: two.stats().in_messages == 7)
        assert got == [b"1", b"2"]
        slow.set()
        await eventually(lambda: len(got) == 5)
        assert got == [b"1", b"2", b"slow", b"3", b"4"]
        assert two.stats().handler_errors == 2

    check(body)


def test_what_was_begun_but_not_waited_for_ends_with_its_subscription(check: Any) -> None:
    async def body(world: World) -> None:
        one, two = await world.bus(), await world.bus()
        calls: list[Incoming] = []

        async def handle(incoming: Incoming) -> None:
            calls.append(incoming)

        inbound = await two.subscribe("a.b", handle)
        inbound.deliver(Incoming("a.b", b"x"))  # type: ignore[attr-defined]  # as the reader does, just before the end
        await inbound.unsubscribe()
        assert calls == []
        assert inbound.dropped == 1
        await one.publish("a.b", b"y")

    check(body)


def test_handlers_run_one_at_a_time_unless_told_otherwise(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        for concurrency, subject in ((1, "serial"), (4, "wide")):
            running, most, done = 0, 0, 0

            async def handler(_: Incoming) -> None:
                nonlocal running, most, done
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.001)
                running -= 1
                done += 1

            await bus.subscribe(subject, handler, concurrency=concurrency)
            for _ in range(20):
                await bus.publish(subject, b"")
            await eventually(lambda: done == 20)  # noqa: B023 - used within this turn of the loop
            assert most == concurrency

    check(body)


def test_a_full_subscription_drops_and_counts(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        go = asyncio.Event()
        handled = []

        async def slow(incoming: Incoming) -> None:
            await go.wait()
            handled.append(incoming.payload)

        by_count = await bus.subscribe("n", slow, max_messages=10)
        by_bytes = await bus.subscribe("b", slow, max_bytes=1000)
        for _ in range(100):
            await bus.publish("n", b"n")
            await bus.publish("b", b"b" * 400)
        await bus.flush()
        await eventually(lambda: bus.stats().in_messages == 200)
        go.set()
        await eventually(lambda: len(handled) + bus.stats().dropped == 200)
        # One may already be in its handler when the rest arrive.
        assert by_count.dropped in (89, 90)
        assert by_bytes.dropped in (97, 98)

    check(body)


def test_what_finds_no_room_is_given_to_who_answers_it_also_while_the_handlers_wait(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        go = asyncio.Event()

        async def slow(incoming: Incoming) -> None:
            await go.wait()
            await bus.publish(incoming.reply, b"done")

        async def refuse(incoming: Incoming) -> None:
            await bus.publish(incoming.reply, b"full")
            raise ValueError("counted, and the next one is answered")

        subscription = await bus.subscribe("n", slow, max_messages=10, on_full=refuse)
        asked = [asyncio.create_task(bus.request("n", b"", 5.0)) for _ in range(100)]
        await eventually(lambda: sum(each.done() for each in asked) == 90)
        assert {each.result().payload for each in asked if each.done()} == {b"full"}
        assert (subscription.dropped, bus.stats().dropped) == (90, 90)
        go.set()
        assert [(await each).payload for each in asked] == [b"done"] * 10 + [b"full"] * 90
        await eventually(lambda: bus.stats().handler_errors == 90)

    check(body)


def test_unsubscribe_ends_delivery_and_interest(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        got = Collector()
        subscription = await bus.subscribe("q", got)
        assert bus.stats().subscriptions == 1
        await subscription.unsubscribe()
        assert bus.stats().subscriptions == 0
        with pytest.raises(UnknownAgent):
            await bus.request("q", b"", 5.0)
        assert got.messages == []

    check(body)


def test_drain_handles_what_has_arrived(check: Any) -> None:
    async def body(world: World) -> None:
        sender, receiver = await world.bus(), await world.bus()
        handled = []
        answers = Collector()
        await sender.subscribe("done", answers)

        async def slow(incoming: Incoming) -> None:
            await asyncio.sleep(0.001)
            handled.append(incoming.payload)
            await receiver.publish("done", incoming.payload)

        await receiver.subscribe("s", slow)
        for number in range(50):
            await sender.publish("s", b"%d" % number)
        await sender.flush()
        await receiver.drain(5.0)
        assert handled == [b"%d" % number for number in range(50)]
        assert receiver.state == "off"
        await eventually(lambda: len(answers.messages) == 50)

    check(body)


def test_drain_is_bounded_in_time(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        started = asyncio.Event()

        async def stuck(_: Incoming) -> None:
            started.set()
            await asyncio.Event().wait()

        await bus.subscribe("s", stuck)
        await bus.publish("s", b"")
        await started.wait()
        async with asyncio.timeout(3.0):
            await bus.drain(0.1)
        assert bus.state == "off"

    check(body)


def test_wrong_input_is_refused_before_it_leaves(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        for subject in ("", "a..b", ".a", "a.", "a b", "a\r\nPUB x 0", "a.*", "a.>", "ä", "a" * 256, "a\0"):
            with pytest.raises(BadMessage) as caught:
                await bus.publish(subject, b"")
            assert caught.value.field == "subject"
        for pattern in ("", "a.>.b", "a*", ">a", "a..*"):
            with pytest.raises(BadMessage):
                await bus.subscribe(pattern, Collector())
        with pytest.raises(BadMessage):
            await bus.subscribe("a", Collector(), queue="a b")
        for headers in ({"a b": "x"}, {"a": "x\r\ny"}, {"": "x"}, {"a": "\ud800"}):
            with pytest.raises(BadMessage) as caught:
                await bus.publish("a", b"", headers=headers)
            assert (caught.value.field or "").startswith("headers.")
        with pytest.raises(BadMessage):
            await bus.publish_json("a", object())
        assert bus.is_connected
        assert bus.stats().out_messages == 0

    check(body)


def test_payload_and_headers_together_have_a_limit(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        got = Collector()
        await bus.subscribe("big", got)
        await bus.publish("big", b"x" * 2**20)
        for payload, headers in ((2**20 + 1, None), (2**20 - 5, {"Key": "value"})):
            with pytest.raises(BadMessage, match="at most 1048576") as caught:
                await bus.publish("big", b"x" * payload, headers=headers)
            assert caught.value.field == "payload"
        with pytest.raises(BadMessage):
            await bus.request("big", b"x" * (2**20 + 1), 1.0)
        await bus.publish("big", b"after")
        await eventually(lambda: len(got.messages) == 2)
        assert bus.stats().disconnects == 0

    check(body)


def test_while_it_is_away_publications_wait_and_requests_fail(check: Any) -> None:
    async def body(world: World) -> None:
        one, two = await world.bus(), await world.bus()
        got = Collector()
        await two.subscribe("s", got)
        world.stop()
        await eventually(lambda: one.state == two.state == "connecting")
        assert one.reason
        assert not one.is_connected
        async with asyncio.timeout(1.0):
            with pytest.raises(Unreachable):
                await one.request("s", b"", 60.0)
            with pytest.raises(Unreachable):
                await one.wait_connected(0.02)
        late = Collector()
        await two.subscribe("late", late)
        for number in range(200):
            await two.publish("s", b"%d" % number)
        assert two.stats().buffered == 200
        await world.start()
        await eventually(lambda: len(got.messages) == 200)
        assert got.payloads == [b"%d" % number for number in range(200)]
        await eventually(lambda: one.is_connected)
        await one.publish("late", b"")
        await eventually(lambda: len(late.messages) == 1)
        assert (two.stats().connects, two.stats().disconnects, two.stats().buffered) == (2, 1, 0)

    check(body)


def test_what_waits_for_a_connection_is_bounded(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        world.stop()
        await eventually(lambda: bus.state == "connecting")
        for _ in range(20):  # 2 MiB
            await bus.publish("s", b"x" * 100_000)
        with pytest.raises(Unreachable, match="leave no room"):
            await bus.publish("s", b"x" * 100_000)
        assert bus.stats().buffered == 20
        await bus.close()
        assert bus.stats().unsent == 20

    check(body)


def test_a_closed_bus_is_off_for_good(check: Any) -> None:
    async def body(world: World) -> None:
        bus = await world.bus()
        await bus.subscribe("s", Collector())
        answer = asyncio.create_task(bus.request("s", b"", 60.0))
        await eventually(lambda: bus.stats().in_messages == 1)
        await bus.close()
        await bus.close()
        assert bus.state == "off"
        with pytest.raises(Unreachable):
            await answer
        with pytest.raises(Unreachable):
            await bus.publish("s", b"")
        with pytest.raises(Unreachable):
            await bus.subscribe("s", Collector())
        with pytest.raises(Unreachable):
            await bus.wait_connected(60.0)
        with pytest.raises(Unreachable):
            await bus.flush()

    check(body)
