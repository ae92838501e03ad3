"""Who is out there? The table that announcements and heartbeats fill.

Pure: it is told what was heard and when. An announcement's content is `{"event": "join" | "leave", ...}`, a heartbeat's
`{"status": ..., ...}`; both may say `node`, `instance`, `capabilities` and `description`. What strangers say is cut to size,
and what they say wrongly counts as not said: a table of peers is no reason to fail.
"""

from typing import Any, Protocol, TypeAlias

from msgspec import Struct, structs

MISSED_BEATS = 3  # without a beat for so long a peer is stale
FORGOTTEN_BEATS = 20  # and for so long it is as good as gone
MAX_PEERS = 10_000  # beyond it, the peer heard of longest ago makes room
MAX_CAPABILITIES, MAX_WORD, MAX_TEXT = 64, 128, 1000  # capabilities of a peer; characters of a name or word; of a description

STALE = "stale"


Key: TypeAlias = tuple[str, str, str]  # name, node, instance


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
    """One entry for each name, node and instance: nodes of one name are still two.

    >>> peers = Peers(beat_ns=30)
    >>> peers.learn("writer", now=0, node="a", capabilities=["write"], status="idle")
    >>> [peer.name for peer in peers.find("write", now=10)], peers.find("write", now=91), peers.all(now=91)[0].status
    (['writer'], [], 'stale')
    """

    def __init__(self, beat_ns: int, *, max_peers: int = MAX_PEERS) -> None:
        self._beat_ns = beat_ns
        self._max_peers = max_peers
        self._peers: dict[Key, Peer] = {}  # the one heard of longest ago first
        self._at: dict[str, set[Key]] = {}  # by instance
        self._silent: set[str] = set()  # instances

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
        key = (name, _word(node), _word(instance))
        known = self._peers.pop(key, None) or Peer(name=name, node=key[1], instance=key[2])
        self._at.setdefault(key[2], set()).add(key)
        self._silent.discard(key[2])
        self._peers[key] = structs.replace(
            known,
            capabilities=_words(capabilities) if isinstance(capabilities, list | tuple) else known.capabilities,
            description=description[:MAX_TEXT] if isinstance(description, str) else known.description,
            status=_word(status) or known.status,
            last_seen_ns=now,
        )
        if len(self._peers) > self._max_peers:
            self._drop(next(iter(self._peers)))

    def leave(self, name: str, *, node: str = "", instance: str = "") -> None:
        """A peer is gone; what is not said of it, node or instance, may be any."""
        for key in [(name, node, instance)] if instance else list(self._peers):
            if key[0] == name and (not node or key[1] == node) and key in self._peers:
                self._drop(key)

    def gone(self, instance: str) -> list[str]:
        """An instance is no more, and all its peers with it; their names."""
        keys = sorted(self._at.get(instance, ()))
        for key in keys:
            self._drop(key)
        return [name for name, _, _ in keys]

    def silent(self, instance: str, is_silent: bool = True) -> bool:
        """Take those of an instance for stale until it answers or is heard of again; whether that is new."""
        was_silent = instance in self._silent
        if is_silent and instance in self._at:
            self._silent.add(instance)
        else:
            self._silent.discard(instance)
        return was_silent != is_silent

    def instances(self) -> list[str]:
        """All whose id is known."""
        return [instance for instance in self._at if instance]

    def has_instance(self, instance: str) -> bool:
        return instance in self._at

    def node_of(self, instance: str) -> str:
        """The node that an instance says it is, or is on."""
        return next((node for _, node, _ in self._at.get(instance, ())), "")

    def has_node(self, node: str) -> bool:
        """Whether anybody was heard of there."""
        return any(known == node for _, known, _ in self._peers)

    def all(self, now: int) -> list[Peer]:
        """Every peer by name, those that have missed their beats, or whose instance is silent, as "stale"."""
        self._forget(now)
        limit = now - MISSED_BEATS * self._beat_ns
        found = [
            structs.replace(peer, status=STALE) if peer.last_seen_ns < limit or peer.instance in self._silent else peer
            for peer in self._peers.values()
        ]
        return sorted(found, key=lambda peer: (peer.name, peer.node, peer.instance))

    def find(self, capability: str, now: int) -> list[Peer]:
        """Those that can do something and are not stale, the one heard of last first."""
        able = [peer for peer in self.all(now) if capability in peer.capabilities and not peer.is_stale]
        return sorted(able, key=lambda peer: -peer.last_seen_ns)

    def _forget(self, now: int) -> None:
        limit = now - FORGOTTEN_BEATS * self._beat_ns
        while self._peers and next(iter(self._peers.values())).last_seen_ns < limit:
            self._drop(next(iter(self._peers)))

    def _drop(self, key: Key) -> None:
        del self._peers[key]
        others = self._at[key[2]]
        others.discard(key)
        if not others:
            del self._at[key[2]]
            self._silent.discard(key[2])


def _word(value: object) -> str:
    return value[:MAX_WORD] if isinstance(value, str) else ""


def _words(values: list[Any] | tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value[:MAX_WORD] for value in values[:MAX_CAPABILITIES] if isinstance(value, str)))
