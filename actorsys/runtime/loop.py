"""The loop inside an agent's process: letters in, handlers run, one frame out.

A handler that does not wait commits or vanishes as a whole: what it sent leaves in the frame that acknowledges its message. When a
handler waits, the loop turns, and the flush that was scheduled sends what there is so far.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..clock import now_ns
from ..errors import AskCycle, BadMessage, BudgetExceeded, ModelAuthError, ModelUnavailable
from ..mailbox.codec import NONE, encode
from ..mailbox.letter import (
    ASK,
    FAILURE,
    HOST,
    PART,
    REMOTE,
    REPLY,
    STREAM,
    Command,
    Failed,
    Letter,
    Timing,
    UpNote,
    wants_answer,
)
from ..mailbox.mailbox import SAMPLE, Lanes
from ..mailbox.outbox import Outbox
from ..mailbox.pipe import Pipe
from ..mailbox.ref import Ref
from ..memory.base import Memory, Restored
from ..memory.step_rows import split
from ..messages import Failure, Message
from ..spec import Assignment
from .context import Delivery, current
from .flow import Flow, LocalFlow, not_asked, run
from .reading import Reading
from .routes import Route
from .sending import Sending
from .state import NO_CHANGES, Limits, State
from .steps import Steps
from .timers import Timers

if TYPE_CHECKING:
    from ..bus.counters import Often
    from ..bus.nats import NatsBus
    from ..llm.client import LLM

FLUSH_ACKS = 64  # acknowledge at least every so many letters, so that the next ones are on their way meanwhile
CANCEL_SECONDS = 1.0  # that a cancelled handler gets to clean up
TURN_SECONDS = 0.005  # handlers that never wait still let the loop turn this often
CAUSE_LENGTH = 500  # of the reason that `why` shows for an agent that stops itself
# No fault of the agent's: what was told becomes a dead letter, and the agent lives on.
BLAMELESS = (BadMessage, ModelUnavailable, BudgetExceeded)


class Crash(Exception):
    """The agent must end because of `failure`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Runtime(Outbox):
    """One incarnation of one agent: its mail, its state, and the handler that runs."""

    def __init__(self, assignment: Assignment, pipe: Pipe, memory: Memory, restored: Restored) -> None:
        super().__init__(assignment.shown, first_number=assignment.incarnation << 32 | 1)
        self.assignment = assignment
        self.max_payload = assignment.max_payload
        self.pipe = pipe
        self.memory = memory
        values, steps = split(restored.values)
        self._state = State(values, self._commit_state, Limits(values, memory.value_bytes, memory.total_bytes))
        self._is_serial = assignment.concurrency == 1
        self.sending = Sending(pipe, memory, assignment, restored.frames)
        self.steps = Steps(steps, assignment.run, self.sending.commit, is_durable=memory.is_durable)
        self.ending: asyncio.Future[str | Crash] = asyncio.get_running_loop().create_future()
        self.remote_reply: Callable[[Letter, bytes | None, Failure | None], Awaitable[None]] | None = None
        self.remote_flow: Callable[[Delivery, Sending], Flow] | None = None
        self.bus: NatsBus | None = None
        self.often: Often | None = None  # set with `bus`
        self.timers = Timers(assignment.name, assignment.incarnation, lambda letter: self.sending.post(letter, None))
        self._reading = Reading(self.name, assignment.run)
        self._queue = Lanes()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._workers: list[asyncio.Task[None]] = []
        self._refusals: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    # --- the caller's side

    @cached_property
    def log(self) -> logging.Logger:  # made when it is used: most agents never log, and it costs 80 KiB of unshared pages
        return logging.getLogger(self.assignment.shown)

    @cached_property
    def llm(self) -> "LLM":
        from .thinking import thinking  # an agent that never uses it does without

        return thinking(self)

    def _warn(self, letter: Letter, key: str, text: str, error: BaseException | None = None) -> None:
        """A warning about a letter; of those from off the node, at most one per key and second, with the number of those left out."""
        held = self.often.hold(key) if self.often is not None and letter.flags & REMOTE else 0
        if held is not None:
            self.log.warning("%s%s", text, f" ({held} more like this)" if held else "", exc_info=error)

    def post(self, letter: Letter) -> None:
        self.sending.post(letter, current.get())

    def flush(self) -> None:
        self.sending.flush()

    def note(self, note: UpNote) -> None:
        self.sending.note(note)

    def send(self, letter: Letter) -> Awaitable[None] | None:
        return self.sending.send(letter, current.get())

    async def command(self, do: str, arguments: dict[str, Any]) -> Any:
        encode(arguments)  # raises BadMessage here; in the frame it would cost everything else that leaves with it
        number, answer = self.expect()
        self.note(Command(number, do, arguments))
        return await answer

    def chain(self) -> tuple[str, ...]:
        delivery = current.get()
        return (*delivery.letter.chain, self.name) if delivery is not None and delivery.is_open else ()

    def trace(self) -> str:
        delivery = current.get()
        headers = delivery.letter.headers if delivery is not None else None
        if headers is None or "message_id" not in headers:
            return ""
        trace = headers["metadata"].get("trace")
        return trace if isinstance(trace, str) else str(headers["message_id"])

    def key(self) -> str:
        """Names the next handoff or broadcast of the running handler, alike when it runs again; empty outside of a handler."""
        delivery = current.get()
        if delivery is None or not delivery.is_open:
            return ""
        delivery.published += 1
        return f"{self.name} {self.assignment.run}.{delivery.letter.id} {delivery.published}"

    def sender(self) -> Ref | None:
        delivery = current.get()
        if delivery is None or delivery.letter.sender == HOST or delivery.letter.flags & REMOTE:
            return None  # from off the node nothing says that the name is an agent's
        return Ref(delivery.letter.sender, self)

    def message(self) -> Message | None:
        delivery = current.get()
        return None if delivery is None else self._reading.as_message(delivery.letter, None)

    def stop(self, reason: str) -> None:
        if not self.ending.done():
            self.ending.set_result(reason)

    @property
    def state(self) -> State:
        """As the running handler sees it."""
        delivery = current.get()
        return self._state if delivery is None or not delivery.is_open else delivery.state

    async def _commit_state(self, state: State) -> None:
        changes = state.collect()
        if changes or self.sending.is_held:  # held: what was read may not be stored yet
            await self.sending.commit(changes)

    # --- letters in

    def serve(self, routes: dict[str, Route], rest: dict[str, Route]) -> None:
        """Begin to handle letters: each by the route of its type, others by `rest`; see `rest_routes`."""
        self._reading.routes, self._reading.rest = routes, rest
        for _ in range(self.assignment.concurrency):
            worker = asyncio.get_running_loop().create_task(self._work())
            worker.add_done_callback(self._worked)
            self._workers.append(worker)

    def deliver(self, letters: list[Letter]) -> None:
        """Letters came in: queue what is to be handled, hand replies to whoever waits for them."""
        queue, came = self._queue, 0
        self.sending.has_asked = False
        for letter in letters:
            if letter.kind > ASK:
                self.replied(letter)
            elif letter.chain and self.name in letter.chain and len(self.sending.open) >= self.assignment.concurrency:
                self._refuse_cycle(letter)
            else:
                queue.put(letter)
                came += 1
        while came and self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                came -= 1

    def _refuse_cycle(self, letter: Letter) -> None:
        """Answer at once that it waits for itself."""
        chain = [each.partition("@")[0] for each in (*letter.chain, self.name)]
        error = AskCycle(f"{' -> '.join(chain)}: each waits for the next, so none can answer.", chain=chain)
        if letter.flags & REMOTE:
            refusal = asyncio.get_running_loop().create_task(self._refuse(letter, Failure.of(error, with_traceback=False)))
            self._refusals.add(refusal)
            refusal.add_done_callback(self._refusals.discard)
        else:
            self.sending.refuse(letter, Failure.of(error, with_traceback=False))

    def cancel(self, number: int) -> None:
        """Whoever asked is gone: stop the handler of that letter."""
        delivery = self.sending.open.get(number)
        if delivery is not None:
            delivery.is_cancelled = True
            delivery.worker.cancel()
            return
        for letter in self._queue:
            if letter.id == number:
                letter.deadline = 1  # it is skipped when its turn comes

    def granted(self, number: int, units: int) -> None:
        """Of the stream that answers that letter so much was read."""
        delivery = self.sending.open.get(number)
        if delivery is not None and delivery.flow is not None:
            delivery.flow.granted(units)

    async def quiesce(self, timeout: float) -> None:
        """Take no more letters; give running handlers `timeout` seconds, then cancel them: their messages stay in custody."""
        self._is_stopping = True
        self.timers.close()
        for idle in self._idle:
            if not idle.done():
                idle.set_result(None)
        if self._workers:
            await asyncio.wait(self._workers, timeout=timeout)
            for worker in self._workers:
                worker.cancel()
            await asyncio.wait(self._workers, timeout=CANCEL_SECONDS)  # one that swallows its cancellation ends with the process

    async def _work(self) -> None:
        worker, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert worker is not None
        queue, sending, clock = self._queue, self.sending, time.monotonic
        turn_ends = clock() + TURN_SECONDS
        while not self._is_stopping:
            if not queue.usual and not queue.others:
                sending.flush()
                current.set(None)  # or it would keep the last message
                idle = loop.create_future()
                self._idle.append(idle)
                await idle
                turn_ends = clock() + TURN_SECONDS
                continue
            await self._handle(queue.take() if queue.others else queue.usual.popleft(), worker)
            if sending.ended >= FLUSH_ACKS:
                sending.flush()
            if clock() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = clock() + TURN_SECONDS
        sending.flush()

    def _worked(self, worker: "asyncio.Task[None]") -> None:
        if worker.cancelled() or (self._is_stopping and worker.exception() is None):
            return
        error = worker.exception()
        if error is not None and not self.ending.done():
            self.ending.set_result(error if isinstance(error, Crash) else Crash(Failure.of(error)))

    async def _handle(self, letter: Letter, worker: "asyncio.Task[Any]") -> None:
        sending = self.sending
        if sending.handled and sending.is_handled(letter.id):  # also of one that has expired since: it was handled in time
            return
        if letter.deadline and letter.deadline <= now_ns():
            sending.skip(letter)
            return
        if letter.headers is not None and not self.timers.takes(letter.headers):
            sending.skip(letter)
            return
        try:
            route, message = self._reading.read(letter)
            if route.is_stream and not letter.flags & STREAM and (letter.kind == ASK or wants_answer(letter)):
                raise not_asked(letter, route)
        except BadMessage as error:
            current.set(None)
            if letter.headers is not None and letter.headers.get("kind") in ("broadcast", "notice"):
                sending.skip(letter)  # said to everyone, or told of: nobody must listen
                await self._answer_remote(letter, None, None)
                return
            self._warn(letter, f"refused {error.field}", str(error))
            await self._refuse(letter, Failure.of(error, with_traceback=False))
            return
        state = self._state if self._is_serial else self._state.view()
        delivery = sending.open[letter.id] = Delivery(letter, worker, state)
        began = time.monotonic() if not letter.id % SAMPLE else 0.0
        current.set(delivery)
        try:
            if route.is_stream or letter.flags & STREAM:
                result = None
                await run(route, message, self._flow(delivery), self.fit)
            elif route.is_async:
                result = await route.call(message)
            elif route.in_thread:
                result = await asyncio.to_thread(route.call, message)
            else:
                result = route.call(message)
            changes = state.collect() if state.is_used else NO_CHANGES
            if self.steps.rows:
                changes = {**changes, **self.steps.forget(letter.id)}
            if letter.kind == ASK:
                payload = NONE if result is None else self.fit(encode(result))
                reply = Letter(REPLY, letter.id, "", "", "", payload)
                if delivery.flow is not None:
                    reply.ordinal = delivery.flow.count
                sending.finish(delivery, changes, reply)
            elif letter.flags & REMOTE:
                # First the answer, then the acknowledgement: killed in between, the message is delivered and answered again; the
                # other way round its sender would wait in vain.
                if delivery.flow is not None:
                    await delivery.flow.end()
                else:
                    await self._answer_remote(letter, NONE if result is None else encode(result), None)
                sending.finish(delivery, changes)
            else:
                sending.finish(delivery, changes)
        except Exception as error:  # noqa: BLE001 - it is the user's code: `_failed` passes it on
            await self._failed(delivery, error, route)
        except asyncio.CancelledError as error:
            if not worker.cancelling():  # the handler's own: something that it waited for was cancelled
                await self._failed(delivery, error, route)
                return
            delivery.state.roll_back()
            delivery.sends.clear()
            if not delivery.is_cancelled:  # the process is about to end: the message stays in custody
                delivery.is_open = False
                del sending.open[letter.id]
                raise
            worker.uncancel()
            sending.finish(delivery, {})
        except BaseException:  # SystemExit: nothing of this message may leave
            delivery.sends.clear()
            raise
        finally:
            if began:
                sending.note(Timing(letter.type.rpartition(":")[2], time.monotonic() - began))

    def _flow(self, delivery: Delivery) -> Flow | None:
        """Where the parts of an answer go; None: nobody reads them."""
        letter = delivery.letter
        letter.deadline = 0  # it was for the start
        if letter.flags & STREAM:
            make = LocalFlow if not letter.flags & REMOTE else self.remote_flow
            delivery.flow = make(delivery, self.sending) if make is not None else None
        return delivery.flow

    async def _failed(self, delivery: Delivery, error: BaseException, route: Route) -> None:
        """Errors go to whoever can act (G4)."""
        letter = delivery.letter
        delivery.state.roll_back()
        delivery.sends[:] = [each for each in delivery.sends if each.kind == PART]  # what was yielded before is read before
        failure = Failure.of(error)
        changes = self.steps.forget(letter.id)
        if letter.kind == ASK:
            self.sending.finish(delivery, changes, Letter(FAILURE, letter.id, "", "", "", encode(failure)))
        else:
            await self._answer_remote(letter, None, failure)
            dead = None if wants_answer(letter) else Failed(letter.id, failure)
            self.sending.finish(delivery, changes, failure=dead)
        on_error = self.assignment.on_error
        if on_error == "auto" and isinstance(error, ModelAuthError):
            on_error = "stop"  # no restart helps before somebody sets the key right
        is_blameless, is_clear = isinstance(error, BLAMELESS), isinstance(error, (*BLAMELESS, ModelAuthError))
        if on_error == "restart" or (
            on_error == "auto" and letter.kind != ASK and not letter.flags & REMOTE and not is_blameless
        ):
            raise Crash(failure) from error
        text = f"{letter.type or 'a message'} from {letter.sender} failed" + (f": {failure.line}" if is_clear else "")
        self._warn(letter, f"{route.type.__name__} {type(error).__name__}", text, None if is_clear else error)
        if on_error == "stop":  # and stay stopped, whatever the restart type
            self.note(Command(0, "stop", {"names": [self.assignment.name], "cause": f"by itself: {failure.line[:CAUSE_LENGTH]}"}))

    async def _refuse(self, letter: Letter, failure: Failure) -> None:
        """Answer, or dead-letter, a letter without a handler having run."""
        await self._answer_remote(letter, None, failure)
        if wants_answer(letter):
            self.sending.skip(letter)
            self.sending.schedule()
        else:
            self.sending.refuse(letter, failure)

    async def _answer_remote(self, letter: Letter, payload: bytes | None, failure: Failure | None) -> None:
        if letter.flags & REMOTE and letter.headers is not None and self.remote_reply is not None:
            await self.remote_reply(letter, payload, failure)
