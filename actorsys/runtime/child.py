"""The life of an agent's process, from the launcher's call to its exit code."""

import asyncio
import faulthandler
import inspect
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

try:
    from uvloop import new_event_loop
except ImportError:
    from asyncio import new_event_loop  # type: ignore[assignment]  # both make an event loop

from ..errors import BadMessage, ConfigError
from ..mailbox import ref as refs
from ..mailbox.letter import (
    Cancel,
    Crashed,
    Frame,
    Full,
    Grant,
    Note,
    Ping,
    Pong,
    Ready,
    Room,
    Show,
    Snapshot,
    Stop,
    Stopped,
)
from ..mailbox.pipe import Pipe
from ..memory.base import MemoryContext, create
from ..memory.in_memory import InMemory
from ..memory.step_rows import VERSION
from ..messages import Failure
from ..process import loading
from ..process.kernel import give_back
from ..spec import Assignment
from .agent import Agent
from .early import NotReady
from .loop import Crash, Runtime
from .routes import rest_routes, routes
from .state_messages import state_routes
from .versions import bring_up

if TYPE_CHECKING:
    from ..memory.base import Memory
    from .remote import Remote

RECORD = "\x1e"  # starts a line of output that is a log record, as in RFC 7464


class _Handler(logging.Handler):
    """One JSON line a record, so that the supervisor can tell log records from what an agent prints."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + _formatter.formatException(record.exc_info)
            line = RECORD.encode() + msgspec.json.encode({"level": record.levelno, "logger": record.name, "text": text}) + b"\n"
            os.write(2, line)
        except Exception:  # noqa: BLE001 - as logging does: a record that cannot be written must not end the agent
            self.handleError(record)


# Made when the zygote loads this module, so that each agent shares them.
_formatter = logging.Formatter()
_handler = _Handler()
_decode = msgspec.msgpack.Decoder(Assignment).decode
_levels = logging.getLevelNamesMapping()
_has_dump = False
asyncio.get_event_loop_policy()  # makes it


def __before_fork__() -> None:  # noqa: N807 - what the zygote calls when it has loaded this
    """What all agents set alike: done here, it costs none of them the 0.1 MiB of unshared pages that running this takes."""
    logging.root.setLevel("INFO")


def __before_freeze__() -> None:  # noqa: N807 - what the zygote calls each time when it has loaded more
    """How the supervisor asks a hung agent where it is."""
    global _has_dump
    # Off first: as long as it believes it is on it does nothing, though a module may have taken the signal since.
    faulthandler.unregister(signal.SIGUSR2)
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    faulthandler.register(signal.SIGUSR2, 2, all_threads=True, chain=False)
    _has_dump = True


def load_class(path: str) -> type[Agent]:
    """Import "module:Class". Raises ConfigError when it is no agent class."""
    module_name, _, qualname = path.partition(":")
    # An import of what is there costs each agent 60 KiB of unshared pages.
    found: Any = sys.modules.get("__mp_main__" if module_name == "__main__" else module_name)
    if found is None:
        found = loading.load(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise ConfigError(
            f"{path} is no agent class: " + ("there is no such name" if found is None else "it must subclass Agent")
        )
    return found


def check_args(cls: type[Agent], args: dict[str, Any]) -> None:
    """Raises ConfigError when the constructor does not take these keyword arguments."""
    try:
        inspect.signature(cls).bind(**args)
    except TypeError as error:
        raise ConfigError(f"{cls.__name__}: {error}; `args` are the keyword arguments of its __init__", where="args") from error


def check(argument: bytes) -> dict[str, str]:
    """Called in a throwaway process: what is wrong with these agents, by name. `argument` is msgpack of {name: (path, args)}."""
    wrong = {}
    for name, (path, args) in msgspec.msgpack.decode(argument, type=dict[str, tuple[str, dict[str, Any]]]).items():
        try:
            check_args(load_class(path), args)
        except Exception as error:  # noqa: BLE001 - a module may raise anything when it is imported
            wrong[name] = str(error)
    return wrong


def main(payload: bytes, connection: Connection) -> int:
    """The entry that the launcher calls in a new process; returns its exit code."""
    assignment = _decode(payload)
    logging.root.handlers[:] = [_handler]
    if logging.root.level != _levels.get(assignment.log_level):
        logging.root.setLevel(assignment.log_level)
    if not _has_dump:
        __before_freeze__()
    loop = open_loop()
    # No asyncio.Runner: what it cleans up ends with the process, and running its code once costs each agent 0.3 MiB of unshared pages.
    return loop.run_until_complete(loop.create_task(lead(assignment, connection)))


def open_loop() -> asyncio.AbstractEventLoop:
    """The event loop of an agent."""
    loop = new_event_loop()
    give_back(id(loop), type(loop).__basicsize__)  # uvloop's has a receive buffer in it: 0.25 MiB that no agent uses
    asyncio.set_event_loop(loop)
    return loop


def lead(assignment: Assignment, connection: Connection) -> Coroutine[Any, Any, int]:
    """The life of an agent on the running loop, from start to end; returns the exit code."""
    return _Life(assignment, connection).run()


async def _wait_first(*futures: asyncio.Future[Any]) -> None:
    """Return when one of them is done. asyncio.wait does it too, by way of twelve functions more: 0.1 MiB of unshared pages an agent."""
    first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(future: asyncio.Future[Any]) -> None:
        if not first.done():
            first.set_result(None)

    for future in futures:
        future.add_done_callback(wake)
    await first


class _Life:
    """Start, serve, end."""

    def __init__(self, assignment: Assignment, connection: Connection) -> None:
        self._assignment = assignment
        self._connection = connection
        self._runtime: Runtime | None = None
        self._stop: asyncio.Future[Stop | None]

    async def run(self) -> int:
        self._stop = asyncio.get_running_loop().create_future()
        pipe = Pipe(self._connection, self._frames, self._ended)
        try:
            last = await self._live(pipe)
        except Crash as crash:
            last = Crashed(crash.failure)
        if last is not None:
            pipe.send(Frame(notes=[last]))
            pipe.write_rest()
        pipe.close()
        return 0 if isinstance(last, Stopped) else 1

    async def _live(self, pipe: Pipe) -> Stopped | Crashed | None:
        """From start to end; None when the supervisor is gone."""
        starting = asyncio.get_running_loop().create_task(self._start(pipe))
        await _wait_first(starting, self._stop)
        if not starting.done():  # told to stop before it was ready
            starting.cancel()
            await asyncio.wait({starting})
            return Stopped()
        try:
            agent, runtime = starting.result()
        except Exception as error:
            logging.getLogger(self._assignment.shown).debug("on_start failed", exc_info=error)
            return Crashed(Failure.of(error), starting=True)
        if runtime.ending.done():  # `self.stop()` in `on_start`: it declines to start
            await runtime.memory.close()
            return Stopped(by_itself=True)
        pipe.send(Frame(notes=[Ready()]))
        cls = type(agent)
        remote = await self._connect(runtime)
        runtime.sending.is_patient = True
        runtime.serve({**state_routes(runtime, cls.__handlers__), **routes(agent, cls.__handlers__)}, rest_routes(agent))
        try:
            return await self._until_end(agent, runtime)
        finally:
            await runtime.sending.drain()
            if remote is not None:
                await remote.close(self._assignment.stop_timeout / 4)
            await runtime.memory.close()

    async def _start(self, pipe: Pipe) -> tuple[Agent, Runtime]:
        assignment = self._assignment
        cls = load_class(assignment.type)
        memory: Memory
        if assignment.memory == "in_memory":  # the short way to what most have: 80 KiB of unshared pages less
            memory = InMemory()
        else:
            context = MemoryContext(name=assignment.name, folder=Path(assignment.state_dir), nats=assignment.nats)
            memory = create(assignment.memory, context)
        restored = await memory.open(assignment.run)
        self._runtime = refs.home = runtime = Runtime(assignment, pipe, memory, restored)
        if assignment.nats is not None:
            runtime.far = NotReady(assignment.shown)
        runtime.sending.send_again()
        try:
            agent = cls._born(runtime, assignment.args)
        except TypeError:
            check_args(cls, assignment.args)  # a clearer error, if that is what is wrong
            raise
        if cls.state_version != 1 or VERSION in restored.values:
            await bring_up(agent, runtime, restored.values.get(VERSION))
        await agent.on_start()
        await runtime.state.commit()
        if old := runtime.steps.forget_all_but(assignment.run):
            await runtime.sending.commit(old)
        return agent, runtime

    async def _connect(self, runtime: Runtime) -> "Remote | None":
        """Open the agent's NATS connection, in the background."""
        if self._assignment.nats is None:
            return None
        from .remote import Remote  # an agent without NATS does without its client, too

        remote = Remote(runtime)
        await remote.start()
        return remote

    async def _until_end(self, agent: Agent, runtime: Runtime) -> Stopped | Crashed | None:
        await _wait_first(self._stop, runtime.ending, runtime.sending.failure)
        by_itself = False
        timeout = self._assignment.stop_timeout
        if runtime.sending.failure.done():
            return Crashed(Failure.of(runtime.sending.failure.result()))
        if self._stop.done():
            stop = self._stop.result()
            if stop is None:
                return None
            reason, timeout = stop.reason, stop.timeout
        else:
            ending = runtime.ending.result()
            if isinstance(ending, Crash):
                await runtime.quiesce(0)
                return Crashed(ending.failure)
            reason, by_itself = ending, True
        runtime.sending.hurry()
        await runtime.quiesce(timeout / 2)
        try:
            async with asyncio.timeout(timeout):
                await agent.on_stop(reason)
            await runtime.state.commit()
        except Exception as error:  # noqa: BLE001 - it is the user's code, and its traceback goes to `why`
            return Crashed(Failure.of(error))
        return Stopped(by_itself=by_itself)

    # --- the pipe

    def _frames(self, frames: list[Frame]) -> None:
        runtime = self._runtime
        for frame in frames:
            for note in frame.notes:
                self._noted(note)
            if runtime is None:  # not born yet; no mail comes before it is ready
                continue
            if frame.acks:
                runtime.sending.confirmed(frame.acks)
            if frame.letters:
                runtime.deliver(frame.letters)

    def _noted(self, note: Note) -> None:
        runtime = self._runtime
        match note:
            case Stop():
                if not self._stop.done():
                    self._stop.set_result(note)
            case Ping():
                self._send(Pong(note.id))
            case Show() if runtime is not None:
                data = runtime.state.snapshot() if note.what == "state" else runtime.steps.listing()
                self._send(Snapshot(note.id, data))
            case Full() | Room() if runtime is not None:
                runtime.noted(note)
            case Cancel() if runtime is not None:
                runtime.cancel(note.id)
            case Grant() if runtime is not None:
                runtime.granted(note.id, note.units)
            case _:
                logging.getLogger(self._assignment.shown).debug("unexpected %r", note)

    def _send(self, note: Pong | Snapshot) -> None:
        if self._runtime is not None:
            self._runtime.pipe.send(Frame(notes=[note]))

    def _ended(self, error: BadMessage | None) -> None:
        """The supervisor has gone, or talks nonsense: without it nothing here can be kept."""
        if not self._stop.done():
            self._stop.set_result(None)
