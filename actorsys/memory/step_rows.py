"""What is stored beside the state, in the same backend, under keys that no state has: the rows of journaled steps, and the version."""

from typing import Any, Literal

from msgspec import Struct

from ..mailbox.codec import decode

HIDDEN = "\0"  # starts each key that is not the user's
PREFIX = "\0step\0"  # then the message id, a slash, and the name of the step
VERSION = "\0version"  # of the state, where its class has given it one


class Row(Struct, array_like=True):
    """One step: begun, or done with its encoded result."""

    status: Literal["begun", "done"]
    name: str
    result: bytes = b""


def split(values: dict[str, bytes]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What a backend holds, as state and as step rows."""
    steps = {key: value for key, value in values.items() if key.startswith(PREFIX)}
    return {key: value for key, value in values.items() if not key.startswith(HIDDEN)}, steps


def listing(rows: dict[str, bytes]) -> list[dict[str, Any]]:
    """What `actorsys steps` shows."""
    found = []
    for key, data in rows.items():
        row = decode(data, Row)
        message = key.removeprefix(PREFIX).partition("/")[0]
        found.append(
            {"message": message, "step": row.name, "status": row.status, "result": decode(row.result) if row.result else None}
        )
    return found
