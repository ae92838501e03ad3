"""Wait for a condition instead of sleeping: the only waits that tests need, with deadlines that a busy machine keeps."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT = 20.0  # seconds; only a test that fails waits that long
_POLL = 0.005  # seconds


def until(condition: Callable[[], T], timeout: float = TIMEOUT) -> T:
    """Poll until the condition holds; what it gave. Raises AssertionError when that takes too long."""
    give_up = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < give_up, f"did not come true within {timeout:g} s"
        time.sleep(_POLL)
    return value


async def eventually(condition: Callable[[], T], timeout: float = TIMEOUT) -> T:
    """The same while the event loop runs on."""
    give_up = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < give_up, f"did not come true within {timeout:g} s"
        await asyncio.sleep(_POLL)
    return value
