from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsys.bus import envelope
from actorsys.bus.envelope import Stamp
from actorsys.comms.peers import MAX_CAPABILITIES, MAX_TEXT, MAX_WORD, Peers

STAMP = Stamp("564d6ab7-ba14-4870-aada-deb7561b4cd8", datetime(2026, 1, 2, tzinfo=UTC))
BEAT = 30


def join(name: str, **about: Any) -> envelope.Envelope:
    return envelope.announcement(name, "join", STAMP, **about)


def leave(name: str, **about: Any) -> envelope.Envelope:
    return envelope.announcement(name, "leave", STAMP, **about)


def beat(name: str, status: str = "idle", **about: Any) -> envelope.Envelope:
    return envelope.heartbeat(name, status, STAMP, **about)


@pytest.fixture
def peers() -> Peers:
    return Peers(BEAT)


def names(peers: Peers, now: int = 0) -> list[str]:
    return [peer.name for peer in peers.all(now)]


def test_a_peer_that_joins_is_listed_with_what_it_says(peers: Peers) -> None:
    assert peers.heard(join("bee", node="n", capabilities=["fly", "hum"], description="a bee", instance="i"), 5)
    (peer,) = peers.all(5)
    assert (peer.name, peer.node, peer.instance, peer.capabilities) == ("bee", "n", "i", ("fly", "hum"))
    assert (peer.description, peer.status, peer.last_seen_ns, peer.is_stale) == ("a bee", "joined", 5, False)


def test_a_heartbeat_keeps_what_it_does_not_say(peers: Peers) -> None:
    peers.heard(join("bee", node="n", capabilities=["fly"]), 0)
    peers.heard(beat("bee", "busy", node="n"), 7)
    (peer,) = peers.all(7)
    assert (peer.capabilities, peer.status, peer.last_seen_ns) == (("fly",), "busy", 7)


def test_a_peer_whose_join_was_missed_is_known_by_its_heartbeat(peers: Peers) -> None:
    peers.heard(beat("bee", node="n", capabilities=["fly"]), 0)
    assert [peer.name for peer in peers.find("fly", 0)] == ["bee"]


def test_after_three_missed_beats_a_peer_is_stale_and_not_found(peers: Peers) -> None:
    peers.heard(join("bee", capabilities=["fly"]), 0)
    assert peers.all(3 * BEAT)[0].status == "joined"
    assert peers.all(3 * BEAT + 1)[0].is_stale
    assert peers.find("fly", 3 * BEAT) != []
    assert peers.find("fly", 3 * BEAT + 1) == []


def test_a_stale_peer_that_beats_again_is_back(peers: Peers) -> None:
    peers.heard(join("bee"), 0)
    peers.heard(beat("bee"), 10 * BEAT)
    assert peers.all(10 * BEAT)[0].status == "idle"


def test_a_peer_that_was_silent_for_long_is_forgotten(peers: Peers) -> None:
    peers.heard(join("bee"), 0)
    peers.heard(beat("ant"), 15 * BEAT)
    assert names(peers, 20 * BEAT) == ["ant", "bee"]
    assert names(peers, 20 * BEAT + 1) == ["ant"]
    assert len(peers) == 1


def test_a_peer_that_leaves_is_gone(peers: Peers) -> None:
    peers.heard(join("bee", node="n"), 0)
    assert peers.heard(leave("bee", node="n"), 1)
    assert names(peers) == []


def test_the_same_name_on_two_nodes_is_two_peers(peers: Peers) -> None:
    peers.heard(join("bee", node="n"), 0)
    peers.heard(join("bee", node="m"), 0)
    peers.heard(leave("bee", node="n"), 1)
    assert [(peer.name, peer.node) for peer in peers.all(1)] == [("bee", "m")]
    assert (peers.has_node("n"), peers.has_node("m")) == (False, True)
    peers.heard(join("bee", node="n"), 2)
    peers.heard(leave("bee"), 3)
    assert names(peers) == []


def test_the_late_goodbye_of_an_earlier_instance_changes_nothing(peers: Peers) -> None:
    peers.heard(join("bee", node="n", instance="1"), 0)
    peers.heard(join("bee", node="n", instance="2"), 1)
    peers.heard(leave("bee", node="n", instance="1"), 2)
    assert names(peers) == ["bee"]
    peers.heard(leave("bee", node="n", instance="2"), 3)
    assert names(peers) == []


def test_two_nodes_of_one_name_are_two_peers_each(peers: Peers) -> None:
    for instance in ("1", "2"):
        peers.heard(join("bee", node="actorsys", instance=instance, capabilities=[f"do {instance}"]), 0)
    peers.heard(beat("bee", "busy", node="actorsys", instance="2"), 1)
    assert [(peer.instance, peer.status) for peer in peers.all(1)] == [("1", "joined"), ("2", "busy")]
    assert [peer.instance for peer in peers.find("do 1", 1)] == ["1"]
    peers.heard(leave("bee", node="actorsys", instance="1"), 2)
    assert [peer.instance for peer in peers.all(2)] == ["2"]


def test_with_an_instance_all_its_peers_are_gone(peers: Peers) -> None:
    for name in ("bee", "ant"):
        peers.heard(join(name, node="n", instance="1"), 0)
    peers.heard(join("bee", node="n", instance="2"), 0)
    assert (peers.node_of("1"), sorted(peers.instances())) == ("n", ["1", "2"])
    assert peers.gone("1") == ["ant", "bee"]
    assert peers.gone("1") == []
    assert [peer.instance for peer in peers.all(0)] == ["2"]
    assert (peers.has_instance("1"), peers.node_of("1")) == (False, "")


def test_those_of_a_silent_instance_are_stale_until_it_is_heard_of_or_answers(peers: Peers) -> None:
    peers.heard(beat("bee", node="n", instance="1", capabilities=["fly"]), 0)
    assert peers.silent("1")
    assert not peers.silent("1")
    assert (peers.all(0)[0].status, peers.find("fly", 0)) == ("stale", [])
    peers.heard(beat("bee", node="n", instance="1"), 1)
    assert peers.all(1)[0].status == "idle"
    peers.silent("1")
    assert peers.silent("1", False)
    assert peers.all(1)[0].status == "idle"
    assert not peers.silent("unknown", False)


def test_what_is_gone_leaves_nothing_in_the_table() -> None:
    peers = Peers(BEAT, max_peers=2)
    for number in range(100):
        peers.heard(join(f"bee{number}", node="n", instance=str(number)), number)
        peers.silent(str(number))
    assert (len(peers), len(peers.instances()), len(peers._silent)) == (2, 2, 2)
    peers.all(200 * BEAT)
    assert (len(peers), peers._at, peers._silent) == (0, {}, set())


def test_those_heard_of_last_are_found_first(peers: Peers) -> None:
    for now, name in enumerate(("ant", "bee", "cat")):
        peers.heard(join(name, capabilities=["x"]), now)
    peers.heard(beat("ant"), 9)
    assert [peer.name for peer in peers.find("x", 9)] == ["ant", "cat", "bee"]


def test_the_one_heard_of_longest_ago_makes_room() -> None:
    peers = Peers(BEAT, max_peers=2)
    peers.heard(join("ant"), 0)
    peers.heard(join("bee"), 1)
    peers.heard(beat("ant"), 2)
    peers.heard(join("cat"), 3)
    assert names(peers, 3) == ["ant", "cat"]


def test_what_strangers_say_is_cut_to_size(peers: Peers) -> None:
    long = "x" * 10_000
    peers.heard(
        join("bee", node=long, description=long, capabilities=[f"{number}{long}" for number in range(500)], instance=long), 0
    )
    peers.heard(beat("bee", long, node=long, instance=long), 0)
    (peer,) = peers.all(0)
    assert len(peer.node) == len(peer.instance) == len(peer.status) == MAX_WORD
    assert len(peer.description) == MAX_TEXT
    assert len(peer.capabilities) == MAX_CAPABILITIES
    assert {len(each) for each in peer.capabilities} == {MAX_WORD}


def test_what_is_said_wrongly_counts_as_not_said(peers: Peers) -> None:
    peers.heard(join("bee", capabilities=["fly", 7, None], description="a bee"), 0)
    peers.heard(beat("bee", capabilities="fly", description=3, node=None, instance=[]), 1)
    (peer,) = peers.all(1)
    assert (peer.capabilities, peer.description, peer.node) == (("fly",), "a bee", "")


@pytest.mark.parametrize(
    "other",
    [
        envelope.broadcast("bee", {"status": "idle"}, STAMP),
        envelope.message("bee", "ant", {"event": "join"}, STAMP),
        envelope.announcement("bee", "explode", STAMP),  # type: ignore[arg-type]
        envelope.Envelope(**{**{name: getattr(beat("bee"), name) for name in envelope.FIELDS}, "content": "idle"}),
    ],
    ids=["broadcast", "message", "unknown event", "no object"],
)
def test_anything_else_is_not_taken(peers: Peers, other: envelope.Envelope) -> None:
    assert not peers.heard(other, 0)
    assert len(peers) == 0


json = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda more: st.lists(more, max_size=3))
keys = st.sampled_from(["event", "status", "node", "instance", "capabilities", "description", "name", "now"])


@settings(max_examples=40)
@given(st.sampled_from(["announcement", "heartbeat"]), st.dictionaries(keys, json | st.sampled_from(["join", "leave"])))
def test_no_content_makes_it_fail(kind: str, content: Any) -> None:
    peers = Peers(BEAT, max_peers=3)
    read = envelope.Envelope(
        **{
            **{name: getattr(beat("bee"), name) for name in envelope.FIELDS},
            "message_type": kind,
            "content": content,
        }
    )
    peers.heard(read, 0)
    assert all(isinstance(peer.status, str) for peer in peers.all(0))
    assert len(peers) <= 1
