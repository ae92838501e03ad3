"""What the Python peers send each other: 160 bytes as typed msgpack, like the messages of our own benchmarks, and built anew for every send."""

import os
from dataclasses import dataclass

LARGE = os.urandom(1 << 20)
BODY = "x" * 118


@dataclass
class Question:
    """Answered with its id."""

    id: int
    task: str
    tags: list[str]
    body: str


@dataclass
class Job:
    """Counted where it arrives."""

    id: int
    task: str
    tags: list[str]
    body: str


@dataclass
class Count:
    """How many jobs came since the last count."""


@dataclass
class Pid:
    """The process id of whoever answers."""


@dataclass
class Around:
    """Ask another actor for so long; the nanoseconds of each ask."""

    seconds: float


def question(number: int) -> Question:
    return Question(number, "process", ["a", "b"], BODY)


def job(number: int) -> Job:
    return Job(number, "process", ["a", "b"], BODY)
