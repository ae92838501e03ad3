"""Erlang/OTP: two nodes, each an OS process, over its own distribution on loopback; actors are light processes of the far one.

Killed is one light process, by exit(Pid, kill), and its OTP supervisor starts it again: no OS process dies.
"""

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from loops import Tally, Told

SOURCE = Path(__file__).with_name("erlang_side.erl")
HERE, THERE = "here@127.0.0.1", "there@127.0.0.1"


class Peer:
    def start(self) -> str:
        folder = os.environ["TMPDIR"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        subprocess.run(["erlc", "-o", folder, str(SOURCE)], check=True)
        # One port that both know instead of epmd, a daemon that would stay behind; HOME is where the cookie is made.
        shared = ["erl", "-noshell", "-pa", folder, "-start_epmd", "false", "-erl_epmd_port", str(port)]
        shared += ["-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-kernel", "logger_level", "none"]
        env = {**os.environ, "HOME": folder}
        Path(folder, ".erlang.cookie").write_text(os.urandom(16).hex())
        Path(folder, ".erlang.cookie").chmod(0o400)
        self.there = subprocess.Popen([*shared, "-noinput", "-name", THERE], env=env)
        near = [*shared, "-name", HERE, "-dist_listen", "false", "-eval", f"erlang_side:main('{THERE}')."]
        self.here = subprocess.Popen(near, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return str(self._answer())

    def _answer(self) -> Any:
        assert self.here.stdout is not None
        return json.loads(self.here.stdout.readline())

    def _do(self, *words: object) -> Any:
        assert self.here.stdin is not None
        print(*words, file=self.here.stdin, flush=True)
        return self._answer()

    def ask(self, seconds: float) -> list[int]:
        return list(self._do("ask", float(seconds)))

    def asks(self, seconds: float) -> Tally:
        return tuple(self._do("asks", float(seconds)))

    def tells(self, to: int, seconds: float) -> Told:
        return tuple(self._do("tells", to, float(seconds)))

    def between(self, seconds: float) -> list[int]:
        return list(self._do("between", float(seconds)))

    def echo(self, seconds: float) -> Tally:
        return tuple(self._do("echo", float(seconds)))

    def spawn(self, count: int) -> float:
        return float(self._do("spawn", count))

    def kill(self) -> float:
        return float(self._do("kill"))

    def stop(self) -> None:
        for process in (self.here, self.there):
            process.kill()
            process.wait()
