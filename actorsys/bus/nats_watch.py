"""Does the server still answer? One timer for each connection, and no task, as long as a ping is all that is due.

Agents that nobody asks anything do nothing else. Of a process that sleeps in between, a ping out of a task and with a timeout of its own
takes 0.45 ms of the processor, this one 0.3 (`make soak-nats`).
"""

import asyncio
from collections.abc import Awaitable, Callable


class Watch:
    """Pings after each `wait()` seconds: `answered` hears of each answer, `failed` when there was none within `timeout` seconds.

    When more `is_due()`, it calls `look` instead, and `failed` with what that raises.
    """

    def __init__(
        self,
        ping: "Callable[[], asyncio.Future[bool]]",
        *,
        wait: Callable[[], float],
        timeout: float,
        answered: Callable[[], None],
        failed: Callable[[Exception], None],
        is_due: Callable[[], bool],
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self._ping = ping
        self._wait = wait
        self._timeout = timeout
        self._is_due = is_due
        self._look = look
        self._answered = answered
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._is_resting = self._is_closed = False

    def start(self) -> None:
        self._is_resting = True
        self._timer = self._loop.call_later(self._wait(), self._turn)

    def hasten(self) -> None:
        """There may be a reason to ping earlier: wait no longer than `wait()` says now."""
        if self._is_resting and self._timer is not None and self._timer.when() > self._loop.time() + self._wait():
            self._timer.cancel()
            self.start()

    async def close(self) -> None:
        """No ping from now on; what `look` was doing has ended."""
        self._is_resting, self._is_closed = False, True
        self._cancel()
        if self._looking is not None and not self._looking.done():
            self._looking.cancel()
            await asyncio.wait([self._looking], timeout=0.1)  # nats-py swallows a cancellation here and there

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        self._is_resting = False
        if self._is_due():
            self._looking = self._loop.create_task(self._run())
            return
        self._timer = self._loop.call_later(self._timeout, self._silent)
        self._ping().add_done_callback(self._ponged)

    def _ponged(self, pong: "asyncio.Future[bool]") -> None:
        if not self._is_closed and pong.exception() is None:
            self._cancel()
            self._answered()
            self.start()

    def _silent(self) -> None:
        self._failed(TimeoutError(f"the server did not answer a ping within {self._timeout:g} s"))

    async def _run(self) -> None:
        try:
            await self._look()
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection is of no more use
            self._failed(error)
            return
        if not self._is_closed:
            self.start()
