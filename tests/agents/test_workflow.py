"""Plans: made, repaired, refused. Workflows: run side by side, with failures, and over the death of who runs them."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path[:0] = [path for path in [str(Path(__file__).parent)] if path not in sys.path]

from team import Worker  # noqa: E402  # found only now

from actorsys import BadCompletion, BadMessage, Supervisor  # noqa: E402
from actorsys.agents import AgentCard, Plan, PlanWorkflow, RunWorkflow, Step, WorkflowCoordinator  # noqa: E402
from actorsys.llm import LLM, Profile  # noqa: E402
from actorsys.testing.waiting import eventually  # noqa: E402

CARDS = [AgentCard("writer", "writes sentences"), AgentCard("reader", "reads a book")]


class Alone(WorkflowCoordinator):
    """Without a process; its model follows a script."""

    llm = state = None

    def __init__(self, folder, *answers):
        super().__init__()
        script = folder / "script.json"
        script.write_text(json.dumps([{"times": 1, "json": {"steps": steps}} for steps in answers]))
        self.llm, self.state = LLM({"default": Profile(script=str(script))}, "default"), {}

    async def discover(self):
        return [{"name": card.name, "node": "here", "capabilities": [], "description": card.description} for card in CARDS]


def draft(id, agent, *depends_on):
    return {"id": id, "agent": agent, "task": f"do {id}", "depends_on": list(depends_on)}


def plan_of(agent, task="a task", available_agents=None):
    return asyncio.run(agent.plan(PlanWorkflow(task, available_agents)))


def test_the_plan_is_the_models_and_is_kept(tmp_path):
    agent = Alone(tmp_path, [draft("a", "reader"), draft("b", "writer", "a")])
    plan = plan_of(agent, available_agents=CARDS)
    assert plan == Plan([Step("a", "reader", "do a"), Step("b", "writer", "do b", ["a"])])
    assert agent.state["workflow_plan"]["steps"][1] == {
        "id": "b", "agent": "writer", "task": "do b", "depends_on": ["a"], "message": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [draft("a", "nobody")],
        [draft("a", "writer"), draft("a", "reader")],
        [draft("a", "writer", "b"), draft("b", "writer", "a")],
    ],
    ids=["no step", "unknown agent", "one id twice", "cycle"],
)
def test_a_plan_that_cannot_work_is_repaired_once(tmp_path, wrong):
    assert plan_of(Alone(tmp_path, wrong, [draft("a", "writer")])) == Plan([Step("a", "writer", "do a")])


def test_when_the_repair_is_no_better_the_problems_are_told(tmp_path):
    agent = Alone(tmp_path, [draft("a", "nobody")], [draft("a", "no one")])
    with pytest.raises(BadCompletion, match="'no one', which is none of: writer, reader"):
        plan_of(agent)
    assert agent.state == {}


def test_agents_may_be_named_described_or_left_out(tmp_path):
    agent = Alone(tmp_path)
    cards = asyncio.run(agent._cards(["writer", AgentCard("poet", "makes rhymes"), "stranger"]))
    assert cards == [AgentCard("writer", "writes sentences"), AgentCard("poet", "makes rhymes"), AgentCard("stranger")]
    assert [card.name for card in asyncio.run(agent._cards(None))] == ["writer", "reader"]


def test_without_a_script_each_part_of_a_task_goes_to_who_can_do_it(tmp_path):
    agent = Alone(tmp_path)
    agent.llm = LLM({"default": Profile()}, "default")
    plan = plan_of(agent, "read a book, then write a sentence about it")
    assert [(step.agent, step.depends_on) for step in plan.steps] == [("reader", []), ("writer", [plan.steps[0].id])]


def test_with_nobody_to_plan_for_the_field_is_named(tmp_path):
    with pytest.raises(BadMessage) as wrong:
        plan_of(Alone(tmp_path), available_agents=[])
    assert wrong.value.field == "available_agents"


def test_an_argument_that_lets_nothing_run_is_refused():
    with pytest.raises(ValueError, match="parallel is 0"):
        WorkflowCoordinator(parallel=0)


# --- in their own processes


class Team:
    """A coordinator, a worker that writes down what it is asked, and what it wrote."""

    def __init__(self, folder):
        self.file, self.go = folder / "asked", folder / "go"
        self.file.touch()

    async def start(self, sup, memory="sqlite", concurrency=1, **args):
        worker = {"file": str(self.file), "go": str(self.go)}
        await sup.spawn(Worker, name="worker", args=worker, concurrency=10, description="works")
        options = {"memory": memory, "concurrency": concurrency, "args": args}
        self.coordinator = await sup.spawn("workflow_coordinator", name="coordinator", **options)
        return self.coordinator

    @property
    def asked(self):
        return self.file.read_text().splitlines()


def on_team(folder, body, **args):
    async def main():
        async with Supervisor(state_dir=folder / "node") as sup, asyncio.timeout(60):
            team = Team(folder)
            await team.start(sup, **args)
            await body(team)

    asyncio.run(main())


def steps(**tasks):
    """Steps by id: the task, then the ids it depends on."""
    return Plan([Step(id, "worker", task, after) for id, (task, *after) in tasks.items()])


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["in_memory", "sqlite"])
def test_results_are_handed_on_and_the_status_of_each_step_is_in_the_state(tmp_path, memory):
    async def body(team):
        outcome = await team.coordinator.ask(RunWorkflow(steps(a=("a",), b=("b",), c=("c", "a", "b"))))
        assert (outcome.status, outcome.summary) == ("done", "3 of 3 steps done")
        assert outcome.steps["c"].result == ["c", ["a", "b"]]
        state = await team.coordinator.state()
        assert state["workflow_steps"]["c"] == {"agent": "worker", "status": "done"}
        assert state["workflow_result"]["steps"]["a"] == {"agent": "worker", "status": "done", "result": ["a", []]}

    on_team(tmp_path, body, memory=memory)


@pytest.mark.slow
def test_a_plan_is_made_and_run_by_plain_json_alone(tmp_path):
    async def body(team):
        plan = await team.coordinator.ask({"llm_task": "plan_workflow", "task_description": "work on it"})
        assert [step["agent"] for step in plan["steps"]] == ["worker"]
        outcome = await team.coordinator.ask({"llm_task": "run_workflow"})
        assert outcome["status"] == "done"
        assert team.asked == ["work on it"]
        told = {"id": "x", "agent": "coordinator-2", "message": {"type": "Get", "key": "x"}}
        outcome = await team.coordinator.ask({"llm_task": "run_workflow", "workflow_plan": {"steps": [told]}})
        assert outcome["steps"]["x"]["error"].startswith("UnknownAgent: no agent is named 'coordinator-2'.")

    on_team(tmp_path, body)


@pytest.mark.slow
def test_a_step_with_a_message_of_its_own_sends_that_with_the_inputs(tmp_path):
    async def body(team):
        second = Step("b", "worker", depends_on=["a"], message={"type": "Work", "task": "say"})
        outcome = await team.coordinator.ask(RunWorkflow(Plan([Step("a", "worker", "a"), second])))
        assert outcome.steps["b"].result == ["say", ["a"]]

    on_team(tmp_path, body)


@pytest.mark.slow
def test_a_failed_step_fails_those_that_need_it_and_the_rest_goes_on(tmp_path):
    async def body(team):
        plan = steps(a=("fail here",), b=("b", "a"), c=("c", "b"), d=("d",), e=("e", "d"))
        outcome = await team.coordinator.ask(RunWorkflow(plan))
        assert {id: report.status for id, report in outcome.steps.items()} == {
            "a": "failed", "b": "skipped", "c": "skipped", "d": "done", "e": "done",
        }  # fmt: skip
        assert outcome.status == "partial"
        assert outcome.summary.startswith("2 of 5 steps done; a failed: ValueError: cannot fail here; b skipped: needs a")
        assert sorted(team.asked) == ["d", "e", "fail here"]

    on_team(tmp_path, body)


@pytest.mark.slow
def test_a_step_that_takes_too_long_has_failed(tmp_path):
    async def body(team):
        outcome = await team.coordinator.ask(RunWorkflow(steps(a=("hold it",))))
        assert outcome.status == "failed"
        assert outcome.steps["a"].error.startswith("AskTimeout: ")

    on_team(tmp_path, body, step_timeout=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "most"), [(1, 1), (2, 2), (8, 6)])
def test_no_more_steps_run_at_once_than_parallel_says(tmp_path, parallel, most):
    async def body(team):
        plan = steps(**{f"s{n}": (f"hold {n}",) for n in range(6)})
        running = asyncio.ensure_future(team.coordinator.ask(RunWorkflow(plan)))
        await eventually(lambda: len(team.asked) == most)
        await team.coordinator.ask(RunWorkflow(steps(behind=("go behind",))))  # what it had sent before is there by now
        assert sorted(team.asked) == ["go behind", *(f"hold {n}" for n in range(most))]
        team.go.touch()
        assert (await running).status == "done"

    on_team(tmp_path, body, parallel=parallel, concurrency=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"llm_task": "run_workflow"}, "workflow_plan"),
        ({"llm_task": "run_workflow", "workflow_plan": {"steps": []}}, "workflow_plan"),
        ({"llm_task": "run_workflow", "workflow_plan": {"steps": [{"id": "a"}]}}, "workflow_plan.steps[0].agent"),
        ({"llm_task": "plan_workflow"}, "task_description"),
    ],
    ids=["no plan yet", "no step", "no agent", "no task"],
)
def test_a_message_that_cannot_work_names_its_field(tmp_path, payload, field):
    async def body(team):
        with pytest.raises(BadMessage) as wrong:
            await team.coordinator.ask(payload)
        assert wrong.value.field == field

    on_team(tmp_path, body)


@pytest.mark.slow
@pytest.mark.parametrize("held", range(5))
def test_killed_at_any_step_it_asks_for_no_finished_step_again(tmp_path, held):
    """Two steps side by side, then three in a row; it is killed while the one numbered `held` is under way."""
    names = ["a", "b", "c", "d", "e"]
    tasks = {name: f"hold {name}" if number == held else name for number, name in enumerate(names)}

    async def body(team):
        plan = steps(a=(tasks["a"],), b=(tasks["b"],), c=(tasks["c"], "a", "b"), d=(tasks["d"], "c"), e=(tasks["e"], "d"))
        asking = asyncio.create_task(team.coordinator.ask(RunWorkflow(plan), timeout=50))
        others = names[:held] if held >= 2 else ["a", "b"]  # the first two run side by side

        def is_held():
            return set(team.asked) >= {tasks[name] for name in others} and tasks[names[held]] in team.asked

        await eventually(is_held)

        async def finished():
            rows = (await team.coordinator.state()).get("workflow_steps", {})
            return {id for id, row in rows.items() if row["status"] == "done"}

        while await finished() != set(others) - {names[held]}:
            pass
        os.kill((await team.coordinator.info())["pid"], signal.SIGKILL)
        await eventually(lambda: team.asked.count(tasks[names[held]]) == 2)
        team.go.touch()
        outcome = await asking
        assert outcome.status == "done"
        assert outcome.steps["e"].result == [tasks["e"], ["d"]]
        assert sorted(team.asked) == sorted([*tasks.values(), tasks[names[held]]])

    on_team(tmp_path, body)
