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
from typing import Any, NoReturn

from . import birth, loading
from .boot import tidy_streams
from .kernel import rewrite_mark
from .procfs import Procfs
from .wire import Closed, Frame, Wire

# What every agent needs; loaded once here, shared by all of them.
_BASE = ("asyncio", "logging", "msgspec.json", "msgspec.msgpack", "multiprocessing.connection", "traceback", "uvloop")

# Of CPython's allocator for small objects (Objects/obmalloc.c), 3.10 to 3.13. Were they wrong: 16 MiB more, shared by all.
_BLOCK_STEP, _BLOCK_MAX = 16, 512
_POOL_BYTES, _POOL_HEADER = 16_384, 48
_BYTES_OVERHEAD = sys.getsizeof(b"")
_HOLES_MAX = 2_000

_clear_type_cache = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache  # the former since 3.13


class Zygote:
    def __init__(self, wire: Wire, keeper: int, mark_place: int) -> None:
        self._wire = wire
        self._keeper = keeper
        self._mark_place = mark_place
        self._procfs = Procfs()
        self._is_frozen = False
        self._fillers: list[bytes] = []

    def serve(self, header: dict[str, Any]) -> NoReturn:
        """Say that we are up, then answer until the keeper is gone."""
        warnings = {name: text for name in (*_BASE, *header["preload"]) if (text := self._import(name)) and name != "uvloop"}
        self._wire.send({"id": header["id"], "warnings": warnings, "blocked": self._why_not()})
        while True:
            for frame in self._wire.wait():
                match frame.header["op"]:
                    case "load":
                        type = frame.header["type"]
                        text = self._import(type)
                        self._wire.send({"id": frame.header["id"], "error": text, "blocked": self._why_not()})
                    case "fork":
                        self._wire.send({"id": frame.header["id"], **self._fork(frame)})

    def _import(self, type: str) -> str | None:
        known = len(sys.modules)
        try:
            found = loading.load(type)
            if prepare := getattr(found, "__before_fork__", None):
                prepare()
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

    def _fork(self, frame: Frame) -> dict[str, Any]:
        if reason := self._why_not():
            self._close(frame.fds)
            return {"refused": reason}
        if not self._is_frozen:
            # Frozen objects are never looked at by a child's collector, so their pages stay shared: 2.7 MB an agent instead of 9.
            gc.collect()
            # The cache of attribute look-ups owns the names in it. Full as it is, each look-up of an agent would drop somebody's name and
            # so copy the page that name is on: 0.3 MiB an agent, 0.45 with NATS.
            _clear_type_cache()
            self._fill_holes()
            gc.freeze()
            self._is_frozen = True
        self._flush()
        answer, ask = os.pipe()
        try:
            between = os.fork()
        except OSError as error:
            self._close([answer, ask, *frame.fds])
            return {"error": error.strerror, "errno": error.errno}
        if between == 0:
            self._between(frame, ask)
        self._close([ask, *frame.fds])
        # Reaped before anyone hears of the pid: until then the agent may still be the child of the one in between.
        os.waitpid(between, 0)
        text = os.read(answer, 32).decode()
        os.close(answer)
        number = int(text or -1)
        if number > 0:
            return {"pid": number}
        return {"error": os.strerror(-number) if number < -1 else "the process in between was killed", "errno": -number}

    def _between(self, frame: Frame, ask: int) -> NoReturn:
        """In the child: fork the agent and leave. The mark is written first, so the agent carries it from its very first moment."""
        try:
            rewrite_mark(self._mark_place, frame.header["mark"])
            # Out of the zygote's group now, not only in the agent: who kills that group must not hit an agent just announced.
            os.setsid()
            pid = os.fork()
        except OSError as error:
            os.write(ask, str(-(error.errno or 1)).encode())
            os._exit(1)
        if pid:
            os.write(ask, str(pid).encode())
            os._exit(0)
        try:
            self._wire.forget()
            birth.settle_in(self._keeper)
            birth.reset_signals()
            birth.take_descriptors(*frame.fds)
            birth.live(frame.header, frame.blob)
        finally:
            os._exit(1)  # never back into the zygote's loop

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


def main(sock: socket.socket, keeper: int, mark_place: int, header: dict[str, Any]) -> NoReturn:
    gc.disable()
    tidy_streams()
    faulthandler.enable(sys.stderr)
    try:
        Zygote(Wire(sock), keeper, mark_place).serve(header)
    except Closed:
        os._exit(0)
