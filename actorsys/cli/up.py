"""`supervise`: run the agents of a file in the foreground, until a signal or the supervisor itself ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Any, Protocol

import click

from .failures import FORCED
from .options import Settings, settings, shared

log = logging.getLogger("actorsys.supervisor")


class Running(Protocol):
    """What this module needs of a Supervisor."""

    @property
    def name(self) -> str: ...
    @property
    def control_path(self) -> Any: ...
    @property
    def nats_urls(self) -> list[str]: ...
    async def start(self) -> Any: ...
    async def wait_stopped(self) -> int: ...
    async def stop(self) -> Any: ...
    def kill_now(self) -> None: ...


@click.command()
@click.argument("path", metavar="[FILE]", required=False)
@shared()
def supervise(path: str | None) -> int:
    """Run the agents of FILE (default: ./agents.toml) in the foreground.

    The first Ctrl-C or SIGTERM stops them in order, the second kills them. SIGHUP reads FILE again.
    """
    wanted = settings()
    wanted.file = path or wanted.file
    from ..config.load import load
    from .log import install, remove

    config = load(wanted.file)
    # The whole supervisor is loaded only for a file that is right so far: errors come at once.
    from ..supervision.supervisor import Supervisor, run

    handler = install({**config.environ, **os.environ}.get("LOG_LEVEL") or "INFO")

    def force() -> None:
        remove(handler)
        os._exit(FORCED)  # nothing is left to wait for, and whatever still runs here must not delay the end

    try:
        return int(run(serve(Supervisor.from_toml(wanted.file), wanted, force)))
    finally:
        remove(handler)


async def serve(supervisor: Running, wanted: Settings, force: Callable[[], None]) -> int:
    """Start the supervisor and wait for its end; the exit code.

    The first signal stops it in order: 0. The second kills everything and calls `force`, which does not return.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def on_stop(name: str) -> None:
        if not asked.is_set():
            log.info("%s: stopping; once more kills everything", name)
            asked.set()
            return
        log.warning("%s again: killing everything", name)
        supervisor.kill_now()
        force()

    reloads: set[asyncio.Task[None]] = set()

    def on_reload() -> None:
        task = loop.create_task(_reload(supervisor))
        reloads.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_stop, number.name)
    loop.add_signal_handler(signal.SIGHUP, on_reload)
    stopping = loop.create_task(asked.wait())
    try:
        if await _first(loop.create_task(supervisor.start()), stopping):
            _greet(supervisor, wanted)
            ended = loop.create_task(supervisor.wait_stopped())
            if await _first(ended, stopping):
                return ended.result()
        await supervisor.stop()
        log.info("stopped")
        return 0
    finally:
        stopping.cancel()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _first(work: asyncio.Task[Any], stopping: asyncio.Task[Any]) -> bool:
    """Whether `work` was done before a signal came; its error is raised. If not, it is cancelled."""
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()
        return True
    work.cancel()
    await asyncio.wait({work})
    return False


def _greet(supervisor: Running, wanted: Settings) -> None:
    log.info("%s is up; control socket: %s", supervisor.name, supervisor.control_path)
    log.info("NATS: %s", ", ".join(supervisor.nats_urls) or "off")
    ps, why = wanted.again("ps"), wanted.again("why NAME")
    log.info("from another terminal, try: `%s`, then `kill -9 PID` with a PID from it, then `%s`", ps, why)


async def _reload(supervisor: Running) -> None:
    reload = getattr(supervisor, "reload", None)
    if reload is None:
        log.warning("SIGHUP: this version cannot read its configuration again; restart it to apply changes")
        return
    try:
        await reload()
    except Exception:
        log.exception("SIGHUP: the configuration was not applied; everything runs on as it was")
