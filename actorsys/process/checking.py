"""Do these agent classes load? Found out in a process that is thrown away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Literal

from ..units import format_seconds
from . import loading
from .orders import Order, Status
from .process import Process

_numbers = iter(range(1, 1 << 62))


async def check(
    launch: Callable[[Order], Awaitable[Process]],
    how: Literal["auto", "fresh"],
    types: Sequence[str],
    validator: str | None,
    argument: bytes,
    timeout: float,
) -> dict[str, str | None]:
    """None or the text of the error for each type; a module that ends its process does not hide the others."""
    found: dict[str, str | None] = {}
    rest = list(dict.fromkeys(types))
    while rest or validator:
        what = json.dumps({"types": rest, "validator": validator}).encode() + b"\0" + argument
        order = Order(name=":check", incarnation=next(_numbers), entry=f"{__name__}:in_child", payload=what, how=how)
        process = await launch(order)
        told, status = await _listen(process, timeout)
        found.update(told)
        rest = [type for type in rest if type not in found]
        if status is None or not rest:
            if not rest and status is not None and status.exit_code != 0 and validator:
                found[validator] = _ending(status)
            for type in rest:
                found[type] = f"importing took longer than {format_seconds(timeout)}"
            break
        # It was at the first one without an answer when the process ended.
        found[rest.pop(0)] = f"the process ended while importing: {_ending(status)}"
    return found


def in_child(payload: bytes, connection: Connection) -> int:
    """The entry of the process: import one after the other, tell the result of each."""
    header, _, argument = payload.partition(b"\0")
    what = json.loads(header)
    for type in what["types"]:
        try:
            loading.load(type)
        except BaseException as error:  # noqa: BLE001  # an import may raise anything, SystemExit too
            _tell(connection, type, loading.why(error))
        else:
            _tell(connection, type, None)
    if what["validator"]:
        module, _, function = what["validator"].partition(":")
        for key, text in (getattr(import_module(module), function)(argument) or {}).items():
            _tell(connection, key, text)
    return 0


def _tell(connection: Connection, key: str, text: str | None) -> None:
    connection.send_bytes(json.dumps([key, text]).encode())


async def _listen(process: Process, timeout: float) -> tuple[list[tuple[str, str | None]], Status | None]:
    """What it told, and how it ended; None: too late, and it was killed."""
    loop = asyncio.get_running_loop()
    told: list[tuple[str, str | None]] = []
    assert process.connection is not None
    connection = process.connection

    def hear() -> None:
        try:
            while connection.poll():
                key, text = json.loads(connection.recv_bytes())
                told.append((key, text))
        except (EOFError, OSError):
            loop.remove_reader(connection.fileno())

    def drop() -> None:
        # What modules print goes nowhere, but must not fill the pipe: the process would stop.
        if process.read_output() == b"":
            loop.remove_reader(process.output_fd)

    loop.add_reader(connection.fileno(), hear)
    loop.add_reader(process.output_fd, drop)
    status = None
    try:
        async with asyncio.timeout(timeout):
            status = await asyncio.shield(process.exited)
    except TimeoutError:
        process.kill()
        await process.exited
    finally:
        process.kill()
        hear()
        loop.remove_reader(connection.fileno())
        loop.remove_reader(process.output_fd)
        process.close()
    return told, status


def _ending(status: Status) -> str:
    return status.signal or f"exit code {status.exit_code}"
