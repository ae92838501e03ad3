"""Keeps a keeper and a zygote running: starts them when they are needed, replaces them when they died, loads modules into the zygote."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import StartFailed
from ..units import format_seconds
from . import boot
from .folder import Folder
from .keeping import Gone, Keeping
from .kernel import mark_of
from .orders import MainModule, Status
from .process import Process
from .sweep import sweep

log = logging.getLogger(__name__)

_SWEEP_S = 2.0


class Nursery:
    """The state of both, and the processes that live in it."""

    def __init__(
        self, run: str, preload: tuple[str, ...], path: tuple[str, ...], main: MainModule | None, folder: Folder | None = None
    ) -> None:
        self.run = run
        self.path = path
        self.keeper: Keeping | None = None
        self.processes: dict[int, Process] = {}
        self.is_closed = False
        self.loaded: dict[str, None] = {}  # types, in the order they were loaded: a new zygote loads them again
        self.blocked: str | None = None if sys.platform == "linux" else f"forking is unsafe on {sys.platform}"
        self.unforkable: dict[str, str] = {}  # module -> why it must be loaded in a fresh interpreter
        self.zygote_number = 0
        self._preload = preload
        self._main = main
        self._folder = folder
        self._zygote: asyncio.Task[None] | None = None  # done: it is up
        self._sweeping: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def host(self) -> dict[str, Any]:
        """What a new interpreter must know of this one."""
        return boot.describe_host(self.path, self._main.as_dict() if self._main else None)

    async def ready(self, *, zygote: bool = True) -> Keeping:
        """A running keeper, and with it a zygote unless none is wanted or forking is blocked. Raises StartFailed, Gone."""
        async with self._lock:
            if self.is_closed:
                raise StartFailed("the launcher is closed")
            if self._sweeping is not None:
                # What the old keeper left must be gone first: a new incarnation must not meet the old one.
                await asyncio.shield(self._sweeping)
            if self.keeper is None:
                try:
                    self.keeper = Keeping(self.run, self._folder, self._heard, self._keeper_gone)
                except OSError as error:
                    raise StartFailed(f"no process can be started: {error}") from None
            keeper = self.keeper
        if zygote and self.blocked is None:
            if self._zygote is None:
                self._zygote = asyncio.ensure_future(self._start_zygote(keeper))
                self._zygote.add_done_callback(lambda task: task.cancelled() or task.exception())  # heard by who waits, if any
            await asyncio.shield(self._zygote)
        return keeper

    async def _start_zygote(self, keeper: Keeping) -> None:
        """Raises Gone when it dies while it starts, StartFailed when it cannot be made."""
        self.zygote_number += 1
        mark = mark_of(self.run, "", self.zygote_number)
        try:
            answer = await keeper.ask({"op": "zygote", "mark": mark, "host": self.host(), "preload": self._preload})
            if "error" in answer:
                raise StartFailed(f"the process that agents are forked from could not be started: {answer['error']}")
            for name, text in answer["warnings"].items():
                log.warning("%s was not preloaded: %s", name, text)
            if answer["blocked"]:
                self.blocked = f"{answer['blocked']} (preload: {', '.join(self._preload)})"
                log.warning("agents start in fresh interpreters: %s", self.blocked)
            for type in list(self.loaded):
                await self._load_again(keeper, type)
        except BaseException:
            self._zygote = None
            raise

    async def _load_again(self, keeper: Keeping, type: str) -> None:
        text = None
        try:
            text = (await keeper.ask({"op": "load", "type": type}))["error"]
        except Gone:
            if not keeper.is_gone:
                text = "the process ended while it imported this"  # next time without it, or there will never be a zygote again
            raise
        finally:
            if text:
                del self.loaded[type]
                log.warning("%s no longer loads and is not preloaded any more: %s", type, text)

    async def load(self, type: str, timeout: float, check: Callable[[str], Awaitable[str | None]]) -> str | None:
        """Load one type; the text of its error, or None. `check` looks at it in another process when there is no zygote for it."""
        module = type.partition(":")[0]
        if self.blocked or module in self.unforkable:
            return await check(type)
        answer: dict[str, Any] = {}
        for attempt in (1, 2):
            try:
                keeper = await self.ready()
                async with asyncio.timeout(timeout):
                    answer = await keeper.ask({"op": "load", "type": type})
                break
            except Gone:
                if attempt == 2:
                    return f"the process ended while it imported {module}"
            except TimeoutError:
                self.renew()
                return f"importing {module} took longer than {format_seconds(timeout)}"
        if answer["blocked"]:
            # This zygote is spoilt; the next one goes without the module.
            self.unforkable[module] = f"{module}: {answer['blocked']}"
            log.warning("agents from %s start in fresh interpreters: %s", module, answer["blocked"])
            self.renew()
        elif answer["error"] is None:
            self.loaded[type] = None
        error: str | None = answer["error"]
        return error

    def renew(self) -> None:
        """Forget what the zygote loaded: the next launch starts another, which reads all modules again. Agents go on."""
        if self.keeper is not None:
            self.keeper.tell({"op": "end_zygote"})
        self._zygote = None

    async def close(self, timeout: float) -> None:
        """End keeper, zygote and all processes; return when nothing is left."""
        self.is_closed = True
        if (keeper := self.keeper) is not None:
            await keeper.close(timeout)
        if self._sweeping is not None:
            await self._sweeping

    def close_now(self, timeout: float) -> None:
        """The same without a loop."""
        self.is_closed = True
        if self.keeper is not None:
            self.keeper.end_now(timeout)

    def _heard(self, header: dict[str, Any]) -> None:
        if "exit" in header:
            process = self.processes.pop(header["exit"], None)
            if process is not None and not process.exited.done():
                process.exited.set_result(Status.of(header["status"], header["rss"]))
        elif "zygote" in header and header["zygote"] == mark_of(self.run, "", self.zygote_number):
            # Not one that `renew` has ended and that another has followed.
            if self._zygote is not None and not self.is_closed:
                how = Status.of(header["status"], 0)
                log.warning(
                    "the process that agents are forked from ended (%s); the next launch starts another",
                    how.signal or how.exit_code,
                )
            self._zygote = None

    def _keeper_gone(self) -> None:
        keeper, self.keeper, self._zygote = self.keeper, None, None
        left, self.processes = self.processes, {}
        if not self.is_closed:
            log.error("the process that keeps the agents was killed, and they with it; the next launch starts another")
        self._sweeping = asyncio.ensure_future(self._sweep(keeper, left))

    async def _sweep(self, keeper: Keeping | None, left: dict[int, Process]) -> None:
        """After the keeper: agents died with it (PDEATHSIG); what they started in sessions of their own is found by its mark."""
        try:
            if keeper is not None:
                await keeper.wait_ended(_SWEEP_S)
            await asyncio.to_thread(sweep, self.run, _SWEEP_S)
        finally:
            self._sweeping = None
            for process in left.values():
                if not process.exited.done():
                    process.exited.set_result(Status(None, "SIGKILL", 0))
