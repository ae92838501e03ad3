"""Who gives birth to the processes, reaps them, and buries everything when the supervisor is gone?

A tiny process between supervisor and agents: parent of the zygote, subreaper of all that agents start, in a session of its own so
that Ctrl-C does not reach it. It is single-threaded and never waits for anything but poll(). All of its children are its own, so
it may wait for any child, which the supervisor, in a host with other children, may not.

Frames from the supervisor: zygote, load, fork, exec, kill, close. To it: the answer (by `id`), and `exit` when a process and all that it started
are gone.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time

from . import offspring
from .folder import Folder
from .kernel import adopt_descendants, mark_place
from .procfs import Procfs
from .remains import Kin, Remains, end_all, kill
from .watch import watch_children, watch_process
from .wire import Closed, Frame, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_ROUND_S = 0.003  # between two looks at what a dead agent left
_REMAINS_S = 5.0  # then its exit is reported all the same: a process in an uninterruptible sleep cannot be killed
_BURIAL_S = 30.0  # a program that forks faster than it can be killed must not keep us for ever
_POLL_PARENT_S = 0.5  # where there is no pidfd
_ORPHAN_S = 0.5  # a process closes its descriptors a moment before it is gone


class Keeper:
    def __init__(self, wire: Wire, supervisor: int, place: int, folder: Folder | None) -> None:
        self._wire = wire
        self._supervisor = supervisor
        self._folder = folder
        self._orphan_wait = _ORPHAN_S
        self._mark_place = place
        self._procfs = Procfs()
        self._remains = Remains(self._procfs, os.getpid(), has_marks=place != 0)
        self._kin: dict[int, Kin] = {}
        self._dead: list[Kin] = []
        self._zygote: Wire | None = None
        self._zygote_pid = 0
        # What a zygote owes an answer to: request -> its pid, mark of the agent or "".
        self._asked: dict[int, tuple[int, str]] = {}
        self._unclaimed: dict[int, tuple[int, int]] = {}  # ended before the zygote's answer named them
        self._wake = watch_children()
        self._pidfd = watch_process(supervisor)

    def run(self) -> None:
        """Serve until the supervisor says so, closes the wire, or dies."""
        self._wire.send({"up": os.getpid()})
        while os.getppid() == self._supervisor:
            poll = select.poll()
            for wire in (self._wire, self._zygote):
                if wire is not None:
                    poll.register(wire.fileno(), select.POLLIN | (select.POLLOUT if wire.is_waiting else 0))
            poll.register(self._wake, select.POLLIN)
            timeout: float | None = None
            if self._pidfd is None:
                timeout = _POLL_PARENT_S
            else:
                poll.register(self._pidfd, select.POLLIN)
            if self._dead:
                timeout = _ROUND_S
            for fd, events in poll.poll(None if timeout is None else timeout * 1000):
                if fd == self._pidfd:
                    return
                if fd == self._wake:
                    os.read(self._wake, 4096)
                elif fd == self._wire.fileno():
                    self._wire.flush()
                    if events & ~select.POLLOUT:
                        for frame in self._wire.receive():
                            self._handle(frame)
                elif self._zygote is not None:
                    self._hear_zygote(events)
            self._reap()
            self._clear()

    def bury(self) -> None:
        """End every process below us, the zygote first (or it would go on making them), until none is left; then report.

        What a supervisor that was killed can no longer remove goes too: the folder that it made for itself.
        """
        self._drop_zygote()
        for kin in sorted(self._kin.values(), key=lambda kin: kin.kind != "zygote"):
            kill(kin.pid)
        until = time.monotonic() + _BURIAL_S
        while time.monotonic() < until and self._reap():
            end_all(self._procfs, os.getpid())
            # Woken by each end; the timeout is for those whose parents live a little longer.
            if select.select([self._wake], [], [], _ROUND_S)[0]:
                os.read(self._wake, 4096)
        try:
            for kin in self._dead:
                self._report(kin)
            while self._wire.is_waiting:
                self._wire.flush()
                if not select.select([], [self._wire], [], 1.0)[1]:
                    break
        except Closed:
            pass
        if self._folder is not None and self._is_orphan():
            self._folder.remove()

    def _is_orphan(self) -> bool:
        """Whether the supervisor is gone, not one that lives on and has only closed the wire."""
        until = time.monotonic() + self._orphan_wait
        while os.getppid() == self._supervisor:
            if time.monotonic() >= until:
                return False
            time.sleep(_ROUND_S)
        return True

    # What the supervisor asks

    def _handle(self, frame: Frame) -> None:
        header = frame.header
        match header["op"]:
            case "zygote":
                self._start_zygote(header)
            case "load" | "fork":
                self._ask_zygote(frame)
            case "exec":
                self._exec(frame)
            case "kill":
                if header["pid"] in self._kin:
                    kill(header["pid"], header["signal"], group=header["signal"] == signal.SIGKILL)
            case "end_zygote":
                self._end_zygote()
            case "close":
                self._orphan_wait = 0.0
                raise Closed

    def _start_zygote(self, header: dict[str, Any]) -> None:
        def become() -> NoReturn:
            offspring.leave_keeper({theirs.fileno()})
            offspring.be_zygote(theirs, keeper, self._mark_place, header)

        keeper = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        pid = offspring.fork(become)
        theirs.close()
        if isinstance(pid, OSError):
            ours.close()
            self._wire.send({"id": header["id"], "error": pid.strerror, "errno": pid.errno})
            return
        self._end_zygote()
        self._zygote, self._zygote_pid = Wire(ours), pid
        self._asked[header["id"]] = pid, ""
        self._kin[pid] = Kin("zygote", header["mark"], pid)

    def _ask_zygote(self, frame: Frame) -> None:
        request = frame.header["id"]
        mark = frame.header.get("mark", "")
        self._asked[request] = self._zygote_pid, mark
        if self._zygote is not None:
            try:
                self._zygote.send(frame.header, frame.blob, frame.fds)
            except Closed:
                self._end_zygote()
            return
        for fd in frame.fds:
            os.close(fd)
        if self._zygote_pid not in self._kin:
            self._lose(request)  # else when the zygote that is just ending has been reaped

    def _exec(self, frame: Frame) -> None:
        header = frame.header
        pid = offspring.execute(header, frame.fds)
        for fd in frame.fds:
            os.close(fd)
        if isinstance(pid, OSError):
            self._wire.send({"id": header["id"], "error": pid.strerror, "errno": pid.errno})
            return
        self._kin[pid] = Kin("program", header["mark"], pid)
        self._wire.send({"id": header["id"], "pid": pid})

    # What the zygote answers

    def _hear_zygote(self, events: int) -> None:
        assert self._zygote is not None
        try:
            self._zygote.flush()
            frames = self._zygote.receive() if events & ~select.POLLOUT else []
        except Closed:
            self._end_zygote()
            return
        for frame in frames:
            answer = frame.header
            _, mark = self._asked.pop(answer["id"], (0, ""))
            pid = answer.get("pid")
            if pid is None and mark and "refused" not in answer:
                # The second fork may have been made all the same: nothing of it may be left when the launcher hears.
                self._dead.append(self._unborn(answer["id"], mark))
            if pid is not None:
                self._adopt(Kin("agent", mark, pid))
            self._wire.send(answer)
        if not self._asked:
            self._unclaimed.clear()

    def _adopt(self, kin: Kin) -> None:
        if kin.pid in self._unclaimed:
            self._bewail(kin, *self._unclaimed.pop(kin.pid))
        else:
            self._kin[kin.pid] = kin

    def _end_zygote(self) -> None:
        """It is dead or useless. What it was asked for is lost only when it is reaped: until then it may be halfway through a fork."""
        self._drop_zygote()
        if self._zygote_pid in self._kin:
            kill(self._zygote_pid)

    def _drop_zygote(self) -> None:
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None

    def _lose(self, request: int) -> None:
        """Answer `gone`, as soon as nothing of the agent is left that it asked for."""
        _, mark = self._asked.pop(request)
        self._dead.append(self._unborn(request, mark))

    @staticmethod
    def _unborn(request: int, mark: str) -> Kin:
        kin = Kin("unborn", mark, request=request)
        kin.since = time.monotonic()
        return kin

    # Ends

    def _reap(self) -> bool:
        """Wait for every child that has ended. False when there is no child at all."""
        while True:
            try:
                # Looked at first, reaped after: while it is a zombie its number, and its group's, is nobody else's.
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if ended is None:
                return True
            pid = ended.si_pid
            if pid in self._kin:
                kill(pid)
            _, status, usage = os.wait4(pid, 0)
            rss = usage.ru_maxrss * (1024 if sys.platform == "linux" else 1)
            self._remains.forget(pid)
            if (kin := self._kin.pop(pid, None)) is not None:
                self._bewail(kin, status, rss)
            elif self._forking():
                self._unclaimed[pid] = status, rss

    def _bewail(self, kin: Kin, status: int, rss: int) -> None:
        kin.status, kin.rss, kin.since = status, rss, time.monotonic()
        self._dead.append(kin)
        if kin.kind == "zygote":
            if kin.pid == self._zygote_pid:
                self._drop_zygote()
            for request in [request for request, (pid, _) in self._asked.items() if pid == kin.pid]:
                self._lose(request)

    def _forking(self) -> list[str]:
        """The marks of agents that are being forked."""
        return [mark for _, mark in self._asked.values() if mark]

    def _clear(self) -> None:
        """Kill what the dead left; report those of whom nothing is left."""
        if not self._dead:
            return
        left = self._remains.clear(self._dead, self._kin, self._forking())
        if any(kin.kind == "zygote" and kin.mark in left for kin in self._dead):
            # The one in between of a double fork is the zygote's; while it lives, the agent may yet appear.
            left |= {kin.mark for kin in self._dead if kin.kind == "unborn"}
        late = time.monotonic() - _REMAINS_S
        dead, self._dead = self._dead, []
        for kin in dead:
            if kin.mark in left and kin.since > late:
                self._dead.append(kin)
            else:
                self._report(kin)

    def _report(self, kin: Kin) -> None:
        match kin.kind:
            case "unborn":
                self._wire.send({"id": kin.request, "gone": True})
            case "zygote":
                self._wire.send({"zygote": kin.mark, "status": kin.status})
            case _:
                self._wire.send({"exit": kin.pid, "status": kin.status, "rss": kin.rss})


def main(arguments: list[str]) -> None:
    fd, supervisor, *folder = arguments
    place = mark_place()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A service manager signals every process of the service: only the supervisor decides what that means.
        signal.signal(number, signal.SIG_IGN)
    adopt_descendants()
    keeper = Keeper(Wire(socket.socket(fileno=int(fd))), int(supervisor), place, Folder(*folder) if folder else None)
    try:
        keeper.run()
    except Closed:
        pass
    finally:
        keeper.bury()
        os._exit(0)  # all is buried; an interpreter's own end would only warn of the socket that it closes
