"""Monitors and links."""

import pytest

from actorsys.supervision.links import Down, End, Links


@pytest.fixture
def links() -> Links:
    links = Links()
    for name in ("a", "b", "c"):
        links.up(name)
    return links


def test_a_monitor_is_told_once(links: Links) -> None:
    links.monitor("a", "b")
    assert links.down("b", "crashed", normal=False) == [Down("a", "b", "crashed")]
    assert links.down("b", "crashed", normal=False) == []
    links.up("b")
    assert links.down("b", "killed", normal=False) == []


def test_a_monitor_hears_of_a_normal_end_too(links: Links) -> None:
    links.monitor("a", "b")
    assert links.down("b", "normal", normal=True) == [Down("a", "b", "normal")]


def test_each_monitor_has_its_own_notice(links: Links) -> None:
    links.monitor("a", "b")
    links.monitor("a", "b")
    links.monitor("c", "b")
    assert links.down("b", "killed", normal=False) == [Down("a", "b", "killed")] * 2 + [Down("c", "b", "killed")]


def test_watching_what_is_not_there_is_answered_at_once(links: Links) -> None:
    assert links.monitor("a", "ghost") == [Down("a", "ghost", "unknown")]
    links.down("b", "out_of_memory", normal=False)
    assert links.monitor("a", "b") == [Down("a", "b", "out_of_memory")]
    links.forget("b")
    assert links.monitor("a", "b") == [Down("a", "b", "unknown")]


def test_nobody_is_told_after_demonitor(links: Links) -> None:
    links.monitor("a", "b")
    links.demonitor("a", "b")
    assert links.down("b", "crashed", normal=False) == []


def test_the_dead_watch_nobody(links: Links) -> None:
    links.monitor("a", "b")
    links.down("a", "crashed", normal=False)
    links.up("a")
    assert links.down("b", "crashed", normal=False) == []


def test_an_agent_is_not_told_of_its_own_death(links: Links) -> None:
    links.monitor("a", "a")
    assert links.down("a", "crashed", normal=False) == []


def test_an_abnormal_end_ends_the_linked(links: Links) -> None:
    links.link("a", "b")
    links.link("c", "a")
    assert links.down("a", "crashed", normal=False) == [End("b", "a", "crashed"), End("c", "a", "crashed")]
    assert links.down("b", "killed", normal=False) == []


def test_a_normal_end_dissolves_the_link(links: Links) -> None:
    links.link("a", "b")
    assert links.down("a", "normal", normal=True) == []
    assert links.down("b", "crashed", normal=False) == []


def test_unlinked_agents_die_alone(links: Links) -> None:
    links.link("a", "b")
    links.unlink("b", "a")
    assert links.down("a", "crashed", normal=False) == []


def test_a_link_to_what_is_down_ends_the_other_at_once(links: Links) -> None:
    links.down("b", "crashed", normal=False)
    assert links.link("a", "b") == [End("a", "b", "crashed")]
    assert links.link("b", "c") == [End("c", "b", "crashed")]
    assert links.link("a", "ghost") == [End("a", "ghost", "unknown")]
    assert links.link("ghost", "b") == []


def test_a_link_to_oneself_means_nothing(links: Links) -> None:
    assert links.link("a", "a") == []
    assert links.down("a", "crashed", normal=False) == []


def test_nothing_is_kept_of_the_forgotten(links: Links) -> None:
    links.monitor("a", "b")
    links.monitor("b", "c")
    links.link("a", "c")
    for name in ("a", "b", "c"):
        links.down(name, "normal", normal=True)
        links.forget(name)
    assert all(not table for table in vars(links).values())
