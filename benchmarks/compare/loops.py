"""The loops that are timed, the same for every peer: each once for blocking peers and once for those on an event loop.

They run for so many seconds, not so many messages: the peers differ by a factor of a thousand.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter, perf_counter_ns
from typing import Any

from messages import LARGE, job, question

OUTSTANDING = 64
FAN = 8
LATE = 5.0  # seconds for the last tells to arrive after the first count
RESTART = 20.0  # seconds for a killed actor to answer again

Tally = tuple[int, float]  # how many, in how many seconds
Told = tuple[int, int, float]  # sent, received, seconds until the receivers had said so


def in_turn(ask: Callable[[Any], int], seconds: float, make: Callable[[int], Any] = question) -> list[int]:
    """Nanoseconds of each ask, one after another."""
    taken: list[int] = []
    until = perf_counter_ns() + int(seconds * 1e9)
    while (start := perf_counter_ns()) < until or not taken:
        answer = ask(make(len(taken)))
        taken.append(perf_counter_ns() - start)
        _same(answer, len(taken) - 1)
    return taken


async def in_turn_async(ask: Callable[[Any], Awaitable[int]], seconds: float, make: Callable[[int], Any] = question) -> list[int]:
    taken: list[int] = []
    until = perf_counter_ns() + int(seconds * 1e9)
    while (start := perf_counter_ns()) < until or not taken:
        answer = await ask(make(len(taken)))
        taken.append(perf_counter_ns() - start)
        _same(answer, len(taken) - 1)
    return taken


def outstanding(send: Callable[[Any], object], receive: Callable[[], object], seconds: float) -> Tally:
    """Answers in so many seconds while `OUTSTANDING` questions are out at any time."""
    start = perf_counter()
    for number in range(OUTSTANDING):
        send(question(number))
    count, until = 0, start + seconds
    while perf_counter() < until:
        receive()
        count += 1
        send(question(count))
    for _ in range(OUTSTANDING):
        receive()
    return count + OUTSTANDING, perf_counter() - start


async def outstanding_async(ask: Callable[[Any], Awaitable[int]], seconds: float, make: Callable[[int], Any] = question) -> Tally:
    start = perf_counter()
    until = start + seconds
    count = 0

    async def one_after_another() -> None:
        nonlocal count
        while perf_counter() < until:
            number = count
            count += 1
            _same(await ask(make(number)), number)

    async with asyncio.TaskGroup() as group:
        for _ in range(OUTSTANDING):
            group.create_task(one_after_another())
    return count, perf_counter() - start


def told(
    tells: Sequence[Callable[[Any], object]], counted: Callable[[], int], seconds: float, make: Callable[[int], Any] = job
) -> Told:
    """Tells to all in turn; the clock stops when the receivers have answered how many came."""
    start = perf_counter()
    sent, until = 0, start + seconds
    while perf_counter() < until:
        for tell in tells:
            tell(make(sent))
            sent += 1
    received, late = counted(), perf_counter() + LATE
    while received < sent and perf_counter() < late:
        received += counted()
    return sent, received, perf_counter() - start


async def told_async(
    tells: Sequence[Callable[[Any], Awaitable[object]]],
    counted: Callable[[], Awaitable[int]],
    seconds: float,
    make: Callable[[int], Any] = job,
) -> Told:
    start = perf_counter()
    sent, until = 0, start + seconds
    while perf_counter() < until:
        for tell in tells:
            await tell(make(sent))
            sent += 1
    received, late = await counted(), perf_counter() + LATE
    while received < sent and perf_counter() < late:
        received += await counted()
    return sent, received, perf_counter() - start


def echoed(echo: Callable[[bytes], bytes], seconds: float) -> Tally:
    """1 MiB there and back, one after another."""
    start = perf_counter()
    count = 0
    while perf_counter() < start + seconds or not count:
        _same(len(echo(LARGE)), len(LARGE))
        count += 1
    return count, perf_counter() - start


async def echoed_async(echo: Callable[[bytes], Awaitable[bytes]], seconds: float) -> Tally:
    start = perf_counter()
    count = 0
    while perf_counter() < start + seconds or not count:
        _same(len(await echo(LARGE)), len(LARGE))
        count += 1
    return count, perf_counter() - start


def _same(answer: int, expected: int) -> None:
    if answer != expected:
        raise AssertionError(f"answered with {answer}, not {expected}")
