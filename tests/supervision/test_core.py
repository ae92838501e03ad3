"""Supervision as a table of stories. The codes are those of the acceptance tests this project set itself; where a limit per child
and an immediate first restart make our answer differ from OTP's, the test says so."""

import pytest

from actorsys.spec import GroupSpec, RestartSpec
from actorsys.supervision.core import (
    Add,
    Changed,
    Child,
    Core,
    Drain,
    Drained,
    Escalated,
    Exited,
    Finished,
    Kill,
    KillChild,
    Launch,
    LaunchFailed,
    Ready,
    Rejected,
    Remove,
    Removed,
    RestartChild,
    Shutdown,
    Start,
    StartChild,
    Stop,
    StopChild,
    Tick,
    Unresponsive,
    Update,
)
from actorsys.units import SECOND_NS, Seconds
from tests.supervision.rig import Rig, decisions, killed, launched, told_to_stop


def child(name: str, limit: int = 5, window: float = 30, type: str = "permanent", **options: object) -> Child:
    restart = RestartSpec(type=type, max_restarts=limit, window=Seconds(window), jitter=0.0)  # type: ignore[arg-type]
    return Child(name=name, restart=restart, **options)  # type: ignore[arg-type]


def temporary(name: str, **options: object) -> Child:
    return child(name, type="temporary", **options)  # type: ignore[arg-type]


class TestLimits:
    def test_crashes_further_apart_than_the_window_are_survived(self) -> None:
        """A01"""
        rig = Rig.with_all_up(child("a", limit=1, window=1))
        for _ in range(4):
            rig.wait(2.1)
            assert launched(rig.dies("a")) == ["a"]
            rig.ready("a")
        assert rig.incarnations() == {"a": 5}

    def test_the_limit_of_the_supervisor_ends_everything(self) -> None:
        """A02"""
        rig = Rig.with_all_up(child("c1"), child("c2"), max_restarts=2, window=3600)
        rig.dies("c1")
        rig.ready("c1")
        assert rig.incarnations() == {"c1": 2, "c2": 1}
        rig.dies("c2")
        rig.ready("c2")
        actions = rig.dies("c1")
        assert Escalated(None, "3 deaths in 1h in the supervisor, limit 2") in actions
        assert told_to_stop(actions) == ["c2"]
        assert launched(actions) == []
        assert rig.dies("c2", "shutdown")[-1] == Finished("intensity")

    def test_a_limit_of_zero_makes_the_first_death_the_last(self) -> None:
        """A05; ours is per child: it has failed, its sibling lives."""
        rig = Rig.with_all_up(child("a", limit=0), child("b"))
        assert launched(rig.dies("a")) == []
        rig.wait(3600)
        assert rig.states() == {"a": "failed", "b": "running"}
        assert rig.incarnation("a") == 1

    @pytest.mark.parametrize(("late_by", "state"), [(0, "failed"), (1, "backoff")])
    def test_a_death_exactly_one_window_old_still_counts(self, late_by: int, state: str) -> None:
        """A06"""
        rig = Rig.with_all_up(child("a", limit=3, window=10))
        for second in (0, 1, 2):
            rig.now = second * SECOND_NS
            rig.dies("a")
            rig.wait(0.9)
            rig.ready("a")
        rig.now = 10 * SECOND_NS + late_by
        actions = rig.dies("a")
        assert [action.state for action in actions if isinstance(action, Changed)] == [state]

    def test_failed_starts_count_like_crashes(self) -> None:
        """A07, A15: a crash, then exactly four attempts; ours fails the child, and its sibling lives."""
        rig = Rig.with_all_up(child("a", limit=4, window=3600), child("b"))
        attempts = launched(rig.dies("a"))
        while rig.state("a") != "failed":
            rig.dies("a", "start_failed")
            attempts += launched(rig.wait(60))
        assert attempts == ["a"] * 4
        assert rig.states() == {"a": "failed", "b": "running"}
        assert decisions(rig.did, "a")[-1] == "start failed; failed: 5 deaths in 1h, limit 4"

    def test_commands_cost_nothing(self) -> None:
        """A08"""
        rig = Rig.with_all_up(child("a", limit=1), max_restarts=1)
        for _ in range(50):
            rig.do(RestartChild("a"))
            rig.dies("a", "killed")
            rig.ready("a")
            rig.do(StopChild("a"))
            rig.dies("a", "crashed")
            rig.do(StartChild("a"))
            rig.ready("a")
            rig.do(Update(child("a", limit=1)))
        assert (rig.state("a"), rig.core.view("a").deaths) == ("running", 0)

    def test_deaths_on_one_message_are_one_incident(self) -> None:
        """G3: at most max_deliveries + 1 deaths, each visible, one charged; the supervisor's limit sees one as well."""
        rig = Rig.with_all_up(child("a", limit=1), max_restarts=1)
        for _ in range(4):
            assert launched(rig.dies("a", "killed", poison="m1")) == ["a"]
            rig.ready("a")
        assert (rig.core.view("a").restarts, rig.core.view("a").deaths) == (4, 1)
        rig.dies("a")
        assert rig.state("a") == "failed"

    def test_a_killed_child_is_charged_nothing(self) -> None:
        rig = Rig.with_all_up(child("a", limit=0), temporary("t"))
        assert killed(rig.do(KillChild("a"))) == [("a", "command")]
        assert launched(rig.dies("a", "killed")) == ["a"]
        rig.do(KillChild("t"))
        rig.dies("t", "killed")
        assert rig.states() == {"a": "starting", "t": "stopped"}


class TestBackoff:
    def test_first_at_once_then_after_longer_and_longer_waits(self) -> None:
        """A14"""
        rig = Rig.with_all_up(child("a"))
        assert launched(rig.dies("a")) == ["a"]
        for wait in (0.1, 0.2, 0.4):
            rig.ready("a")
            assert launched(rig.dies("a")) == []
            assert rig.core.next_wake() == rig.now + round(wait * SECOND_NS)
            assert launched(rig.wait(wait)) == ["a"]
        assert decisions(rig.did, "a")[0] == "crashed; restart at once: first death in 30s"
        assert "crashed; restart in 400ms (4 of 5 deaths in 30s)" in decisions(rig.did, "a")

    def test_a_launch_that_fails_always_waits_and_harms_no_sibling(self) -> None:
        """A18"""
        rig = Rig.with_all_up(child("a"), child("b"))
        rig.do(RestartChild("a"))
        rig.dies("a", "shutdown")
        actions = rig.do(LaunchFailed("a", 2))
        assert launched(actions) == []
        assert rig.states() == {"a": "backoff", "b": "running"}
        assert launched(rig.wait(0.1)) == ["a"]

    def test_jitter_is_not_the_same_for_all(self) -> None:
        """A16"""
        names = [f"a{n}" for n in range(50)]
        rig = Rig.with_all_up(*(Child(name=name) for name in names), seed=3)
        for _ in range(2):
            for name in names:
                rig.dies(name)
            rig.answer_launches()
        due = {view.next_start_ns for view in rig.core.children.values()}
        assert len(due) == 50
        assert all(100_000_000 <= when - rig.now <= 120_000_000 for when in due if when)

    def test_a_stop_cancels_a_pending_start(self) -> None:
        """C04"""
        rig = Rig.with_all_up(child("a"))
        rig.dies("a")
        rig.ready("a")
        rig.dies("a")
        assert rig.state("a") == "backoff"
        rig.do(StopChild("a"))
        assert rig.core.next_wake() is None
        assert launched(rig.wait(3600)) == []
        assert rig.state("a") == "stopped"

    def test_only_the_distance_between_stamps_matters(self) -> None:
        """A17: the core has no clock that could be set back; the same story at another time is the same story."""
        stories = []
        for start in (0, 10**18):
            rig = Rig(child("a"))
            rig.now = start
            rig.do(Start())
            for _ in range(4):
                rig.ready("a")
                rig.dies("a")
                rig.wait(1)
            stories.append(rig.did)
        assert stories[0] == stories[1]


class TestStart:
    def test_a_start_that_takes_too_long_is_killed_and_counts(self) -> None:
        rig = Rig(child("a", start_timeout_ns=SECOND_NS))
        rig.do(Start())
        assert killed(rig.wait(1)) == [("a", "start_timeout")]
        assert rig.do(Ready("a", 1)) == []
        assert launched(rig.dies("a", "start_timeout")) == ["a"]
        assert rig.core.view("a").deaths == 1

    def test_at_most_eight_start_at_once(self) -> None:
        rig = Rig(*(child(f"a{n}") for n in range(20)))
        assert launched(rig.do(Start())) == [f"a{n}" for n in range(8)]
        assert launched(rig.ready("a3")) == ["a8"]
        assert launched(rig.dies("a0", "start_failed")) == ["a0"]
        rig.answer_launches()
        assert set(rig.states().values()) == {"running"}

    def test_a_mass_death_is_a_queue(self) -> None:
        rig = Rig.with_all_up(*(child(f"a{n}") for n in range(20)))
        for n in range(20):
            rig.dies(f"a{n}")
        assert list(rig.states().values()).count("starting") == 8

    def test_fifty_additions_at_once_all_come_up(self) -> None:
        """C17"""
        rig = Rig()
        rig.do(Start())
        for n in range(50):
            rig.do(Add(child(f"a{n}", dynamic=True)))
        rig.answer_launches()
        assert list(rig.states().values()) == ["running"] * 50

    def test_a_dependant_waits_for_what_it_depends_on_also_when_that_had_to_restart_first(self) -> None:
        """B15"""
        rig = Rig(child("web", depends_on=("db",)), child("db"))
        assert launched(rig.do(Start())) == ["db"]
        assert rig.core.view("web").decision == "waiting for db"
        assert launched(rig.dies("db", "start_failed")) == ["db"]
        actions = rig.ready("db")
        assert launched(actions) == ["web"]
        assert decisions(actions, "web") == ["what it depends on is ready"]

    def test_a_dependant_waits_for_all_replicas(self) -> None:
        rig = Rig(child("db/0"), child("db/1"), child("web", depends_on=("db",)))
        rig.do(Start())
        assert launched(rig.ready("db/0")) == []
        assert launched(rig.ready("db/1")) == ["web"]

    def test_a_dependency_that_did_its_work_and_ended_is_enough(self) -> None:
        rig = Rig(temporary("migrate"), child("web", depends_on=("migrate",), start_timeout_ns=SECOND_NS), max_starting=1)
        rig.do(Start())
        rig.dies("migrate", "start_failed")
        assert rig.state("web") == "waiting"
        rig.do(StartChild("migrate"))
        rig.ready("migrate")
        rig.dies("migrate", "normal")
        rig.dies("web", "crashed")
        assert rig.states() == {"migrate": "stopped", "web": "starting"}

    def test_a_dependant_is_not_restarted_with_its_dependency(self) -> None:
        rig = Rig.with_all_up(child("db"), child("web", depends_on=("db",)))
        rig.dies("db")
        rig.ready("db")
        assert rig.incarnations() == {"db": 2, "web": 1}

    def test_a_crashed_dependant_waits_for_a_dependency_under_way_but_not_for_one_that_is_down(self) -> None:
        rig = Rig.with_all_up(child("db"), child("web", depends_on=("db",)))
        rig.dies("db")
        assert launched(rig.dies("web")) == []
        assert launched(rig.ready("db")) == ["web"]
        rig.ready("web")
        rig.do(StopChild("db"))
        rig.dies("db", "shutdown")
        rig.wait(3600)
        assert launched(rig.dies("web")) == ["web"]

    def test_a_child_that_waits_for_its_dependency_never_starts_once_stopped(self) -> None:
        """B14"""
        rig = Rig(child("db"), child("web", depends_on=("db",)))
        rig.do(Start())
        rig.do(StopChild("web"))
        assert launched(rig.ready("db")) == []
        assert rig.state("web") == "stopped"
        assert launched(rig.do(StartChild("web"))) == ["web"]

    def test_a_stop_ends_those_that_still_wait(self) -> None:
        """B14"""
        rig = Rig(child("db"), child("web", depends_on=("db",)))
        rig.do(Start())
        assert told_to_stop(rig.do(Stop())) == ["db"]
        assert launched(rig.ready("db")) == []
        assert rig.dies("db", "shutdown")[-1] == Finished("shutdown")
        assert rig.states() == {"db": "stopped", "web": "stopped"}

    def test_nothing_starts_before_start_is_said(self) -> None:
        rig = Rig(child("a"))
        assert launched(rig.do(Add(child("b")))) == []
        assert launched(rig.do(Start())) == ["a", "b"]
        assert rig.do(Start()) == []

    def test_news_of_an_earlier_incarnation_change_nothing(self) -> None:
        rig = Rig.with_all_up(child("a"))
        rig.dies("a")
        for event in (Ready("a", 1), Exited("a", 1, "crashed"), LaunchFailed("a", 1), Unresponsive("a", 1), Drained("a", 1)):
            assert rig.do(event) == []
        assert rig.do(Exited("nobody", 1, "crashed")) == []
        assert rig.state("a") == "starting"


class TestStrategies:
    def test_one_for_one_touches_nobody_else(self) -> None:
        """A02"""
        rig = Rig.with_all_up(child("c1"), child("c2"))
        assert rig.dies("c1") == [
            Changed("c1", "waiting", "crashed; restart at once: first death in 30s"),
            Changed("c1", "starting", "crashed; restart at once: first death in 30s"),
            Launch("c1", 2),
        ]

    def test_one_for_all_restarts_all_in_order_and_charges_one_unit(self) -> None:
        """A09"""
        rig = Rig.with_all_up(child("c1"), child("c2"), child("c3"), strategy="one_for_all", max_restarts=2)
        assert told_to_stop(rig.dies("c1")) == ["c3"]
        assert told_to_stop(rig.dies("c3", "shutdown")) == ["c2"]
        assert launched(rig.dies("c2", "crashed")) == ["c1"]
        assert launched(rig.ready("c1")) == ["c2"]
        assert launched(rig.ready("c2")) == ["c3"]
        rig.ready("c3")
        assert [view.deaths for view in rig.core.children.values()] == [1, 0, 0]
        for final in (False, True):
            actions = rig.dies("c2")
            assert any(isinstance(action, Escalated) for action in actions) is final
            rig.answer_shutdowns()
            rig.wait(1)
            rig.answer_launches()
        assert rig.core.is_finished

    def test_one_for_all_starts_all_over_when_one_refuses(self) -> None:
        """A10"""
        rig = Rig.with_all_up(child("c1"), child("c2"), strategy="one_for_all")
        rig.dies("c1")
        rig.dies("c2", "shutdown")
        assert launched(rig.ready("c1")) == ["c2"]
        assert told_to_stop(rig.dies("c2", "start_failed")) == ["c1"]
        assert launched(rig.dies("c1", "shutdown")) == ["c1"]
        assert launched(rig.ready("c1")) == ["c2"]
        rig.dies("c2", "start_failed")
        rig.dies("c1", "shutdown")
        assert rig.states() == {"c1": "waiting", "c2": "backoff"}
        assert launched(rig.wait(0.1)) == ["c1"]
        assert launched(rig.ready("c1")) == ["c2"]

    def test_rest_for_one_stops_the_later_ones_first(self) -> None:
        """A11"""
        rig = Rig.with_all_up(child("c1"), child("c2"), child("c3"), strategy="rest_for_one")
        actions = rig.dies("c2")
        assert (told_to_stop(actions), launched(actions)) == (["c3"], [])
        assert launched(rig.dies("c3", "shutdown")) == ["c2"]
        assert launched(rig.ready("c2")) == ["c3"]
        rig.ready("c3")
        assert rig.incarnations() == {"c1": 1, "c2": 2, "c3": 2}

    def test_rest_for_one_retries_only_who_refused(self) -> None:
        """A12"""
        rig = Rig.with_all_up(child("c1"), child("c2"), strategy="rest_for_one")
        rig.dies("c1")
        rig.dies("c2", "shutdown")
        rig.ready("c1")
        assert launched(rig.dies("c2", "start_failed")) == ["c2"]
        rig.dies("c2", "start_failed")
        assert launched(rig.wait(0.1)) == ["c2"]
        assert rig.incarnations() == {"c1": 2, "c2": 4}

    def test_rest_for_one_does_not_let_an_earlier_child_wait_for_a_later_ones_backoff(self) -> None:
        rig = Rig.with_all_up(child("c1"), child("c2"), strategy="rest_for_one")
        rig.dies("c2")
        rig.ready("c2")
        rig.dies("c2")
        assert rig.state("c2") == "backoff"
        assert launched(rig.dies("c1")) == ["c1"]
        assert launched(rig.ready("c1")) == []
        assert launched(rig.wait(0.1)) == ["c2"]

    @pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
    def test_a_temporary_bystander_is_dropped(self, strategy: str) -> None:
        """A13"""
        rig = Rig.with_all_up(child("p", limit=2, window=300), temporary("t", dynamic=True), strategy=strategy)
        assert told_to_stop(rig.dies("p", "normal")) == ["t"]
        actions = rig.dies("t", "shutdown")
        assert Removed("t") in actions
        assert launched(actions) == ["p"]
        rig.wait(0.35)
        assert list(rig.states()) == ["p"]

    def test_five_children_start_in_list_order_and_stop_in_reverse(self) -> None:
        """B01"""
        names = ["q", "b", "z", "a", "m"]
        rig = Rig(*(child(name) for name in names), strategy="rest_for_one")
        rig.do(Start())
        rig.answer_launches()
        assert launched(rig.did) == names
        rig.did.clear()
        rig.dies("z")
        assert rig.answer_shutdowns() == ["m", "a"]
        rig.answer_launches()
        assert launched(rig.did) == ["z", "a", "m"]
        rig.did.clear()
        rig.do(Stop())
        assert rig.answer_shutdowns() == ["m", "a", "z", "b", "q"]
        assert rig.did[-1] == Finished("shutdown")

    def test_a_second_death_in_the_same_incident_costs_nothing(self) -> None:
        rig = Rig.with_all_up(child("c1"), child("c2", limit=0), child("c3", limit=0), strategy="one_for_all", max_restarts=1)
        rig.dies("c1")
        rig.dies("c2", "crashed")
        rig.dies("c3", "killed")
        rig.answer_launches()
        assert rig.states() == {"c1": "running", "c2": "running", "c3": "running"}

    def test_a_stopped_and_a_failed_sibling_are_not_revived(self) -> None:
        rig = Rig.with_all_up(child("c1"), child("c2"), child("c3", limit=0), strategy="one_for_all")
        rig.dies("c3")
        assert rig.state("c3") == "failed"
        rig.do(StopChild("c2"))
        rig.dies("c2", "shutdown")
        rig.dies("c1")
        assert rig.states() == {"c1": "starting", "c2": "stopped", "c3": "failed"}

    def test_a_failed_child_leaves_its_siblings_alive_under_every_strategy(self) -> None:
        """G8: the limit is per child."""
        for strategy in ("one_for_one", "one_for_all", "rest_for_one"):
            rig = Rig.with_all_up(child("c1", limit=0), child("c2"), strategy=strategy)
            assert rig.dies("c1") == [Changed("c1", "failed", "crashed; failed: 1 death in 30s, limit 0")]
            assert rig.states() == {"c1": "failed", "c2": "running"}


class TestGroups:
    def rig(self, strategy: str, group: str = "one_for_all", **options: object) -> Rig:
        children = [child("first"), child("g1", limit=0, group="g"), child("g2", limit=1, group="g"), child("last")]
        return Rig.with_all_up(*children, strategy=strategy, groups=[GroupSpec(name="g", strategy=group, **options)])  # type: ignore[arg-type]

    def test_a_member_is_restarted_with_its_group_only(self) -> None:
        rig = self.rig("one_for_all")
        assert told_to_stop(rig.dies("g2")) == ["g1"]
        rig.dies("g1", "shutdown")
        rig.answer_launches()
        assert rig.incarnations() == {"first": 1, "g1": 2, "g2": 2, "last": 1}

    def test_under_one_for_one_a_failed_member_fails_its_group_and_nobody_else(self) -> None:
        rig = self.rig("one_for_one")
        actions = rig.dies("g1")
        assert Escalated("g", "g1 crashed; failed: 1 death in 30s, limit 0") in actions
        assert told_to_stop(actions) == ["g2"]
        rig.dies("g2", "shutdown")
        rig.wait(3600)
        assert rig.states() == {"first": "running", "g1": "failed", "g2": "failed", "last": "running"}

    def test_under_rest_for_one_those_behind_the_group_fail_with_it(self) -> None:
        rig = self.rig("rest_for_one")
        rig.dies("g1")
        assert rig.answer_shutdowns() == ["last", "g2"]
        assert rig.states() == {"first": "running", "g1": "failed", "g2": "failed", "last": "failed"}

    def test_under_one_for_all_a_failed_group_ends_the_supervisor(self) -> None:
        rig = self.rig("one_for_all")
        rig.dies("g1")
        assert rig.answer_shutdowns() == ["last", "g2", "first"]
        assert rig.did[-1] == Finished("escalation")

    def test_a_group_can_have_a_limit_of_its_own(self) -> None:
        rig = self.rig("one_for_one", group="one_for_one", max_restarts=1, window=Seconds(10))
        rig.do(Update(child("g1", group="g")))
        rig.dies("g1")
        rig.ready("g1")
        actions = rig.dies("g2")
        assert Escalated("g", "2 deaths in 10s in group g, limit 1") in actions
        assert told_to_stop(actions) == ["g1"]

    def test_a_member_of_a_failed_group_can_be_started_again(self) -> None:
        rig = self.rig("one_for_one")
        rig.dies("g1")
        rig.dies("g2", "shutdown")
        assert launched(rig.do(StartChild("g2"))) == ["g2"]

    def test_strict_groups_start_side_by_side_and_each_in_order(self) -> None:
        groups = [GroupSpec(name="g", strategy="rest_for_one"), GroupSpec(name="h", strategy="one_for_all")]
        rig = Rig(*(child(f"{group}{n}", group=group) for group in "gh" for n in range(3)), groups=groups)
        assert launched(rig.do(Start())) == ["g0", "h0"]
        assert launched(rig.ready("h0")) == ["h1"]

    def test_an_unknown_group_is_refused(self) -> None:
        with pytest.raises(ValueError, match="child a: unknown group x"):
            Core([child("a", group="x")])
        rig = Rig.with_all_up(child("a"))
        assert rig.do(Add(child("b", group="x"))) == [Rejected("b", "unknown group x")]
        assert rig.do(Update(child("a", group="x"))) == [Rejected("a", "unknown group x")]


class TestStop:
    def test_who_does_not_stop_in_time_is_killed(self) -> None:
        """B03, B09"""
        rig = Rig.with_all_up(child("good", stop_timeout_ns=SECOND_NS), child("deaf", stop_timeout_ns=SECOND_NS))
        assert told_to_stop(rig.do(Stop())) == ["deaf", "good"]
        rig.dies("good", "shutdown", 0)
        assert killed(rig.wait(0.999)) == []
        assert killed(rig.wait(0.001)) == [("deaf", "stop_timeout")]
        assert rig.dies("deaf", "killed") == [Changed("deaf", "stopped", "stopped with the supervisor"), Finished("shutdown")]

    def test_a_timeout_of_zero_kills_without_asking(self) -> None:
        """B04"""
        rig = Rig.with_all_up(child("a", stop_timeout_ns=0))
        actions = rig.do(StopChild("a"))
        assert (told_to_stop(actions), killed(actions)) == ([], [("a", "at_once")])

    def test_no_timeout_is_patience(self) -> None:
        """B05"""
        rig = Rig.with_all_up(child("a", stop_timeout_ns=None))
        rig.do(StopChild("a"))
        assert killed(rig.wait(8 * 3600)) == []
        rig.dies("a", "shutdown")
        assert rig.state("a") == "stopped"

    @pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one"])
    def test_dynamic_children_stop_in_parallel_before_the_others(self, strategy: str) -> None:
        """B06"""
        children = [child("s1"), child("s2"), *(child(f"d{n}", dynamic=True, stop_timeout_ns=2 * SECOND_NS) for n in range(10))]
        rig = Rig.with_all_up(*children, strategy=strategy)
        asked = told_to_stop(rig.do(Stop()))
        dynamic = [f"d{n}" for n in reversed(range(10))]
        assert asked == (dynamic if strategy == "rest_for_one" else [*dynamic, "s2", "s1"])
        for name in dynamic[1:]:
            rig.dies(name, "shutdown")
        assert killed(rig.wait(2))[0] == ("d9", "stop_timeout")

    @pytest.mark.parametrize("type", ["permanent", "transient", "temporary"])
    @pytest.mark.parametrize("reason", ["normal", "shutdown", "crashed", "killed"])
    def test_leaving_by_oneself_during_the_stop_restarts_nothing(self, type: str, reason: str) -> None:
        """B07, B08"""
        rig = Rig.with_all_up(child("a", limit=0, type=type), child("b", limit=0, type=type), strategy="one_for_all")
        rig.do(Stop())
        assert rig.dies("a", reason)[-1] == Changed("a", "stopped", "stopped with the supervisor")
        assert rig.dies("b", reason)[-1] == Finished("shutdown")
        assert launched(rig.did) == []

    def test_a_stop_during_the_start_is_honoured(self) -> None:
        rig = Rig(child("a"))
        rig.do(Start())
        assert told_to_stop(rig.do(StopChild("a"))) == ["a"]
        assert rig.do(Ready("a", 1)) == []
        rig.dies("a", "normal")
        rig.wait(3600)
        assert (rig.state("a"), launched(rig.did)) == ("stopped", ["a"])

    def test_dependants_stop_before_what_they_depend_on(self) -> None:
        rig = Rig.with_all_up(child("db"), child("cache", depends_on=("db",)), child("web", depends_on=("cache",)), child("mail"))
        assert told_to_stop(rig.do(Stop())) == ["mail", "web"]
        assert told_to_stop(rig.dies("web", "shutdown")) == ["cache"]
        assert told_to_stop(rig.dies("cache", "shutdown")) == ["db"]

    @pytest.mark.slow
    def test_a_thousand_are_asked_at_once(self) -> None:
        rig = Rig.with_all_up(*(child(f"a{n}") for n in range(1000)))
        assert told_to_stop(rig.do(Stop())) == [f"a{n}" for n in reversed(range(1000))]

    def test_the_second_stop_can_kill(self) -> None:
        """B16"""
        rig = Rig.with_all_up(child("a"), child("b"), strategy="one_for_all")
        assert told_to_stop(rig.do(Stop())) == ["b"]
        assert rig.do(Stop()) == []
        assert rig.do(Stop(kill=True)) == [Kill("b", 1, "at_once"), Kill("a", 1, "at_once")]
        rig.dies("a", "killed")
        assert rig.dies("b", "killed")[-1] == Finished("shutdown")

    def test_nothing_is_done_after_the_end(self) -> None:
        rig = Rig.with_all_up(child("a"))
        rig.do(Stop())
        rig.dies("a", "shutdown")
        assert rig.do(Stop()) == rig.do(Tick()) == rig.do(Start()) == []
        for event in (StartChild("a"), RestartChild("a"), Add(child("b"))):
            assert isinstance(rig.do(event)[0], Rejected)

    def test_a_supervisor_of_nobody_ends_at_once(self) -> None:
        assert Rig().do(Stop()) == [Finished("shutdown")]

    def test_an_unresponsive_child_is_killed_once_and_restarted(self) -> None:
        rig = Rig.with_all_up(child("a"))
        assert rig.do(Unresponsive("a", 1)) == [Kill("a", 1, "unresponsive")]
        assert rig.do(Unresponsive("a", 1)) == []
        assert launched(rig.dies("a", "unresponsive")) == ["a"]
        assert rig.core.view("a").deaths == 1


class TestDrain:
    def test_a_drained_child_stops_when_its_mailbox_is_done(self) -> None:
        rig = Rig.with_all_up(child("a"))
        assert rig.do(StopChild("a", drain=True)) == [Changed("a", "draining", "draining by command"), Drain("a", 1)]
        assert rig.do(StopChild("a", drain=True)) == []
        assert told_to_stop(rig.do(Drained("a", 1))) == ["a"]
        rig.dies("a", "shutdown")
        assert rig.state("a") == "stopped"

    def test_a_death_while_draining_is_no_crash(self) -> None:
        rig = Rig.with_all_up(child("a"))
        rig.do(StopChild("a", drain=True))
        rig.dies("a")
        assert rig.state("a") == "stopped"

    @pytest.mark.parametrize("event", [StopChild("a"), RestartChild("a"), Stop()])
    def test_a_drain_can_be_cut_short(self, event: StopChild) -> None:
        rig = Rig.with_all_up(child("a"))
        rig.do(StopChild("a", drain=True))
        assert told_to_stop(rig.do(event)) == ["a"]


class TestCommands:
    def test_each_answer_that_a_command_can_get(self) -> None:
        """C01"""
        rig = Rig.with_all_up(child("a"))

        def why(event: object) -> str | None:
            rejected = [action.why for action in rig.do(event) if isinstance(action, Rejected)]  # type: ignore[arg-type]
            return rejected[0] if rejected else None

        assert why(StartChild("a")) == why(Add(child("a"))) == "already started"
        assert why(Remove("a")) == "running"
        for event in (StartChild("b"), StopChild("b"), RestartChild("b"), KillChild("b"), Remove("b"), Update(child("b"))):
            assert why(event) == "unknown"
        assert why(StopChild("a")) is None
        rig.dies("a", "shutdown")
        assert why(StopChild("a")) is None
        assert why(KillChild("a")) == "not running"
        assert why(Add(child("a"))) == "already present"
        assert rig.do(Remove("a")) == [Removed("a")]
        assert rig.core.children == {}

    def test_a_restart_loop_can_be_left_by_hand(self) -> None:
        """C02"""
        rig = Rig.with_all_up(child("a", limit=8, window=10))
        rig.dies("a")
        rig.dies("a", "start_failed")
        assert rig.state("a") == "backoff"
        for event in (RestartChild("a"), StartChild("a"), Remove("a")):
            assert rig.do(event) == [Rejected("a", "restarting")]
        rig.do(StopChild("a"))
        assert launched(rig.do(StartChild("a"))) == ["a"]
        rig.dies("a", "start_failed")
        rig.dies("a", "start_failed")
        assert rig.do(Stop())[-1] == Finished("shutdown")

    def test_a_loop_in_the_middle_leaves_the_first_alone(self) -> None:
        """C03"""
        rig = Rig.with_all_up(child("c1"), child("c2", limit=8), child("c3"), strategy="rest_for_one")
        rig.dies("c2")
        rig.dies("c3", "shutdown")
        for _ in range(3):
            rig.dies("c2", "start_failed")
            rig.wait(1)
        assert rig.states() == {"c1": "running", "c2": "starting", "c3": "waiting"}
        assert rig.incarnations()["c1"] == rig.incarnations()["c3"] == 1

    def test_twenty_restarts_at_once_are_one(self) -> None:
        """C05"""
        rig = Rig.with_all_up(child("a"))
        for _ in range(20):
            assert not any(isinstance(action, Rejected) for action in rig.do(RestartChild("a")))
        assert rig.did.count(Shutdown("a", 1)) == 1
        assert launched(rig.dies("a", "shutdown")) == ["a"]
        assert rig.do(RestartChild("a")) == []
        rig.ready("a")
        assert rig.incarnations() == {"a": 2}

    def test_a_commanded_stop_of_four_replicas_is_no_flapping(self) -> None:
        """C06"""
        names = [f"a/{n}" for n in range(4)]
        rig = Rig.with_all_up(*(child(name, limit=1) for name in names), max_restarts=2)
        for name in names:
            rig.do(StopChild(name))
        for name in names:
            rig.dies(name, "killed")
        rig.wait(10)
        assert set(rig.states().values()) == {"stopped"}
        assert not rig.core.is_finished

    def test_a_child_may_decline_to_start(self) -> None:
        """C09"""
        rig = Rig(child("p"), temporary("t", dynamic=True))
        rig.do(Start())
        rig.dies("p", "normal", ended=True)
        assert rig.dies("t", "normal", ended=True)[-1] == Removed("t")
        rig.wait(60)
        assert rig.states() == {"p": "stopped"}

    def test_a_child_in_backoff_keeps_its_place_under_the_maximum(self) -> None:
        """C10"""
        rig = Rig.with_all_up(child("config"), max_children=2)
        rig.do(Add(child("a", dynamic=True)))
        rig.do(Add(child("b", dynamic=True)))
        rig.do(LaunchFailed("a", 1))
        assert rig.state("a") == "backoff"
        assert rig.do(Add(child("c", dynamic=True))) == [Rejected("c", "too many children: limit 2")]
        rig.do(Remove("a", force=True))
        assert launched(rig.do(Add(child("c", dynamic=True)))) == ["c"]

    def test_start_revives_a_failed_child_with_its_window_cleared(self) -> None:
        rig = Rig.with_all_up(child("a", limit=1))
        rig.dies("a")
        rig.dies("a")
        assert rig.state("a") == "failed"
        assert launched(rig.do(StartChild("a"))) == ["a"]
        rig.ready("a")
        assert launched(rig.dies("a")) == ["a"]

    def test_the_last_command_wins(self) -> None:
        rig = Rig.with_all_up(child("a"))
        rig.do(StopChild("a"))
        rig.do(StartChild("a"))
        assert launched(rig.dies("a", "shutdown")) == ["a"]
        rig.do(RestartChild("a"))
        rig.ready("a")
        rig.do(RestartChild("a"))
        rig.do(StopChild("a"))
        assert launched(rig.dies("a", "shutdown")) == []

    def test_a_removal_under_way_is_final(self) -> None:
        rig = Rig.with_all_up(child("a"))
        assert told_to_stop(rig.do(Remove("a", force=True))) == ["a"]
        assert rig.do(StartChild("a")) == [Rejected("a", "being removed")]
        assert rig.dies("a", "shutdown") == [Changed("a", "stopped", "removed"), Removed("a")]

    @pytest.mark.parametrize(("dynamic", "left"), [(True, []), (False, ["t"])])
    def test_an_ended_temporary_child_disappears_only_if_it_was_dynamic(self, dynamic: bool, left: list[str]) -> None:
        rig = Rig.with_all_up(temporary("t", dynamic=dynamic))
        actions = rig.dies("t", "normal")
        assert actions[0] == Changed("t", "stopped", "ended normally; a temporary child is not restarted")
        assert (actions[-1] == Removed("t")) is dynamic
        assert list(rig.states()) == left

    def test_an_added_child_can_be_kept_for_later(self) -> None:
        rig = Rig.with_all_up()
        assert rig.do(Add(child("a"), start=False)) == [Changed("a", "stopped", "not started yet")]
        assert launched(rig.do(StartChild("a"))) == ["a"]

    def test_an_update_takes_effect_without_a_restart(self) -> None:
        """C11: a changed limit restarts nothing."""
        rig = Rig.with_all_up(child("a"))
        assert rig.do(Update(child("a", limit=0))) == []
        rig.dies("a")
        assert rig.state("a") == "failed"

    @pytest.mark.slow
    def test_list_and_counts_agree_at_any_time(self) -> None:
        """C16"""
        rig = Rig.with_all_up()
        for n in range(1000):
            rig.do(Add(child(f"a{n}", dynamic=True)))
            if n % 3 == 0:
                rig.do(Remove(f"a{n // 2}", force=True))
            if n % 5 == 0:
                rig.answer_launches()
                rig.answer_shutdowns()
            alive = sum(view.state in ("starting", "running", "draining", "stopping") for view in rig.core.children.values())
            assert alive == rig.core._alive
