"""Where agents are forked from: a warm, single-threaded interpreter without an event loop, in which agent modules are loaded once.

It serves one request at a time from the keeper: load a module, or fork an agent. The fork is a double one: the child of the child is
the agent, falls to the keeper (a subreaper), and so neither depends on the zygote nor is reaped by it.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from . import birth, loading
from .boot import tidy_streams
from .kernel import rewrite_mark
from .line import Line
from .procfs import Procfs
from .wire import Closed, pack

# What every agent needs; loaded once here, shared by all of them.
_BASE = ("asyncio", "logging", "msgspec.json", "msgspec.msgpack", "multiprocessing.connection", "traceback", "uvloop")

# Of CPython's allocator for small objects (Objects/obmalloc.c), 3.10 to 3.13. Were they wrong: 16 MiB more, shared by all.
_BLOCK_STEP, _BLOCK_MAX = 16, 512
_POOL_BYTES, _POOL_HEADER = 16_384, 48
_BYTES_OVERHEAD = sys.getsizeof(b"")
_HOLES_MAX = 2_000
_HEAP_HOLES_BYTES = 2**22
_HEAP_BLOCK = 100_000  # more than any hole, less than what it maps apart
_HEAP_SIZES = (*range(2**16, 2**13, -(2**12)), *range(2**13, 2**10, -(2**8)), *range(2**10, _BLOCK_MAX, -_BLOCK_STEP))

_clear_type_cache = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache  # the former since 3.13


class Zygote:
    def __init__(self, wire: Line, answers: int, keeper: int, mark_place: int) -> None:
        self._wire = wire
        self._answers = answers  # of the processes in between; their end of it is `birth.ANSWER`
        os.set_blocking(answers, False)
        self._keeper = keeper
        self._mark_place = mark_place
        self._procfs = Procfs()
        self._is_frozen = False
        self._fillers: list[bytes] = []
        self._before_freeze: list[Callable[[], object]] = []

    def serve(self, header: dict[str, Any]) -> NoReturn:
        """Say that we are up, then answer until the keeper is gone."""
        warnings = {name: text for name in (*_BASE, *header["preload"]) if (text := self._import(name)) and name != "uvloop"}
        self._wire.send({"id": header["id"], "warnings": warnings, "blocked": self._why_not()})
        while True:
            # An order with descriptors is one for an agent.
            if self._wire.peek():
                self._bear()
            else:
                order, _, _ = self._wire.take()
                text = self._import(order["type"])
                self._wire.send({"id": order["id"], "error": text, "blocked": self._why_not()})

    def _import(self, type: str) -> str | None:
        known = len(sys.modules)
        try:
            found = loading.load(type)
            if prepare := getattr(found, "__before_fork__", None):
                prepare()
            if (prepare := getattr(found, "__before_freeze__", None)) and prepare not in self._before_freeze:
                self._before_freeze.append(prepare)
        except BaseException as error:  # noqa: BLE001  # an import may raise anything, SystemExit too, and we live on
            return loading.why(error)
        finally:
            if len(sys.modules) != known:
                self._is_frozen = False
            self._flush()
        return None

    def _why_not(self) -> str | None:
        """The reason not to fork from this process; None: go."""
        if sys.platform != "linux":
            return f"forking is unsafe on {sys.platform}"
        if (threads := self._procfs.threads()) != 1:
            return f"the loaded modules left {threads - 1} thread{'s' if threads > 2 else ''} running"
        return None

    def _bear(self) -> None:
        """Have an agent forked, by a fork of ours that also reads the order for it.

        A page that is written here between two forks is the earlier agent's own from then on, though that agent never touched it: so
        as little as can be is done here. 0.2 MiB an agent.
        """
        if not self._is_frozen and not self._why_not():
            self._freeze()
        if reason := self._why_not():
            self._refuse({"refused": reason})
            return
        try:
            between = os.fork()
        except OSError as error:
            self._refuse({"error": error.strerror, "errno": error.errno})
            return
        if between == 0:
            self._between()
        # Reaped before anyone hears of the pid: until then the agent may still be the child of the one in between.
        try:
            os.waitpid(between, 0)
        except ChildProcessError:
            pass  # a module ignores SIGCHLD: it is gone all the same
        try:
            answer = os.read(self._answers, 4096)
        except BlockingIOError:
            os._exit(1)  # it ended without one. Who knows what it read of its order, and of which: another zygote is asked again
        self._wire.send_packed(answer)

    def _freeze(self) -> None:
        """Make what is here fit to be shared."""
        # The cache of attribute look-ups owns the names in it. Full as it is, each look-up of an agent would drop somebody's name and
        # so copy the page that name is on: 0.3 MiB an agent, 0.45 with NATS. Better it holds what an agent looks up.
        _clear_type_cache()
        gc.collect()
        self._fill_holes()
        for prepare in self._before_freeze:
            prepare()
        # Frozen objects are never looked at by a child's collector, so their pages stay shared: 2.7 MB an agent instead of 9.
        gc.collect()
        self._fill_holes()
        gc.freeze()
        self._is_frozen = True

    def _refuse(self, answer: dict[str, Any]) -> None:
        order, _, fds = self._wire.take()
        self._close(fds)
        self._wire.send({"id": order["id"], **answer})

    def _between(self) -> NoReturn:
        """In the child: read the order, fork the agent and leave. The agent carries its mark from its very first moment."""
        try:
            order, payload, fds = self._wire.take()
            rewrite_mark(self._mark_place, order["mark"])
            # Out of the zygote's group now, not only in the agent: who kills that group must not hit an agent just announced.
            os.setsid()
            # With it goes our copy of the wire: this frame keeps the object, so no destructor will ever close that number again.
            birth.take_descriptors(*fds)
            try:
                pid = os.fork()
            except OSError as error:
                self._answer({"id": order["id"], "error": error.strerror, "errno": error.errno})
            if pid:
                self._answer({"id": order["id"], "pid": pid})
            os.close(birth.ANSWER)
            birth.settle_in(self._keeper)
            birth.reset_signals()
            birth.live(order, payload)
        finally:
            os._exit(1)  # never back into the zygote's loop

    @staticmethod
    def _answer(answer: dict[str, Any]) -> NoReturn:
        os.write(birth.ANSWER, pack(answer))
        os._exit(0)

    def _fill_holes(self) -> None:
        """Leave no free room among the shared objects, so that what an agent makes lies together: 0.14 MiB of unshared pages less.

        CPython takes a block of memory from a pool of blocks of the same size, and turns to a new pool when all others are full.
        """
        for size in range(3 * _BLOCK_STEP, _BLOCK_MAX + 1, _BLOCK_STEP):
            for _ in range(_HOLES_MAX):
                block = bytes(size - _BYTES_OVERHEAD)
                self._fillers.append(block)
                if id(block) % _POOL_BYTES == _POOL_HEADER:
                    break
        # Larger ones are the C library's: of those it has, the best fit comes before what lies beyond all.
        beyond = [bytes(_HEAP_BLOCK)]
        left = _HEAP_HOLES_BYTES
        for size in _HEAP_SIZES:
            while id(block := bytes(size - _BYTES_OVERHEAD)) < id(beyond[0]) and left > 0:
                self._fillers.append(block)
                left -= size
            beyond.append(block)

    @staticmethod
    def _close(fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)

    @staticmethod
    def _flush() -> None:
        """What a module printed while it was loaded must not be printed again by every agent."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass


def main(sock: socket.socket, answers: int, keeper: int, mark_place: int, header: dict[str, Any]) -> NoReturn:
    gc.disable()
    tidy_streams()
    faulthandler.enable(sys.stderr)
    try:
        Zygote(Line(sock), answers, keeper, mark_place).serve(header)
    except Closed:
        os._exit(0)
