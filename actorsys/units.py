"""Durations and sizes as people write them: "500ms", "1m30s", "256MiB".

Inside the program a duration is a float of seconds and a size an int of bytes; the pure machines count integer nanoseconds.
"""

import math
import re

SECOND_NS = 1_000_000_000

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|KB|MB|GB|KiB|MiB|GiB)?")


class Seconds(float):
    """A duration. In text: a number with a unit, parts may follow each other."""

    @classmethod
    def parse(cls, value: object) -> "Seconds":
        """Read "500ms", "5s", "1m30s", or a plain number of seconds.

        Raises ValueError for anything else, for negative and for not finite numbers.

        >>> Seconds.parse("1m30s")
        90.0
        """
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if value < 0 or not math.isfinite(value):
                raise ValueError(f"a duration is a number of seconds from 0 up, not {value!r}")
            return cls(value)
        if isinstance(value, str):
            parts = _DURATION_PART.findall(value)
            if parts and "".join(number + unit for number, unit in parts) == value:
                return cls(sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts))
        raise ValueError(f'{value!r} is not a duration; write "500ms", "5s" or "1m30s"')

    @property
    def ns(self) -> int:
        return int(self * SECOND_NS)


class Bytes(int):
    """A size. In text: a number with a unit; KiB, MiB, GiB are powers of 1024."""

    @classmethod
    def parse(cls, value: object) -> "Bytes":
        """Read "256MiB", "64 KB", or a plain number of bytes.

        Raises ValueError for anything else and for negative numbers.

        >>> Bytes.parse("16MiB")
        16777216
        """
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
            return cls(float(match[1]) * _SIZE_UNITS[match[2] or ""])
        raise ValueError(f'{value!r} is not a size; write "16MiB" or a number of bytes')


def format_seconds(seconds: float) -> str:
    """A duration for people, two units at most.

    >>> format_seconds(0.1), format_seconds(134), format_seconds(7260)
    ('100ms', '2m14s', '2h1m')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.0f}s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours else f"{days}d"


def format_bytes(size: int) -> str:
    """A size for people.

    >>> format_bytes(2_600_000), format_bytes(512)
    ('2.5MiB', '512B')
    """
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _SIZE_UNITS[unit]:
            return f"{size / _SIZE_UNITS[unit]:.1f}{unit}"
    return f"{size}B"
