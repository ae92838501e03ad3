"""Which server is tried next?

The URLs we were given, and those the servers of a cluster tell about each other. Each round starts after the one used last, so a
server that is about to stop is not the first choice.
"""

import ipaddress
from urllib.parse import urlsplit

from msgspec import Struct

_MOST = 64


class Target(Struct, frozen=True):
    url: str
    tls_hostname: str = ""  # the name in its certificate, where the URL has only an address


class Pool:
    def __init__(self, urls: tuple[str, ...]) -> None:
        self._targets = [Target(url) for url in urls]
        self._next = 0

    def __len__(self) -> int:
        return len(self._targets)

    def round(self) -> list[Target]:
        """Every server once, in turn.

        >>> pool = Pool(("nats://a:1", "nats://b:1")); pool.learn("nats://a:1", [])
        >>> [target.url for target in pool.round()]
        ['nats://b:1', 'nats://a:1']
        """
        return self._targets[self._next :] + self._targets[: self._next]

    def learn(self, used: str, others: list[tuple[str, str]]) -> None:
        """`used` worked; it speaks of `others`, each a URL and the host name it was learned from."""
        known = {urlsplit(target.url).netloc.rpartition("@")[2] for target in self._targets}
        login = urlsplit(used).netloc.rpartition("@")
        for url, hostname in others:
            parts = urlsplit(url)
            if parts.netloc not in known and len(self._targets) < _MOST:
                name = hostname if _is_address(parts.hostname or "") and not _is_address(hostname) else ""
                self._targets.append(Target(parts._replace(netloc="".join((*login[:2], parts.netloc))).geturl(), name))
                known.add(parts.netloc)
        position = [target.url for target in self._targets].index(used)
        self._next = (position + 1) % len(self._targets)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
