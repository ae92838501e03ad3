"""The supervisor's end of its keeper: start it, ask it, hear from it, end it. Works in any asyncio loop and any host.

The keeper is the supervisor's only child; it is waited for by pid, so a host's other children are never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import select
import socket
import subprocess
from collections.abc import Callable
from typing import Any

from . import boot
from .folder import Folder
from .kernel import MARK, MARK_ROOM, mark_of
from .watch import watch_process
from .wire import Closed, Frame, Wire, pair

Heard = Callable[[dict[str, Any]], None]


class Gone(Exception):
    """The keeper, or the zygote, ended before it answered."""


class Keeping:
    """A running keeper. `on_heard` gets every frame without an open question, `on_gone` is called once, when the keeper is gone."""

    def __init__(self, run: str, folder: Folder | None, on_heard: Heard, on_gone: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_heard, self._on_gone = on_heard, on_gone
        self._numbers = itertools.count(1)
        self._open: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._is_writing = self.is_gone = False
        ours, theirs = pair()
        try:
            self._popen = self._start(run, folder, theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            # Ours must be the only copy: while another is open, the keeper's death never shows up as end-of-stream.
            theirs.close()
        self._wire = Wire(ours)
        self._fd = ours.fileno()
        self._loop.add_reader(self._fd, self._readable)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def tell(self, header: dict[str, Any]) -> None:
        """Send without an answer; to a keeper that is gone: nothing."""
        if not self.is_gone:
            try:
                self._wire.send(header)
                self._write_rest()
            except Closed:
                self._lost()

    def ask(
        self,
        header: dict[str, Any],
        blob: bytes = b"",
        fds: tuple[int, ...] = (),
        *,
        late: Callable[[dict[str, Any]], None] | None = None,
        convert: Callable[[dict[str, Any]], Any] = lambda answer: answer,
    ) -> asyncio.Future[Any]:
        """Send; the future is `convert(answer)`, made the moment it arrives. Raises Gone in it.

        `late` gets the answer when nobody waits for the future any more.
        """
        future: asyncio.Future[Any] = self._loop.create_future()

        def answered(answer: dict[str, Any]) -> None:
            if future.done():
                if late is not None:
                    late(answer)
            elif "gone" in answer:
                future.set_exception(Gone)
            else:
                future.set_result(convert(answer))

        number = next(self._numbers)
        if self.is_gone:
            for fd in fds:
                os.close(fd)
            future.set_exception(Gone)
            return future
        self._open[number] = answered
        try:
            self._wire.send({**header, "id": number}, blob, fds)
            self._write_rest()
        except Closed:
            self._lost()
        return future

    def signal(self, pid: int, number: int) -> None:
        """Signal one of the keeper's processes, and its group if it is SIGKILL; it knows which numbers are still theirs."""
        self.tell({"op": "kill", "pid": pid, "signal": number})

    async def close(self, timeout: float) -> None:
        """End the keeper and with it everything it keeps; kill it when that takes longer than `timeout` seconds."""
        self.tell({"op": "close"})
        await self.wait_ended(timeout)

    async def wait_ended(self, timeout: float) -> None:
        """Wait until the keeper process is gone, and reap it."""
        try:
            async with asyncio.timeout(timeout):
                await self._ended()
        except TimeoutError:
            self._popen.kill()
            await self._ended()
        self._lost()

    def end_now(self, timeout: float) -> None:
        """The same without a loop: for a second Ctrl-C."""
        with contextlib.suppress(Closed):
            self._wire.send({"op": "close"})
        self._wire.shutdown()  # where that did not get through, the keeper takes the end of the stream for our death
        if not self.is_gone:
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()

    async def _ended(self) -> None:
        """Wait for the keeper by pidfd, where there is one; the last frames are read first."""
        while self._popen.poll() is None:
            if (pidfd := watch_process(self._popen.pid)) is None:
                await asyncio.sleep(0.005)
                continue
            ended = asyncio.Event()
            try:
                self._loop.add_reader(pidfd, ended.set)
                await ended.wait()
            finally:
                self._loop.remove_reader(pidfd)
                os.close(pidfd)
        while not self.is_gone and select.select([self._fd], [], [], 0)[0]:
            self._readable()

    def _start(self, run: str, folder: Folder | None, theirs: socket.socket) -> subprocess.Popen[bytes]:
        # Above the standard three: a host that closed those must not have our socket in their place.
        fd = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
        try:
            stderr: int | None = None
            try:
                os.fstat(2)
            except OSError:
                stderr = subprocess.DEVNULL
            return subprocess.Popen(
                boot.command("keeper", str(fd), str(os.getpid()), *((folder.path, folder.identity) if folder else ())),
                # The mark is padded: forked agents write theirs over it, and there must be room.
                env={**os.environ, MARK: mark_of(run, "", 0).ljust(MARK_ROOM)},
                stdin=subprocess.DEVNULL,
                stdout=2 if stderr is None else stderr,  # what a module prints while it is loaded
                stderr=stderr,
                pass_fds=(fd,),
                start_new_session=True,
            )
        finally:
            os.close(fd)

    def _readable(self) -> None:
        try:
            frames = self._wire.receive()
        except Closed:
            self._lost()
            return
        for frame in frames:
            self._hear(frame)

    def _hear(self, frame: Frame) -> None:
        answered = self._open.pop(frame.header.get("id", 0), None)
        if answered is not None:
            answered(frame.header)
        else:
            self._on_heard(frame.header)

    def _write_rest(self) -> None:
        if self._wire.is_waiting and not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        try:
            self._wire.flush()
        except Closed:
            self._lost()
            return
        if not self._wire.is_waiting:
            self._is_writing = False
            self._loop.remove_writer(self._fd)

    def _lost(self) -> None:
        if self.is_gone:
            return
        self.is_gone = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._wire.close()
        questions, self._open = list(self._open.values()), {}
        for answered in questions:
            answered({"gone": True})
        self._on_gone()
