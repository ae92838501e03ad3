"""What can one do with a bus, and what may one rely on?

`Bus` is the narrow interface that the rest of the package uses; `local.LocalBus` and `nats.NatsBus` implement it, and
`tests/contracts/test_bus.py` holds both to the same promises:

- Messages of one sender on one subject arrive in order; a subscription runs its handler for one message at a time
  unless `concurrency` says otherwise. An exception in a handler is counted and logged, and the next message is handled.
- Nothing is dropped without a typed error, or a counter in `stats()` and a log line.
- At most once: what was under way when a connection broke may be lost (`BusStats.unconfirmed` bounds how much).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct

State = Literal["connected", "connecting", "off"]

MAX_MESSAGES = 1000  # in one subscription, not handled yet
MAX_BYTES = 16 * 2**20
OUTBOX_BYTES = 2 * 2**20  # published while there is no connection
MAX_PAYLOAD = 2**20  # until a server says otherwise


class Incoming(Struct, frozen=True):
    """A message as it arrived; `reply` is the subject to answer on, or empty."""

    subject: str
    payload: bytes
    reply: str = ""
    headers: Mapping[str, str] | None = None


# Called as soon as it is a message's turn; when it returns None instead of something to wait for, the message is handled.
Handler: TypeAlias = Callable[[Incoming], Awaitable[object] | None]


class BusStats(Struct, frozen=True, kw_only=True):
    """Counters since start; all of them only grow, but for `buffered`, `subscriptions` and `refused`."""

    connects: int = 0
    disconnects: int = 0
    moves: int = 0  # connections left in good order for a new one: the server was about to stop, or credentials were renewed
    in_messages: int = 0
    in_bytes: int = 0
    out_messages: int = 0
    out_bytes: int = 0
    dropped: int = 0  # arrived where a subscription was full, or could not be read
    unsent: int = 0  # published without a connection, and never sent: closed first, or too large for the new server
    unconfirmed: int = 0  # sent on connections that broke before the server confirmed: an upper bound of what is lost
    handler_errors: int = 0
    permission_errors: int = 0
    errors: int = 0  # of the connection, permission errors included
    buffered: int = 0  # waiting for a connection
    subscriptions: int = 0
    refused: int = 0  # of the subscriptions, those that the server does not permit: they hear nothing
    last_error: str = ""


class Subscription(Protocol):
    @property
    def subject(self) -> str: ...

    @property
    def dropped(self) -> int:
        """How many messages found no room."""

    @property
    def refused(self) -> str:
        """Why the server does not let us listen, or empty."""

    async def unsubscribe(self) -> None:
        """Receive no more; what waits is discarded, a running handler ends by itself."""

    async def drain(self, timeout: float = 5.0) -> None:
        """Receive no more, and handle what has already arrived, within `timeout` seconds."""


class Bus(Protocol):
    @property
    def state(self) -> State: ...

    @property
    def reason(self) -> str:
        """Why it is not connected, or empty."""

    @property
    def is_connected(self) -> bool: ...

    async def start(self) -> None:
        """Begin to connect, in the background; never waits for the network and never fails because of it."""

    async def wait_connected(self, timeout: float) -> None:
        """Return once connected; raise Unreachable with the reason when that takes longer than `timeout` seconds."""

    async def publish(
        self, subject: str, payload: bytes, *, reply: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send to whoever listens; without a connection, keep it until there is one.

        Raises BadMessage if subject, headers or size are wrong, Unreachable if there is no connection and no room.
        """

    async def publish_json(
        self, subject: str, value: Any, *, reply: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Publish anything that msgspec can write as JSON."""

    async def request(
        self, subject: str, payload: bytes, timeout: float, *, headers: Mapping[str, str] | None = None
    ) -> Incoming:
        """Send and wait for the first answer.

        Raises at once: Unreachable without a connection, UnknownAgent if nobody listens, ConfigError if we may not ask.
        Raises AskTimeout after `timeout` seconds.
        """

    async def subscribe(
        self,
        subject: str,
        handler: Handler,
        *,
        queue: str = "",
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        concurrency: int = 1,
        on_full: Handler | None = None,
    ) -> Subscription:
        """Call `handler` for what arrives; of the members of one `queue` group, one gets each message.

        What finds `max_messages` or `max_bytes` here that are not handled yet is dropped, and given to `on_full` to answer it.

        With a connection it is in effect when this returns; without one it starts with the next connection.
        Raises BadMessage for a wrong subject, ConfigError if the server refuses it.
        """

    async def flush(self, timeout: float = 5.0) -> None:
        """Return when the server has all that was published; raise Unreachable if it does not say so in time."""

    async def drain(self, timeout: float = 5.0) -> None:
        """Receive no more, handle what has arrived, send what waits, then close; all within `timeout` seconds."""

    async def close(self) -> None:
        """End now; nothing is left behind. A closed bus is `off` for good."""

    def stats(self) -> BusStats: ...
