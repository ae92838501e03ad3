"""What does our own NATS server run with, and where does it say how it is?"""

from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from msgspec import Struct, structs

_Port = TypeVar("_Port", int, int | None)


class ServerPlan(Struct, frozen=True, kw_only=True):
    """What to run, and where it says how it is."""

    binary: Path
    folder: Path
    name: str
    token: str
    port: int = -1  # -1: the server chooses
    websocket_port: int | None = None  # None: no websocket listener
    monitoring_port: int = -1
    max_payload: int = 2**20
    authorization: str = ""  # who may log in, as nats-server configuration; empty: whoever has the token
    jetstream: bool = True
    extra: str = ""  # more lines of nats-server configuration

    @property
    def config(self) -> Path:
        return self.folder / "nats-server.conf"

    @property
    def ports_folder(self) -> Path:
        return self.folder / "ports"

    @property
    def pid_file(self) -> Path:
        return self.folder / "nats-server.pid"

    @property
    def log_file(self) -> Path:
        return self.folder / "nats-server.log"

    @property
    def argv(self) -> list[str]:
        """The command; the same for every start of this plan, and without secrets, which stand in the config."""
        return [str(self.binary), "-c", str(self.config)]

    def __repr__(self) -> str:
        return f"ServerPlan({self.name!r}, {str(self.folder)!r})"


class ServerInfo(Struct, frozen=True, kw_only=True):
    """Where a running server is, and what opens it."""

    urls: tuple[str, ...]
    websocket_urls: tuple[str, ...] = ()
    monitoring_urls: tuple[str, ...] = ()
    token: str = ""

    def __repr__(self) -> str:
        return f"ServerInfo(urls={self.urls!r})"


def pinned(plan: ServerPlan, info: ServerInfo) -> ServerPlan:
    """The plan with the ports that the server chose."""
    return structs.replace(
        plan,
        port=_port(info.urls, plan.port),
        websocket_port=_port(info.websocket_urls, plan.websocket_port) if plan.websocket_port else None,
        monitoring_port=_port(info.monitoring_urls, plan.monitoring_port),
    )


def render(plan: ServerPlan) -> str:
    """The text of the config."""
    lines = [
        f"server_name: {_quote(plan.name)}",
        f'listen: "127.0.0.1:{plan.port}"',
        f'http: "127.0.0.1:{plan.monitoring_port}"',
        f"ports_file_dir: {_quote(str(plan.ports_folder))}",
        f"pid_file: {_quote(str(plan.pid_file))}",
        f"log_file: {_quote(str(plan.log_file))}",
        "logfile_size_limit: 8MB",
        "logfile_max_num: 2",
        f"max_payload: {plan.max_payload}",
        plan.authorization or f"authorization {{ token: {_quote(plan.token)} }}",
    ]
    if plan.jetstream:
        # Acknowledged means on the disk: the default syncs every 2 minutes, and power loss takes what came since.
        store = _quote(str(plan.folder / "jetstream"))
        lines.append(f"jetstream {{ store_dir: {store}, max_mem: 64MB, max_file: 1GB, sync_interval: always }}")
    if plan.websocket_port is not None:
        lines.append(f'websocket {{ listen: "127.0.0.1:{plan.websocket_port}", no_tls: true, same_origin: false }}')
    return "\n".join([*lines, plan.extra, ""])


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _port(urls: tuple[str, ...], default: _Port) -> _Port:
    return (urlsplit(urls[0]).port or default) if urls else default
