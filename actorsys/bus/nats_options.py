"""How do we reach NATS, and as whom?

Secrets stand in this Struct and nowhere else: its repr leaves them out, and `redact` takes them out of every text that is logged.
"""

import importlib.util
import random
import ssl
from urllib.parse import unquote, urlsplit

from msgspec import Struct, structs

from ..errors import ConfigError
from .base import OUTBOX_BYTES

TCP, WEB = ("nats", "tls"), ("ws", "wss")
_SECRET = ("token", "password", "nkey_seed", "creds")


class NatsOptions(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    urls: tuple[str, ...]  # nats:// and tls://, or ws:// and wss://; credentials in a URL count for its server only
    token: str = ""
    user: str = ""
    password: str = ""
    nkey_seed: str = ""  # the seed itself
    creds: str = ""  # the text of a creds file
    creds_file: str = ""  # read again for each connection
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_hostname: str = ""
    connect_timeout: float = 2.0  # for each step: TCP, first line, login
    ping_interval: float = 10.0
    ping_timeout: float = 20.0  # silence after a ping: the connection is dead
    reconnect_wait: float = 0.1  # doubles with each round through the URLs; jitter takes off up to a half
    reconnect_max: float = 1.5  # so that subscriptions are back within 2 s of the server; see `paced`
    refused_max: float = 30.0  # the same for wrong credentials: only a person can mend those
    outbox_bytes: int = OUTBOX_BYTES

    @classmethod
    def parse(cls, text: str, **options: object) -> "NatsOptions":
        """Options for one URL, or several with commas in between; raises ConfigError if one is wrong.

        >>> NatsOptions.parse("localhost, nats://me:secret@10.0.0.2:4333")
        NatsOptions(urls=('nats://localhost:4222', 'nats://***@10.0.0.2:4333'))
        """
        urls = tuple(_normal(url.strip()) for url in text.split(",") if url.strip())
        return cls(urls=urls, **options).check()  # type: ignore[arg-type]  # msgspec refuses unknown names itself

    def check(self) -> "NatsOptions":
        """These options, if they can work at all; raises ConfigError."""
        if not self.urls:
            raise ConfigError('no NATS URL is set; write one such as "nats://127.0.0.1:4222".', where="nats.url")
        urls = tuple(_normal(url) for url in self.urls)
        schemes = {urlsplit(url).scheme for url in urls}
        if not (schemes <= set(TCP) or schemes <= set(WEB)):
            raise ConfigError("the NATS URLs mix nats:// and ws://; one connection uses either.", where="nats.url")
        if schemes & set(WEB) and importlib.util.find_spec("aiohttp") is None:
            raise ConfigError("ws:// and wss:// need aiohttp: `pip install aiohttp`.", where="nats.url")
        given = [name for name in ("token", "user", "nkey_seed", "creds", "creds_file") if getattr(self, name)]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} are both set; one way to log in is enough.", where=f"nats.{given[1]}")
        if bool(self.user) != bool(self.password):
            raise ConfigError("user and password go together; one of them is missing.", where="nats.user")
        if self.tls_key and not self.tls_cert:
            raise ConfigError("tls_key is set without tls_cert.", where="nats.tls_key")
        return structs.replace(self, urls=urls)

    def paced(self, fleet: int) -> "NatsOptions":
        """The same for one of `fleet` agents: all together try about 60 connections a second while the server is away.

        >>> NatsOptions.parse("localhost").paced(300).reconnect_max
        5.0
        """
        longest = min(max(self.reconnect_max, fleet / 60), 10.0)
        return structs.replace(self, reconnect_wait=self.reconnect_wait * longest / self.reconnect_max, reconnect_max=longest)

    def backoff(self, tries: int, *, was_refused: bool = False) -> float:
        """Seconds to wait after the n-th failed round, from 0; random, so that a fleet does not come back as a herd."""
        base, longest = (1.0, self.refused_max) if was_refused else (self.reconnect_wait, self.reconnect_max)
        return random.uniform(0.5, 1.0) * min(longest, base * 2.0 ** min(tries, 30))

    def tls(self) -> ssl.SSLContext | None:
        """The TLS settings, or None for those of the system; raises ConfigError if a file is missing or wrong."""
        if not (self.tls_ca or self.tls_cert):
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca or None)
            if self.tls_cert:
                context.load_cert_chain(self.tls_cert, self.tls_key or None)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(name for name in (self.tls_ca, self.tls_cert, self.tls_key) if name)
            raise ConfigError(f"the TLS files ({files}) cannot be used: {error}.", where="nats.tls_ca") from None
        return context

    def redact(self, text: str) -> str:
        """The text without our secrets."""
        secrets = [getattr(self, name) for name in _SECRET]
        for url in self.urls:
            parts = urlsplit(url)
            secrets += [parts.password or parts.username or "", unquote(parts.password or parts.username or "")]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        shown = []
        for name, value in structs.asdict(self).items():
            if value == _DEFAULTS.get(name):
                continue
            if name == "urls":
                value = tuple(map(without_secret, value))
            shown.append(f"{name}={'***' if name in _SECRET else repr(value)}")
        return f"NatsOptions({', '.join(shown)})"

    __str__ = __repr__


_DEFAULTS = {field.name: field.default for field in structs.fields(NatsOptions)}


def without_secret(url: str) -> str:
    """A URL that can be shown.

    >>> without_secret("nats://token@localhost:4222")
    'nats://***@localhost:4222'
    """
    scheme, there, rest = url.rpartition("://")  # by hand: it must also work for what is no URL
    login, at, host = rest.rpartition("@")
    return f"{scheme}{there}***@{host}" if at and login else url


def credentials(url: str) -> dict[str, str]:
    """The login that a URL carries: user and password, or a token."""
    parts = urlsplit(url)
    if parts.username and parts.password:
        return {"user": unquote(parts.username), "password": unquote(parts.password)}
    return {"token": unquote(parts.username)} if parts.username else {}


def bare(url: str) -> str:
    """A URL without its login."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _normal(url: str) -> str:
    text = url if "://" in url else f"nats://{url}"
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise ConfigError(f"{without_secret(url)!r} is no NATS URL: {error}.", where="nats.url") from None
    if parts.scheme not in TCP + WEB or not host:
        raise ConfigError(
            f"{without_secret(url)!r} is no NATS URL; write nats://HOST:PORT, or tls://, ws://, wss://.", where="nats.url"
        )
    if port is None and parts.scheme in TCP:
        parts = parts._replace(netloc=f"{parts.netloc.rstrip(':')}:4222")
    return parts.geturl()
