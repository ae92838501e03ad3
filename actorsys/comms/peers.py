"""Who is out there? The table that announcements and heartbeats fill.

Pure: it is told what was heard and when. An announcement's content is `{"event": "join" | "leave", ...}`, a heartbeat's
`{"status": ..., ...}`; both may say `node`, `instance`, `capabilities` and `description`. What strangers say is cut to size,
and what they say wrongly counts as not said: a table of peers is no reason to fail.
"""

from typing import Any, Protocol

from msgspec import Struct, structs

MISSED_BEATS = 3  # without a beat for so long a peer is stale
FORGOTTEN_BEATS = 20  # and for so long it is as good as gone
MAX_PEERS = 10_000  # beyond it, the peer heard of longest ago makes room
MAX_CAPABILITIES, MAX_WORD, MAX_TEXT = 64, 128, 1000  # capabilities of a peer; characters of a name or word; of a description

STALE = "stale"


class Heard(Protocol):
    """As much of an envelope as is read here."""

    @property
    def message_type(self) -> str: ...
    @property
    def from_agent(self) -> str: ...
    @property
    def content(self) -> Any: ...


class Peer(Struct, frozen=True, kw_only=True):
    """An agent somewhere, as far as is known; `status` is what it last said of itself, or "stale"."""

    name: str
    node: str = ""
    instance: str = ""
    capabilities: tuple[str, ...] = ()
    description: str = ""
    status: str = ""
    last_seen_ns: int = 0

    @property
    def is_stale(self) -> bool:
        return self.status == STALE


class Peers:
    """One entry for each name and node.

    >>> peers = Peers(beat_ns=30)
    >>> peers.learn("writer", now=0, node="a", capabilities=["write"], status="idle")
    >>> [peer.name for peer in peers.find("write", now=10)], peers.find("write", now=91), peers.all(now=91)[0].status
    (['writer'], [], 'stale')
    """

    def __init__(self, beat_ns: int, *, max_peers: int = MAX_PEERS) -> None:
        self._beat_ns = beat_ns
        self._max_peers = max_peers
        self._peers: dict[tuple[str, str], Peer] = {}  # the one heard of longest ago first

    def __len__(self) -> int:
        return len(self._peers)

    def heard(self, envelope: Heard, now: int) -> bool:
        """Take an announcement or a heartbeat; false for anything else."""
        about = envelope.content
        if not isinstance(about, dict):
            return False
        if envelope.message_type == "heartbeat":
            status = about.get("status")
        elif envelope.message_type == "announcement" and about.get("event") == "join":
            status = about.get("status", "joined")
        elif envelope.message_type == "announcement" and about.get("event") == "leave":
            self.leave(envelope.from_agent, node=_word(about.get("node")), instance=_word(about.get("instance")))
            return True
        else:
            return False
        said = {key: about[key] for key in ("node", "instance", "capabilities", "description") if key in about}
        self.learn(envelope.from_agent, now=now, status=status, **said)
        return True

    def learn(
        self,
        name: str,
        *,
        now: int,
        node: object = "",
        instance: object = "",
        capabilities: object = None,
        description: object = None,
        status: object = "",
    ) -> None:
        """A peer was there at `now`; what is not said stays as it was."""
        key = (name, _word(node))
        known = self._peers.pop(key, None) or Peer(name=name, node=key[1])
        self._peers[key] = structs.replace(
            known,
            instance=_word(instance) or known.instance,
            capabilities=_words(capabilities) if isinstance(capabilities, list | tuple) else known.capabilities,
            description=description[:MAX_TEXT] if isinstance(description, str) else known.description,
            status=_word(status) or known.status,
            last_seen_ns=now,
        )
        if len(self._peers) > self._max_peers:
            del self._peers[next(iter(self._peers))]

    def leave(self, name: str, *, node: str = "", instance: str = "") -> None:
        """A peer is gone; without a node, wherever it was. An instance that another one has followed was gone before."""
        for key in [(name, node)] if node else [key for key in self._peers if key[0] == name]:
            known = self._peers.get(key)
            if known is not None and (not instance or not known.instance or instance == known.instance):
                del self._peers[key]

    def has_node(self, node: str) -> bool:
        """Whether anybody was heard of there."""
        return any(known == node for _, known in self._peers)

    def all(self, now: int) -> list[Peer]:
        """Every peer by name, those that have missed their beats as "stale"."""
        self._forget(now)
        limit = now - MISSED_BEATS * self._beat_ns
        found = [structs.replace(peer, status=STALE) if peer.last_seen_ns < limit else peer for peer in self._peers.values()]
        return sorted(found, key=lambda peer: (peer.name, peer.node))

    def find(self, capability: str, now: int) -> list[Peer]:
        """Those that can do something and are not stale, the one heard of last first."""
        able = [peer for peer in self.all(now) if capability in peer.capabilities and not peer.is_stale]
        return sorted(able, key=lambda peer: -peer.last_seen_ns)

    def _forget(self, now: int) -> None:
        limit = now - FORGOTTEN_BEATS * self._beat_ns
        while self._peers and next(iter(self._peers.values())).last_seen_ns < limit:
            del self._peers[next(iter(self._peers))]


def _word(value: object) -> str:
    return value[:MAX_WORD] if isinstance(value, str) else ""


def _words(values: list[Any] | tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value[:MAX_WORD] for value in values[:MAX_CAPABILITIES] if isinstance(value, str)))
