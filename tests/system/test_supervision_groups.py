"""Children that share a fate: strategies of the supervisor and of groups, with real processes."""

import os

from supervised import QUICK, control, counts, eventually, in_state, is_alive, kill, kill_and_wait, row, states, up_again, why

from actorsys import Supervisor
from actorsys.testing.children import Obedient, Stillborn


def pids(sup):
    return {row["name"]: row["pid"] for row in sup.children()}


async def all_new(sup, before, *names):
    """Their pids, once each of them runs in another process than before."""
    for name in names:
        await up_again(sup, name, before[name])
    return pids(sup)


def test_one_for_all_restarts_everybody_and_an_incident_costs_one_unit(run, journal):
    """A09"""

    async def main():
        async with Supervisor(nats="off", strategy="one_for_all", max_restarts=2, window="1h") as sup:
            for name in ("c1", "c2"):
                await sup.spawn(Obedient, name=name, args={"journal": str(journal)}, restart=QUICK)
            for number in (1, 2):
                before = pids(sup)
                await kill(sup, "c1")
                await all_new(sup, before, "c1", "c2")
                assert not any(is_alive(pid) for pid in before.values())
                assert counts(sup) == (2, 2)
                assert journal.lines == ["c1 start", "c2 start", *["c2 stop", "c1 start", "c2 start"] * number]
            await kill(sup, "c2")
            assert await sup.wait_stopped() == 1

    run(main())


def test_when_another_child_does_not_come_back_all_are_tried_again_in_order(run, journal, folder):
    """A10"""

    async def main():
        cure = folder / "cure"
        cure.touch()
        async with Supervisor(nats="off", strategy="one_for_all") as sup:
            rule = {"max_restarts": 5, "backoff": "100ms"}
            await sup.spawn(Obedient, name="c1", args={"journal": str(journal)}, restart=rule)
            await sup.spawn(Stillborn, name="c2", args={"journal": str(journal), "cure": str(cure)}, restart=rule)
            before = pids(sup)
            cure.unlink()
            await kill(sup, "c1")
            await eventually(lambda: "c2 refuse" in journal.lines)
            cure.touch()
            await all_new(sup, before, "c1", "c2")
            await eventually(lambda: journal.lines[-1] == "c2 start")
            lines = journal.lines[3:]  # both up, then c2 was stopped with c1
            assert journal.lines[:3] == ["c1 start", "c2 start", "c2 stop"]
            refused = lines.count("c2 refuse")
            assert lines == [*["c1 start", "c2 refuse", "c1 stop"] * refused, "c1 start", "c2 start"]

    run(main())


def test_rest_for_one_restarts_those_after_and_stops_them_first(run, journal):
    """A11"""

    async def main():
        async with Supervisor(nats="off", strategy="rest_for_one") as sup:
            for name in ("c1", "c2", "c3"):
                await sup.spawn(Obedient, name=name, args={"journal": str(journal)})
            before = pids(sup)
            await kill(sup, "c2")
            after = await all_new(sup, before, "c2", "c3")
            assert after["c1"] == before["c1"]
            assert journal.lines[3:] == ["c3 stop", "c2 start", "c3 start"]

    run(main())


def test_rest_for_one_does_not_start_again_who_came_back(run, journal, folder):
    """A12"""

    async def main():
        cure = folder / "cure"
        cure.touch()
        async with Supervisor(nats="off", strategy="rest_for_one") as sup:
            rule = {"max_restarts": 10, "backoff": "20ms"}
            await sup.spawn(Obedient, name="c1", args={"journal": str(journal)}, restart=rule)
            await sup.spawn(Stillborn, name="c2", args={"journal": str(journal), "cure": str(cure)}, restart=rule)
            await sup.spawn(Obedient, name="c3", args={"journal": str(journal)}, restart=rule)
            before = pids(sup)
            cure.unlink()
            await kill(sup, "c1")
            await eventually(lambda: journal.lines.count("c2 refuse") >= 2)
            cure.touch()
            await all_new(sup, before, "c1", "c2", "c3")
            assert journal.lines.count("c1 start") == 2
            await eventually(lambda: journal.lines[-1] == "c3 start")
            assert journal.lines.count("c3 start") == 2

    run(main())


def test_temporary_bystanders_of_a_restart_are_gone(run):
    """A13"""

    async def main():
        for strategy in ("one_for_all", "rest_for_one"):
            async with Supervisor(nats="off", strategy=strategy) as sup:
                await sup.spawn(Obedient, name="stays")
                await sup.spawn(Obedient, name="goes", restart={"type": "temporary"})
                await kill_and_wait(sup, "stays")
                await eventually(lambda sup=sup: counts(sup) == (1, 1))

    run(main())


GROUP = """
[nats]
mode = "off"
[supervisor]
state_dir = "state"
[groups.pair]
members = ["left", "right"]
strategy = "one_for_all"
[agents.left]
type = "actorsys.testing.children:Obedient"
restart = { max_restarts = 1, backoff = "1ms" }
[agents.right]
type = "actorsys.testing.children:Obedient"
[agents.other]
type = "actorsys.testing.children:Obedient"
"""


def _check_group(sup_of):
    async def main():
        async with sup_of() as sup:
            for name in ("left", "right", "other"):
                if name in states(sup):
                    await in_state(sup, name, "running")
                else:
                    rule = {"max_restarts": 1, "backoff": "1ms"} if name == "left" else {}
                    await sup.spawn(Obedient, name=name, restart=rule)
            before = pids(sup)
            await kill(sup, "left")
            after = await all_new(sup, before, "left", "right")
            assert after["other"] == before["other"]
            decision = (await why(sup, "right"))[-1]["decision"]
            assert "with left" in decision
            os.kill(after["left"], 9)
            await in_state(sup, "left", "failed")
            await in_state(sup, "right", "failed")
            assert row(sup, "other")["pid"] == before["other"]
            assert "with group pair" in row(sup, "right")["note"]
            await control(sup, "start", "left", "right")
            assert set(states(sup).values()) == {"running"}

    return main()


def test_a_group_of_a_file_restarts_its_members_together_and_fails_with_one_of_them(run, folder):
    (folder / "agents.toml").write_text(GROUP)
    run(_check_group(lambda: Supervisor.from_toml(folder / "agents.toml")))


def test_a_group_in_python_does_the_same(run):
    groups = {"pair": {"members": ["left", "right"], "strategy": "one_for_all"}}
    run(_check_group(lambda: Supervisor(nats="off", groups=groups)))
