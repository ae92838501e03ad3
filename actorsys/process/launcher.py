"""Starts agent processes: forked from a warm zygote where that is safe, in a fresh interpreter where not; and ends all of them.

One per supervisor. Nothing here blocks the loop for longer than it takes to start the keeper (2 ms), and nothing imports user code.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Literal

from ..errors import StartFailed
from . import boot, checking, fresh
from .folder import Folder
from .keeping import Gone, Keeping
from .kernel import mark_of
from .nursery import Nursery
from .orders import How, MainModule, Order, Status, main_module
from .process import Process
from .sweep import sweep

__all__ = ["Launcher", "MainModule", "Order", "Process", "Status", "main_module", "sweep"]

log = logging.getLogger(__name__)

_CLOSE_S = 35.0  # the keeper gives up burying after 30
_CLOSE_NOW_S = 2.0
_WAY_BYTES = 512 * 1024  # the kernel doubles it: 1 MiB leaves in one write, or in three where wmem_max is as Linux comes


def _widen(end: Connection) -> None:
    """Let more bytes be on their way from this end, as far as the system allows: large messages take fewer turns of the two sides."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(end.fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WAY_BYTES)


class RefusedError(Exception):
    """The zygote is not in a state to be forked."""


class Launcher:
    """`run` names this life of the supervisor, uniquely: what is left of it is found by that.

    `preload`: modules every agent needs, loaded before the first is forked. `path`: folders before the host's own sys.path.
    `folder`: one that the supervisor made for itself, and that is to go with it also when it is killed.
    """

    def __init__(
        self,
        run: str,
        *,
        preload: Sequence[str] = (),
        path: Sequence[str] = (),
        main: MainModule | None = None,
        folder: Folder | None = None,
    ) -> None:
        self.run = run
        self._nursery = Nursery(run, tuple(preload), tuple(path), main or main_module(), folder)
        self._owner = os.getpid()  # a fork of the host has a copy of this object, but nothing here is its own
        self._limit: tuple[int, int] | None = None
        self._env: dict[str, str] = {}

    async def start(self) -> None:
        """Bring up keeper and zygote. Raises StartFailed."""
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Each agent costs the supervisor two descriptors; the usual soft limit of 1,024 would end at 500 agents.
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._limit[1], self._limit[1]))
        self._env = dict(os.environ)
        await self._nursery.ready()

    async def load(self, types: Sequence[str], timeout: float = 60.0) -> dict[str, str | None]:
        """Load the modules of these types ("module:Class") into the zygote; None, or the text of the error, for each.

        A type whose module cannot be forked once it is loaded is no error: its agents start in fresh interpreters.
        """

        async def check(type: str) -> str | None:
            return (await self.check([type], timeout=timeout))[type]

        return {type: await self._nursery.load(type, timeout, check) for type in types}

    async def check(
        self, types: Sequence[str], validator: str | None = None, argument: bytes = b"", timeout: float = 60.0
    ) -> dict[str, str | None]:
        """The same in a process that is thrown away: nothing of it stays, and modules are read as they are on disk now.

        `validator`, a "module:function", is called there with `argument` after all imports; it returns more errors, by any key.
        """
        # The zygote may hold an older text of a module than the disk: then only a new interpreter tells the truth.
        how: Literal["auto", "fresh"] = "fresh" if self._nursery.loaded else "auto"
        return await checking.check(self.launch, how, types, validator, argument, timeout)

    def renew(self) -> None:
        """Forget what the zygote loaded: the next launch starts another, which reads all modules again. Agents go on."""
        self._nursery.renew()

    async def launch(self, order: Order) -> Process:
        """Start an agent process. Raises StartFailed with the words of the system."""
        why_fresh = self._why_fresh(order)
        for _ in range(2):
            try:
                if why_fresh is None:
                    try:
                        return await self._fork(order)
                    except RefusedError as refused:
                        why_fresh = str(refused)
                    log.warning("%s starts in a fresh interpreter: %s", order.name, why_fresh)
                if why_fresh and order.how == "fork":
                    raise StartFailed(f'{order.name} has launch = "fork", but it cannot be forked: {why_fresh}')
                return await self._fresh(order, why_fresh)
            except Gone:
                if self._nursery.is_closed:
                    break
        why = "the launcher is closed" if self._nursery.is_closed else "the process that starts agents died twice meanwhile"
        raise StartFailed(f"{order.name} could not be started: {why}")

    async def run_program(
        self,
        argv: Sequence[str],
        *,
        name: str,
        env: Mapping[str, str] | None = None,
        output: int | None = None,
        cwd: str | None = None,
    ) -> Process:
        """Start another program that lives and dies with us (nats-server). `output`: where it writes, a descriptor; None: a pipe to us.

        Raises StartFailed, with the words of the system, when it cannot be executed.
        """
        keeper = await self._nursery.ready(zygote=False)
        header = {
            "op": "exec",
            "mark": mark_of(self.run, name, 0),
            "argv": list(argv),
            "env": {**self._env, **(env or {})},
            "cwd": cwd,
        }
        try:
            return await self._born(keeper, header, b"", "fresh", name, is_agent=False, output=output)
        except Gone:
            raise StartFailed(f"{name} could not be started: the process that keeps it died meanwhile") from None

    async def close(self) -> None:
        """End every process; return when they are gone. Idempotent."""
        if os.getpid() != self._owner:
            return
        await self._nursery.close(_CLOSE_S)
        self._restore_limit()

    def kill_now(self) -> None:
        """End every process at once, without a loop; returns when they are gone, or after 2 s."""
        if os.getpid() != self._owner:
            return
        self._nursery.close_now(_CLOSE_NOW_S)
        self._restore_limit()

    # Births

    def _why_fresh(self, order: Order) -> str | None:
        """Why not to fork it, "" when fresh is what was ordered; None: fork it."""
        if order.how == "fresh":
            return ""
        return self._nursery.blocked or self._nursery.unforkable.get((order.type or "").partition(":")[0])

    async def _fork(self, order: Order) -> Process:
        keeper = await self._nursery.ready()
        if (reason := self._why_fresh(order)) is not None:  # known only now that there is a zygote
            raise RefusedError(reason)
        return await self._born(keeper, {"op": "fork", **self._header(order)}, order.payload, "fork", order.name, is_agent=True)

    async def _fresh(self, order: Order, why: str) -> Process:
        keeper = await self._nursery.ready(zygote=False)
        header = {
            "op": "exec",
            **self._header(order),
            "argv": boot.command("fresh"),
            "env": {**self._env, **order.env},
            "cwd": None,
        }
        file = fresh.order_file({**self._header(order), "host": self._nursery.host()}, order.payload)
        return await self._born(keeper, header, b"", "fresh", order.name, is_agent=True, file=file, why=why)

    def _header(self, order: Order) -> dict[str, Any]:
        mark = mark_of(self.run, order.name, order.incarnation)
        return {"mark": mark, "entry": order.entry, "env": order.env, "nofile": self._limit[0] if self._limit else None}

    async def _born(
        self,
        keeper: Keeping,
        header: dict[str, Any],
        blob: bytes,
        how: How,
        name: str,
        *,
        is_agent: bool,
        output: int | None = None,
        file: int | None = None,
        why: str = "",
    ) -> Process:
        """Ask for a process. Our ends of its descriptors are closed again when there will be none."""
        fds: list[int] = [] if file is None else [file]
        ours: Connection | None = None
        output_fd = -1
        try:
            if is_agent:
                ours, theirs = Pipe()
                _widen(ours)
                _widen(theirs)
                fds.insert(0, os.dup(theirs.fileno()))
                theirs.close()
            if output is None:
                output_fd, output = os.pipe()
                os.set_blocking(output_fd, False)
                fds.insert(0, output)
            else:
                fds.insert(0, os.dup(output))
        except OSError as error:
            Process(0, how, ours, output_fd, keeper.signal).close()
            for fd in fds:
                os.close(fd)
            raise StartFailed(f"{name} could not be started: {error.strerror}") from None
        process = Process(0, how, ours, output_fd, keeper.signal, why)

        def arrived(answer: dict[str, Any]) -> dict[str, Any]:
            # At once, not when the waiting coroutine runs: the exit may be in the next frame.
            if "pid" in answer:
                process.pid = answer["pid"]
                self._nursery.processes[process.pid] = process
            return answer

        def late(answer: dict[str, Any]) -> None:
            if "pid" in answer:
                keeper.signal(answer["pid"], signal.SIGKILL)

        try:
            answer = await keeper.ask(header, blob, tuple(fds), convert=arrived, late=late)
            if "refused" in answer:
                raise RefusedError(answer["refused"])
            if "error" in answer:
                raise StartFailed(f"{name} could not be started: {answer['error']}")
        except asyncio.CancelledError:
            process.kill()
            process.close()
            raise
        except BaseException:
            process.close()
            raise
        return process

    def _restore_limit(self) -> None:
        if self._limit is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._limit[0], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            self._limit = None
