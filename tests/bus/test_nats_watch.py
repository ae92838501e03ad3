"""A connection is pinged for as long as it lasts; a server that says nothing, and a look that fails, are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from actorsys.bus.nats_watch import Watch
from actorsys.testing.waiting import eventually

SOON, NEVER = 0.001, 60.0


class Server:
    """Answers pings as long as it is told to; notes what the watch does."""

    def __init__(self) -> None:
        self.is_silent = self.is_due = False
        self.wait = SOON
        self.pongs: list[asyncio.Future[bool]] = []
        self.answered = self.looked = 0
        self.failures: list[Exception] = []
        self.look_fails: Exception | None = None
        self.may_look = asyncio.Event()
        self.may_look.set()

    def ping(self) -> "asyncio.Future[bool]":
        self.pongs.append(pong := asyncio.get_running_loop().create_future())
        if not self.is_silent:
            pong.set_result(True)
        return pong

    def count(self) -> None:
        self.answered += 1

    async def look(self) -> None:
        self.looked += 1
        await self.may_look.wait()
        if self.look_fails is not None:
            raise self.look_fails

    @asynccontextmanager
    async def watched(self, timeout: float = NEVER) -> AsyncIterator[Watch]:
        watch = Watch(
            self.ping,
            wait=lambda: self.wait,
            timeout=timeout,
            answered=self.count,
            failed=self.failures.append,
            is_due=lambda: self.is_due,
            look=self.look,
        )
        watch.start()
        try:
            yield watch
        finally:
            await watch.close()


def test_a_server_that_answers_is_pinged_again_and_again_without_a_task(run: Any) -> None:
    async def main() -> None:
        server = Server()
        before = asyncio.all_tasks()
        async with server.watched():
            await eventually(lambda: server.answered >= 5)
            assert asyncio.all_tasks() == before
        assert server.failures == []

    run(main)


def test_a_server_that_does_not_answer_in_time_is_told(run: Any) -> None:
    async def main() -> None:
        server = Server()
        server.is_silent = True
        async with server.watched(timeout=0.02):
            await eventually(lambda: server.failures)
        assert [str(error) for error in server.failures] == ["the server did not answer a ping within 0.02 s"]
        assert len(server.pongs) == 1

    run(main)


def test_a_ping_that_ends_with_its_connection_says_nothing(run: Any) -> None:
    async def main() -> None:
        server = Server()
        server.is_silent = True
        async with server.watched():
            await eventually(lambda: server.pongs)
            server.pongs[0].set_exception(ConnectionError("the connection broke"))
            await asyncio.sleep(0)
        assert (server.answered, server.failures) == (0, [])

    run(main)


def test_when_more_is_due_it_looks_instead_and_pings_again_when_that_is_over(run: Any) -> None:
    async def main() -> None:
        server = Server()
        server.is_due = True
        async with server.watched():
            await eventually(lambda: server.looked >= 2)
            assert server.pongs == []
            server.is_due = False
            await eventually(lambda: server.answered)

    run(main)


def test_a_look_that_fails_is_told(run: Any) -> None:
    async def main() -> None:
        server = Server()
        server.is_due, server.look_fails = True, OSError("no")
        async with server.watched():
            await eventually(lambda: server.failures)
        assert (server.failures, server.looked) == ([server.look_fails], 1)

    run(main)


def test_the_end_of_a_watch_ends_its_look(run: Any) -> None:
    async def main() -> None:
        server = Server()
        server.is_due = True
        server.may_look.clear()
        async with server.watched():
            await eventually(lambda: server.looked)
        assert (server.looked, server.failures) == (1, [])

    run(main)


def test_a_watch_that_rests_can_be_hastened_and_one_that_waits_for_an_answer_need_not_be(run: Any) -> None:
    async def main() -> None:
        server = Server()
        server.wait = NEVER
        async with server.watched() as watch:
            server.wait, server.is_silent = SOON, True
            watch.hasten()
            await eventually(lambda: server.pongs)
            watch.hasten()
            await asyncio.sleep(2 * SOON)
            assert len(server.pongs) == 1
        watch.hasten()
        assert (len(server.pongs), server.failures) == (1, [])

    run(main)


def test_to_hasten_a_watch_never_puts_its_ping_off(run: Any) -> None:
    async def main() -> None:
        server = Server()
        server.wait = 0.05
        async with server.watched() as watch:
            server.wait = NEVER
            watch.hasten()
            await eventually(lambda: server.pongs)

    run(main)
