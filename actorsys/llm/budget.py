"""How much may still be spent in this window? Tokens and dollars, charged before a call and settled after it.

A window begins with the first charge and ends for good; what is in flight then counts in the next one. What is charged when a call
begins and never settled, because its agent died, stays charged. Pure: `now` is monotonic nanoseconds.
"""

from typing import Literal

from msgspec import Struct

Fits = Literal["yes", "later", "no", "never"]


class Cost(Struct, frozen=True):
    """Of one call, or of many."""

    tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens + other.tokens, self.usd + other.usd)


class Budget:
    """`tokens` and `usd` for each window; 0: without limit.

    >>> budget = Budget(tokens=100, usd=0, window_ns=1_000)
    >>> budget.fits(Cost(60), now=0), budget.reserve("a", Cost(60), now=0), budget.fits(Cost(60), now=1)
    ('yes', None, 'later')
    >>> budget.settle("a", Cost(50), now=2), budget.fits(Cost(60), now=3), budget.resets_ns(now=3), budget.fits(Cost(60), now=1_000)
    (None, 'no', 997, 'yes')
    """

    def __init__(self, tokens: int, usd: float, window_ns: int) -> None:
        self.spent = Cost()
        self.until_ns: int | None = None  # the end of the window; None: it has not begun
        self._open: dict[object, Cost] = {}
        self.limit(tokens, usd, window_ns)

    def limit(self, tokens: int, usd: float, window_ns: int) -> None:
        """Another limit; a window that has begun keeps its end."""
        self.tokens, self.usd, self.window_ns = tokens, usd, window_ns

    def fits(self, cost: Cost, now: int) -> Fits:
        """Whether a call may begin; later: when one in flight has cost less than it may; no: in the next window; never: in none."""
        self._turn(now)
        if self._exceeds(cost):
            return "never"
        if self._exceeds(self.spent + cost):
            return "no"
        return "later" if self._exceeds(self.charged + cost) else "yes"

    def reserve(self, key: object, cost: Cost, now: int) -> None:
        """A call begins that may cost so much."""
        self._turn(now)
        if self.until_ns is None:
            self.until_ns = now + self.window_ns
        self._open[key] = cost

    def settle(self, key: object, cost: Cost | None, now: int) -> None:
        """It has cost so much. None: nobody knows, it stays charged. Of a call that was never begun nothing is taken."""
        charged = self._open.pop(key, None)
        if charged is None:
            return
        self._turn(now)
        if self.until_ns is None:
            self.until_ns = now + self.window_ns
        self.spent += charged if cost is None else cost

    def resets_ns(self, now: int) -> int:
        """How long until the window ends."""
        self._turn(now)
        return 0 if self.until_ns is None else self.until_ns - now

    def restore(self, spent: Cost, until_ns: int) -> None:
        """What an earlier life has spent of the window that ends then."""
        self.spent, self.until_ns = spent, until_ns

    @property
    def charged(self) -> Cost:
        """What is spent, and what the calls in flight may cost."""
        total = self.spent
        for cost in self._open.values():
            total += cost
        return total

    def _exceeds(self, cost: Cost) -> bool:
        return bool((self.tokens and cost.tokens > self.tokens) or (self.usd and cost.usd > self.usd))

    def _turn(self, now: int) -> None:
        if self.until_ns is not None and now >= self.until_ns:
            self.spent, self.until_ns = Cost(), None
