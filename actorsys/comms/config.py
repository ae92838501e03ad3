"""How does an agent without a supervisor reach NATS? What is not said comes from the environment."""

import os
import socket

from msgspec import Struct, field, structs

from ..bus.nats_options import NatsOptions, without_secret
from ..errors import ConfigError
from ..spec import nats_url as env_url
from ..units import Seconds

DEFAULT_URL = "nats://127.0.0.1:4222"


def _seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable, "")
    try:
        return Seconds.parse(text if not text.replace(".", "", 1).isdigit() else float(text)) if text else default
    except ValueError as error:
        raise ConfigError(f"{variable}: {error}.", where=variable) from None


class NatsConfig(Struct, frozen=True):
    """Where NATS is, how long to wait, how much to take; each default can be set by the variable named beside it.

    `options` has the rest: credentials, TLS, timers of the connection. A URL may carry user and password, or a token.

    >>> NatsConfig("nats://token@10.0.0.2:4222", connection_timeout=1.0)
    NatsConfig('nats://***@10.0.0.2:4222', connection_timeout=1, message_timeout=30)
    """

    nats_url: str = field(
        default_factory=lambda: env_url(os.environ) or DEFAULT_URL
    )  # NATS_URL or NATS_WEBSOCKET_URL; commas between several
    connection_timeout: float = field(
        default_factory=lambda: _seconds("NATS_CONNECTION_TIMEOUT", 5.0)
    )  # connect_nats waits so long
    message_timeout: float = field(default_factory=lambda: _seconds("NATS_MESSAGE_TIMEOUT", 30.0))  # for an answer
    confirm_timeout: float = 2.0  # for the other side to say that it has a direct message
    drain_timeout: float = 5.0  # for the work under way when the connection is ended
    heartbeat_interval: float = 30.0
    concurrency: int = 1  # requests handled at once, and as many direct messages
    queue_size: int = 1000  # requests, and as many direct messages, that wait
    node: str = field(default_factory=socket.gethostname)
    options: NatsOptions | None = None  # its `urls` are replaced by nats_url

    def connection(self) -> NatsOptions:
        """What the bus needs; raises ConfigError for a setting that cannot work."""
        for name in ("connection_timeout", "message_timeout", "confirm_timeout", "heartbeat_interval"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; write seconds, more than 0.", where=name)
        for name in ("concurrency", "queue_size"):
            if not getattr(self, name) >= 1:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; write a number from 1 up.", where=name)
        parsed = NatsOptions.parse(self.nats_url)
        return structs.replace(self.options, urls=parsed.urls).check() if self.options is not None else parsed

    def __repr__(self) -> str:
        urls = ",".join(without_secret(url.strip()) for url in self.nats_url.split(","))
        return f"NatsConfig({urls!r}, connection_timeout={self.connection_timeout:g}, message_timeout={self.message_timeout:g})"
