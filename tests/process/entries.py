"""What the agents of these tests do; imported in their processes, from this folder."""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection


def echo(payload: bytes, connection: Connection) -> int:
    """Send the payload back, then every message, until the end."""
    connection.send_bytes(payload)
    try:
        while True:
            connection.send_bytes(connection.recv_bytes())
    except EOFError:
        return 0


def spin(payload: bytes, connection: Connection) -> int:
    connection.send_bytes(b"spinning")
    while True:
        pass


def leave(payload: bytes, connection: Connection) -> int:
    return int(payload)


def say_exit(payload: bytes, connection: Connection) -> int:
    sys.exit(int(payload))


def crash(payload: bytes, connection: Connection) -> int:
    print("before the crash", end="")
    raise ValueError("on purpose: \udcff")


def segfault(payload: bytes, connection: Connection) -> int:
    ctypes.string_at(0)
    return 0


def look(payload: bytes, connection: Connection) -> int:
    """Describe the process it finds itself in."""
    fds = {int(name): os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(int(name))}
    with open("/proc/self/oom_score_adj") as file:
        oom = int(file.read())
    found = {
        "fds": fds,
        "session": os.getsid(0) == os.getpid(),
        "parent": os.getppid(),
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "oom": oom,
        "mark": os.environ["ACTORSYS_AGENT"],
        "given": os.environ.get("GIVEN"),
        "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "encoding": [sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering],
        "cwd": os.getcwd(),
        "way_bytes": way_bytes(connection),
        "inheritable": os.get_inheritable(connection.fileno()),
    }
    connection.send_bytes(json.dumps(found).encode())
    return 0


def way_bytes(connection: Connection) -> int:
    """How much may be on its way from this end."""
    with socket.socket(fileno=os.dup(connection.fileno())) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def parent(payload: bytes, connection: Connection) -> int:
    """Start what the payload names, report the pids, then wait."""
    pids = []
    for kind in json.loads(payload):
        match kind:
            case "child":
                pids.append(subprocess.Popen(["sleep", "300"]).pid)
            case "session":
                pids.append(subprocess.Popen(["sleep", "300"], start_new_session=True).pid)
            case "tree":
                script = "import os, time\nos.setsid()\nos.fork()\nos.setpgid(0, 0) if os.getsid(0) != os.getpid() else None\ntime.sleep(300)"
                pids.append(subprocess.Popen([sys.executable, "-S", "-c", script]).pid)
            case "daemon":
                pids.append(_daemon({**os.environ}))
            case "nameless daemon":
                pids.append(_daemon({}))
            case "forked daemon":
                pids.append(_daemon(None))
    connection.send_bytes(json.dumps(pids).encode())
    while True:
        time.sleep(300)


def _daemon(env: dict[str, str] | None) -> int:
    """Double fork, own session; without an exec when there is no environment."""
    answer, ask = os.pipe()
    if (between := os.fork()) == 0:
        os.setsid()
        if (pid := os.fork()) == 0:
            os.setsid() if os.getsid(0) == os.getpid() else os.setpgid(0, 0)
            os.close(ask)
            if env is None:
                time.sleep(300)
                os._exit(0)
            os.execve("/bin/sleep", ["sleep", "300"], env)
        os.write(ask, str(pid).encode())
        os._exit(0)
    os.waitpid(between, 0)
    return int(os.read(answer, 16))


def find_faults(argument: bytes) -> dict[str, str]:
    """A validator."""
    return {"args": f"bad: {argument.decode()}"} if argument else {}
