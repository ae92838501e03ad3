"""One peer in a process of its own: told what to do a line at a time, and ended with all that it started.

python driver.py NAME    the far side; reads [verb, argument ...] and answers {"result": ...} or {"error": "..."}
"""

import asyncio
import importlib
import inspect
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import psutil
from alone import shut_in
from peers import PEERS

import actorsys
from actorsys.process import kernel

HERE = Path(__file__).parent
STOPPING = 5.0  # seconds for a peer to stop by itself


class Failed(Exception):
    """A peer did not do what it was asked, or not in time."""


class Driver:
    """The near side. Leave it with `close` on every path."""

    def __init__(self, name: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cmp-", ignore_cleanup_errors=True)
        self._errors = Path(self._folder.name, "stderr")
        paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "TMPDIR": self._folder.name, "PYTHONPATH": os.pathsep.join(paths)}
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "driver.py"), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=env,
                cwd=self._folder.name,
                start_new_session=True,  # Ctrl-C is for us; the peer is stopped in order
            )
        self._unread = b""
        self._broken = ""  # why there is no use in asking any more

    def call(self, verb: str, *arguments: object, timeout: float) -> Any:
        """What its method returned; raises Failed, and after a time-out or its end for ever."""
        assert self._process.stdin is not None
        try:
            if not self._broken:
                self._process.stdin.write(json.dumps([verb, *arguments]).encode() + b"\n")
                self._process.stdin.flush()
                answer = json.loads(self._line(verb, time.monotonic() + timeout))
        except BrokenPipeError:
            self._broken = self._last_words()
        if self._broken:
            raise Failed(self._broken)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["result"]

    def _line(self, verb: str, until: float) -> bytes:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            if select.select([fd], [], [], 0.2)[0]:
                data = os.read(fd, 1 << 20)
                if not data:
                    raise BrokenPipeError
                self._unread += data
            elif self._process.poll() is not None:  # what it forked may hold the pipe open
                raise BrokenPipeError
            elif time.monotonic() > until:
                self._broken = f"{verb} did not end in time"
                raise Failed(self._broken)
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _last_words(self) -> str:
        lines = self._errors.read_text(errors="replace").splitlines()
        return f"it ended: {lines[-1] if lines else 'without a word'}"

    def pss(self) -> float:
        """KiB of all its processes: pages of their own, and their share of those they have in common."""
        total = 0
        for process in self._tree():
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                pass  # it has just ended
        return total / 2**10

    def _tree(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def close(self) -> None:
        try:
            self.call("stop", timeout=STOPPING)
        except Failed:
            pass  # what it left is killed
        end_below(self._process.pid)  # it is the reaper of what double-forked away: its tree is all that it started
        self._process.kill()
        with self._process:  # closes the pipes, and waits
            pass
        self._folder.cleanup()


def end_below(pid: int) -> None:
    """Kill what a process has started, and what starts while this is done; a second at most."""
    until = time.monotonic() + 1.0
    while psutil.pid_exists(pid) and time.monotonic() < until:
        try:
            below = psutil.Process(pid).children(recursive=True)
            alive = [process for process in below if process.status() != psutil.STATUS_ZOMBIE]
            if not alive:
                return
            for process in alive:
                process.kill()
            psutil.wait_procs(alive, timeout=0.05)
        except psutil.NoSuchProcess:
            pass  # ended by itself: look again


def serve(peer: Any, answers: Any) -> None:
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        try:
            _say(answers, result=getattr(peer, verb)(*arguments))
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is told to the near side
            _excuse(answers, error)


async def serve_async(peer: Any, answers: Any) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        verb, *arguments = json.loads(line)
        try:
            _say(answers, result=await getattr(peer, verb)(*arguments))
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is told to the near side
            _excuse(answers, error)


def _say(answers: Any, **answer: object) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _excuse(answers: Any, error: Exception) -> None:
    traceback.print_exception(error)
    _say(answers, error=f"{type(error).__name__}: {error}".split("\n")[0])


def main(name: str) -> None:
    kernel.adopt_descendants()
    if not shut_in() and PEERS[name].is_open:
        sys.exit("it listens on every address, and this system allows no network namespace to keep it in")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a peer prints is not an answer
    peer = importlib.import_module(f"peers.{name}").Peer()
    if inspect.iscoroutinefunction(peer.start):
        actorsys.run(serve_async(peer, answers))
    else:
        serve(peer, answers)
    end_below(os.getpid())  # end of the input without a stop: the near side was killed


if __name__ == "__main__":
    main(sys.argv[1])
