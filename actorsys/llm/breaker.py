"""May this be tried again, or has it failed too often?

closed     everything goes; `threshold` failures in a row open it
open       nothing goes until the wait is over; each opening after a failed probe doubles the wait, up to `longest_ns`
half_open  one probe goes, the rest is refused; its success closes the breaker, its failure opens it again

Pure: `now` is monotonic nanoseconds. Whoever was allowed says how it went: `succeeded`, `failed`, or `abandoned` when that says
nothing about the other side, as when the asker was cancelled.
"""

from typing import Literal

from ..units import SECOND_NS

State = Literal["closed", "open", "half_open"]


class Breaker:
    """One for each thing that can fail by itself, such as a name or a URL.

    >>> breaker = Breaker(threshold=1, wait_ns=10)
    >>> breaker.allows(0), breaker.failed(0), breaker.allows(9)
    (True, None, False)
    >>> breaker.allows(10), breaker.allows(10), breaker.succeeded(), breaker.allows(11)
    (True, False, None, True)
    """

    def __init__(self, *, threshold: int = 5, wait_ns: int = SECOND_NS, longest_ns: int = 30 * SECOND_NS) -> None:
        self.state: State = "closed"
        self.failures = 0  # in a row
        self.opened = 0  # times
        self.refused = 0
        self._threshold = threshold
        self._first_wait_ns = self._wait_ns = wait_ns
        self._longest_ns = longest_ns
        self._until_ns = 0
        self._is_probing = False

    def allows(self, now: int) -> bool:
        """Whether it may be tried now; in half_open this gives the one probe away."""
        if self.state == "closed":
            return True
        if self.state == "open" and now >= self._until_ns:
            self.state = "half_open"
        if self.state == "half_open" and not self._is_probing:
            self._is_probing = True
            return True
        self.refused += 1
        return False

    def succeeded(self) -> None:
        self.state = "closed"
        self.failures = 0
        self._wait_ns = self._first_wait_ns
        self._is_probing = False

    def failed(self, now: int) -> None:
        self.failures += 1
        if self.state == "half_open":
            self._wait_ns = min(2 * self._wait_ns, self._longest_ns)
            self._open(now)
        elif self.state == "closed" and self.failures >= self._threshold:
            self._open(now)

    def abandoned(self) -> None:
        """It was allowed, but told nothing: the next one may be the probe."""
        self._is_probing = False

    def left_ns(self, now: int) -> int:
        """How long it stays open; 0 when something may go."""
        return max(0, self._until_ns - now) if self.state == "open" else 0

    def _open(self, now: int) -> None:
        self.state = "open"
        self.opened += 1
        self._until_ns = now + self._wait_ns
        self._is_probing = False
