"""What has happened on this bus so far, and is it worth another log line?"""

import logging

from .. import clock
from ..units import SECOND_NS
from .base import BusStats

log = logging.getLogger("actorsys.bus")


class Often:
    """Lets one event through per interval and key, and counts the rest.

    Keys come from the network, so their number is bounded: beyond it they share one.
    """

    def __init__(self, interval: float, keys: int = 256) -> None:
        self._interval_ns = int(interval * SECOND_NS)
        self._keys = keys
        self._next: dict[str, int] = {}
        self._held: dict[str, int] = {}

    def hold(self, key: str) -> int | None:
        """None to keep quiet; otherwise how many were kept quiet since the last one."""
        if key not in self._next and len(self._next) >= self._keys:
            key = ""
        now = clock.now_ns()
        if now < self._next.get(key, 0):
            self._held[key] = self._held.get(key, 0) + 1
            return None
        self._next[key] = now + self._interval_ns
        return self._held.pop(key, 0)


class Counters:
    def __init__(self, name: str) -> None:
        self.name = name
        self.connects = self.disconnects = self.moves = 0
        self.in_messages = self.in_bytes = self.out_messages = self.out_bytes = 0
        self.dropped = self.unsent = self.unconfirmed = 0
        self.handler_errors = self.permission_errors = self.errors = 0
        self.last_error = ""
        self._each_second = Often(1.0)

    def warn(self, key: str, text: str, *args: object, error: BaseException | None = None) -> None:
        """At most one warning per key and second, with the number of those left out."""
        held = self._each_second.hold(key)
        if held is not None:
            more = f" ({held} more like this)" if held else ""
            log.warning("%s: %s%s", self.name, text % args, more, exc_info=error)

    def slow(self, subject: str) -> None:
        self.dropped += 1
        self.warn(f"slow {subject}", "a message on %s was dropped: its handler does not keep up", subject)

    def permitted(self, subject: str) -> None:
        log.info("%s: the server permits to subscribe on %r again", self.name, subject)

    def handler_failed(self, subject: str, error: BaseException) -> None:
        self.handler_errors += 1
        self.warn(f"handler {subject}", "the handler of %s failed", subject, error=error)

    def snapshot(self, *, buffered: int, subscriptions: int, refused: int = 0) -> BusStats:
        known = {name: getattr(self, name) for name in BusStats.__struct_fields__ if hasattr(self, name)}
        return BusStats(**known, buffered=buffered, subscriptions=subscriptions, refused=refused)
