"""Who may send the next call, and when? Slots in time, and a line of those who wait for one.

A slot is used up to EXPIRY after it was given, since an agent may be slow to send. With slots `(per + EXPIRY) / requests` apart no
window of length `per` ever sees more than `requests` arrivals. Pure: `now` is monotonic nanoseconds.
"""

from collections import deque

from ..units import SECOND_NS

EXPIRY_NS = SECOND_NS // 4


class Pacer:
    """`requests` 0: no limit. Agents take turns, whatever the number of tickets that one of them has; its own go in order.

    >>> pacer = Pacer(4, per_ns=1_000, expiry_ns=200)
    >>> pacer.join("a", 1), pacer.join("a", 2), pacer.join("b", 3)
    (None, None, None)
    >>> pacer.take(0), pacer.take(0), pacer.wake_ns(), pacer.take(301), pacer.take(602)
    (('a', 1), None, 301, ('b', 3), ('a', 2))
    """

    def __init__(self, requests: int, per_ns: int, expiry_ns: int = EXPIRY_NS) -> None:
        self._line: dict[str, deque[int]] = {}  # in the order of their turns
        self._next_ns = 0
        self.limit(requests, per_ns, expiry_ns)

    def limit(self, requests: int, per_ns: int, expiry_ns: int = EXPIRY_NS) -> None:
        """Another rate, from now on."""
        self._space_ns = (per_ns + expiry_ns) // requests + 1 if requests else 0

    def join(self, agent: str, ticket: int) -> None:
        self._line.setdefault(agent, deque()).append(ticket)

    def leave(self, agent: str, ticket: int) -> None:
        """It does not wait any more, or never did."""
        tickets = self._line.get(agent)
        if tickets is not None and ticket in tickets:
            tickets.remove(ticket)
            if not tickets:
                del self._line[agent]

    def take(self, now: int) -> tuple[str, int] | None:
        """The agent whose turn it is, and its ticket: it has the slot. None: nobody waits, or it is too early."""
        if not self._line or now < self._next_ns:
            return None
        agent = next(iter(self._line))
        tickets = self._line.pop(agent)
        ticket = tickets.popleft()
        if tickets:
            self._line[agent] = tickets
        self._next_ns = now + self._space_ns
        return agent, ticket

    def wake_ns(self) -> int | None:
        """When the next slot is, if anybody waits for it."""
        return self._next_ns if self._line else None

    def __len__(self) -> int:
        return sum(len(tickets) for tickets in self._line.values())
