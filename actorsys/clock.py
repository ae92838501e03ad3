"""The one place that reads a clock.

Monotonic nanoseconds drive every timer, window and deadline; the monotonic clock is shared by all processes of a machine, so a
deadline travels in a letter as it is. Wall time is for display only.
"""

import time
from datetime import UTC, datetime

now_ns = time.monotonic_ns
wall_ns = time.time_ns  # where a number must be higher than in an earlier life of the machine


def wall() -> datetime:
    """The time of day, for display and for records that people read."""
    return datetime.now(UTC)
