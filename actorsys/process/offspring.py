"""How does the keeper make a process? Fork, then become the zygote or execute another program."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from .kernel import MARK, close_others, die_with_parent, rewrite_mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, NoReturn


def fork(become: Callable[[], NoReturn]) -> int | OSError:
    """The pid of a child that becomes something else, or the error of the system."""
    keeper = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        return error
    if pid:
        return pid
    try:
        os.setsid()
        die_with_parent()
        if os.getppid() == keeper:  # or it died before the kernel knew our wish
            become()
    finally:
        os._exit(127)  # never back into the keeper's loop


def leave_keeper(keep: set[int]) -> None:
    """In the child: no signal and no descriptor of the keeper's."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    close_others(keep)


def be_zygote(sock: socket.socket, keeper: int, mark_place: int, header: dict[str, Any]) -> NoReturn:
    from .boot import prepare

    # First of all, so that it has the numbers 3 and 4, as the keeper's own had: nothing of a library is then where the agents have their
    # connection (see `birth.take_descriptors`).
    answers, _ = os.pipe()
    os.environ[MARK] = header["mark"]  # what its modules start while they are loaded is known by this
    rewrite_mark(mark_place, header["mark"])
    prepare(header["host"])
    from actorsys.process import zygote  # after prepare: the real package, not the stand-in

    zygote.main(sock, answers, keeper, mark_place, header)


def execute(header: dict[str, Any], fds: list[int]) -> int | OSError:
    """Start another program; `fds` are its standard output and error, and its descriptors from 3 up."""

    def become() -> NoReturn:
        # Out of the way first: the targets 3, 4, ... may be the numbers of others yet to be placed.
        *placed, tell = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in (*fds, failure))
        try:
            _execute(header, placed, tell)
        except OSError as error:
            os.write(tell, str(error.errno or 1).encode())
        os._exit(127)

    import fcntl

    failed, failure = os.pipe()
    pid = fork(become)
    os.close(failure)
    # Ends with the exec, which closes the other side: this waits a millisecond, and only for our own child.
    error = b"" if isinstance(pid, OSError) else os.read(failed, 16)
    os.close(failed)
    if error and not isinstance(pid, OSError):
        os.waitpid(pid, 0)
        return OSError(int(error), os.strerror(int(error)))
    return pid


def _execute(header: dict[str, Any], fds: list[int], keep: int) -> None:
    signal.set_wakeup_fd(-1)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    output, *others = fds
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for number, fd in enumerate(others, start=3):
        os.dup2(fd, number)
    close_others({keep, *range(3, 3 + len(others))})
    if header["cwd"]:
        os.chdir(header["cwd"])
    os.execvpe(header["argv"][0], header["argv"], {**header["env"], MARK: header["mark"]})
