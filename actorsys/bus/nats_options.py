"""How do we reach NATS, and as whom?

Secrets stand in this Struct and nowhere else: its repr leaves them out, and `redact` takes them out of every text that is logged.
"""

import importlib.util
import random
import re
import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct, structs

from ..errors import ConfigError
from ..spec import NatsSpec
from .base import OUTBOX_BYTES
from .nats_creds import expiry, is_creds, is_seed

PING_INTERVAL = 10.0  # seconds
QUIET_MAX = 40.0  # seconds; with a quarter on top still below the 60 of silence after which usual proxies hang up
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
    ping_interval: float = PING_INTERVAL
    quiet_interval: float = 0.0  # the same where nothing was sent since the last one, if that is longer; see `paced`
    ping_timeout: float = 20.0  # silence after a ping: the connection is dead
    reconnect_wait: float = 0.1  # doubles with each round through the URLs; jitter takes off up to a half, of the first all
    reconnect_max: float = 1.5  # so that subscriptions are back within 2 s of the server; see `paced`
    refused_max: float = 30.0  # the same for wrong credentials: only a person can mend those
    outbox_bytes: int = OUTBOX_BYTES

    @classmethod
    def parse(cls, text: str, **options: object) -> "NatsOptions":
        """Options for one URL, or several with commas in between; raises ConfigError if one is wrong.

        >>> NatsOptions.parse("localhost, nats://me:secret@10.0.0.2:4333")
        NatsOptions(urls=('nats://localhost:4222', 'nats://***@10.0.0.2:4333'))
        """
        return cls(urls=_split(text), **options).check()  # type: ignore[arg-type]  # msgspec refuses unknown names itself

    @classmethod
    def of(cls, spec: NatsSpec) -> "NatsOptions":
        """What the keys of [nats] say; not checked yet."""
        values: dict[str, Any] = {name: getattr(spec, name) for name in spec.__struct_fields__ if name in cls.__struct_fields__}
        for name, value in values.items():  # durations and sizes become plain numbers, which can be encoded
            values[name] = float(value) if isinstance(value, float) else int(value) if isinstance(value, int) else value
        return cls(urls=_split(spec.url), **values)

    def check(self) -> "NatsOptions":
        """These options, if they can work at all; raises ConfigError."""
        for key, text in self.problems():
            raise ConfigError(text, where=f"nats.{key}")
        return structs.replace(self, urls=tuple(map(_normal, self.urls)))

    def problems(self) -> list[tuple[str, str]]:
        """What cannot work, whatever the servers say: keys, each with a text."""
        found = [("url", text) for url in self.urls if (text := _wrong(url))]
        if not self.urls:
            found.append(("url", 'no NATS URL is set; write one such as "nats://127.0.0.1:4222".'))
        if found:
            return [*found, *self._login_problems()]
        schemes = {urlsplit(_normal(url)).scheme for url in self.urls}
        if not (schemes <= set(TCP) or schemes <= set(WEB)):
            found.append(("url", "the NATS URLs mix nats:// and ws://; one connection uses either."))
        if schemes & set(WEB) and importlib.util.find_spec("aiohttp") is None:
            found.append(("url", 'ws:// and wss:// need aiohttp: `pip install "actorsys[websocket]"`.'))
        return [*found, *self._login_problems()]

    def _login_problems(self) -> list[tuple[str, str]]:
        found = []
        given = [name for name in ("token", "user", "nkey_seed", "creds", "creds_file") if getattr(self, name)]
        found += [(name, f"{given[0]} and {name} are both set; one way to log in is enough.") for name in given[1:]]
        for name in {"nkey_seed", "creds", "creds_file"}.intersection(given[:1]):
            if any(_has_login(url) for url in self.urls):
                found.append((name, f"{name} is set, and a URL has a login, too; one way to log in is enough."))
        if bool(self.user) != bool(self.password):
            found.append(("user" if self.user else "password", "user and password go together; one of them is missing."))
        if self.nkey_seed and not is_seed(self.nkey_seed):
            found.append(("nkey_seed", "is not the seed of a user's NKey: SU and 56 more letters and digits."))
        if self.creds and not is_creds(self.creds):
            found.append(("creds", "is not the text of a creds file: the JWT and the seed of a user."))
        if self.tls_key and not self.tls_cert:
            found.append(("tls_key", "tls_key is set without tls_cert."))
        return found

    def expires(self) -> float | None:
        """When the credentials as they are now expire, in seconds of Unix time, infinity for never; None if nobody can tell."""
        if not self.creds_file:
            return expiry(self.creds)
        try:
            with open(self.creds_file, encoding="utf-8", errors="replace") as file:
                return expiry(file.read(2**20))
        except OSError:
            return None

    def paced(self, fleet: int) -> "NatsOptions":
        """The same for one of `fleet` agents: all together make about 100 connections a second, and while they are quiet 15 pings.

        Each sends one every 40 s even so, however many they are.

        >>> options = NatsOptions.parse("localhost")
        >>> options.paced(20) == options, options.paced(300).reconnect_max, options.paced(300).quiet_interval
        (True, 4.0, 20.0)
        """
        longest = max(self.reconnect_max, min(fleet / 75, 10.0))
        wait = self.reconnect_wait if longest == self.reconnect_max else longest
        # A ping costs an idle agent 0.3 ms, most of it for waking up twice (`make soak-nats`). What was asked for is not changed.
        quiet = min(fleet / 15, QUIET_MAX) if self.ping_interval == PING_INTERVAL < fleet / 15 else self.quiet_interval
        return structs.replace(self, reconnect_wait=wait, reconnect_max=longest, quiet_interval=quiet)

    def until_ping(self, *, is_quiet: bool) -> float:
        """Seconds from one ping to the next; random where they are seldom, or a fleet that was asked at one moment would ping at one."""
        return max(self.ping_interval, self.quiet_interval * random.uniform(0.75, 1.25)) if is_quiet else self.ping_interval

    def backoff(self, tries: int, *, was_refused: bool = False) -> float:
        """Seconds to wait after the n-th failed round, from 0; random, so that a fleet does not come back as a herd.

        At first it may be anything up to the longest: all lost their connection at the same moment.
        """
        base, longest = (1.0, self.refused_max) if was_refused else (self.reconnect_wait, self.reconnect_max)
        return random.uniform(0.5 if tries else 0.0, 1.0) * min(longest, base * 2.0 ** min(tries, 30))

    def spread(self) -> float:
        """Seconds to wait before something that all clients of a server are about to do."""
        return random.uniform(0.0, self.reconnect_max / 2)

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
        secrets = [getattr(self, name) for name in _SECRET] + [word for word in self.creds.split() if len(word) > 40]
        for url in self.urls:
            parts = urlsplit(url)
            secrets += [parts.password or parts.username or "", unquote(parts.password or parts.username or "")]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            # One of a few letters is no secret, and would be found in words that say what is wrong.
            text = text.replace(secret, "***") if len(secret) > 4 else re.sub(rf"\b{re.escape(secret)}\b", "***", text)
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


def _split(text: str) -> tuple[str, ...]:
    return tuple(url.strip() for url in text.split(",") if url.strip())


def _has_login(url: str) -> bool:
    return "@" in url.partition("://")[2].partition("/")[0]


def _wrong(url: str) -> str | None:
    try:
        _normal(url)
    except ConfigError as error:
        return error.message
    return None


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
