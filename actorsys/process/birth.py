"""What does an agent process do before its own code runs? The same after a fork from the zygote and in a fresh interpreter."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed knows only `signal`
import faulthandler
import gc
import os
import resource
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from . import loading
from .kernel import MARK, close_from, die_with_parent, raise_oom_score

CONNECTION = 3  # the one descriptor besides the standard three
ANSWER = 4  # where the process between zygote and agent says what came of the fork
_ADOPTION_S = 2.0
_SIGNALS = tuple(map(int, signal.valid_signals()))
_SIGINT = int(signal.SIGINT)
_IGNORED = int(signal.SIGTERM), int(signal.SIGHUP)


def settle_in(keeper: int) -> None:
    """After the fork: a session of its own, and the keeper for a parent, with whom it dies."""
    os.setsid()
    born_to = os.getppid()
    until = time.monotonic() + _ADOPTION_S
    while (parent := os.getppid()) != keeper:
        # The one in between has exited or is about to; any other parent means that the keeper is dead.
        if parent != born_to or time.monotonic() > until:
            os._exit(1)
        time.sleep(0.0002)
    die_with_parent()
    if os.getppid() != keeper:  # it died before the kernel knew our wish
        os._exit(1)


def reset_signals() -> None:
    """As in an interpreter that just started.

    With the functions of C: what `signal` wraps around them makes enums, and running that would cost each agent 0.2 MiB.
    """
    _signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        handler = _signal.getsignal(number)
        ours = number in _IGNORED and handler == _signal.SIG_IGN  # zygote and keeper ignore these
        if ours or (callable(handler) and number != _SIGINT):
            _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_SIGINT, _signal.default_int_handler)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def take_descriptors(output: int, connection: int) -> None:
    """0 is empty, 1 and 2 are the output pipe, 3 is the connection, 4 stays what it is; nothing else is open.

    Called in between, not in the agent: libuv opens a pipe for its signals anew in each child and trusts its numbers from then on. Were
    it closed in the agent they would soon be somebody else's, and libuv aborts at what it reads there.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(connection, CONNECTION, inheritable=False)
    close_from(ANSWER + 1)


def limit_files(soft: int | None) -> None:
    """The host's own limit again: the supervisor raised its soft one, and select() in user code breaks above 1,024."""
    if soft is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def live(header: dict[str, Any], payload: bytes) -> NoReturn:
    """Run the entry and end the process with its result."""
    limit_files(header.get("nofile"))
    raise_oom_score()
    for name, value in header["env"].items():
        os.environ[name] = value
    os.environ[MARK] = header["mark"]
    _reseed()
    if not faulthandler.is_enabled():  # a zygote has done it for its agents
        faulthandler.enable(sys.stderr)
    gc.enable()
    code = 1
    try:
        entry = loading.load(header["entry"])
        code = entry(payload, Connection(CONNECTION)) or 0
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException as error:  # noqa: BLE001  # the last frame of the process
        trace = error.__traceback__
        traceback.print_exception(type(error), error, trace.tb_next if trace else None)
    finally:
        leave(code)


def leave(code: int) -> NoReturn:
    """End now. No atexit, no waiting for threads: the agent had its on_stop, and what the zygote registered is not ours to run."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads any more, or it was closed
    os._exit(code & 0xFF)


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    sys.stderr.write(f"{error.code}\n")
    return 1


def _reseed() -> None:
    """Twins forked from one zygote must not draw the same numbers. `random` sees to that itself; numpy's global generator does not."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
