"""An agent that has others work together: it plans who does what, and has the plan done."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct, to_builtins

from .. import ActorError, Agent, BadCompletion, BadMessage, Message, RemoteError, Request, on
from ..llm import Completion, Turn
from .plan import Plan, Step, problems
from .tasks import Work, task_of, together

INSTRUCTIONS = (
    "You plan work for a team of agents. The user gives you JSON: a task_description, and the available_agents with what each can do. "
    "Break the task into as few steps as it needs. Each step has an id of its own, the name of one available agent, the part of the "
    "task that this agent is to do, written so that it can be understood alone, and in depends_on the ids of the steps whose results "
    "it needs. Steps that do not need each other must not depend on each other: they run at the same time."
)
REPAIR = "This plan cannot work: {} Answer with the whole plan, corrected."


class AgentCard(Struct, frozen=True, omit_defaults=True):
    """An agent that a plan may use."""

    name: str
    description: str = ""
    capabilities: list[str] = []


class PlanWorkflow(Request[Plan], frozen=True):
    """Make a plan. Without `available_agents` it may use every agent that is there."""

    task_description: str
    available_agents: list[AgentCard | str] | None = None


class StepReport(Struct, frozen=True, omit_defaults=True):
    """What became of a step. `skipped`: one that it depends on failed."""

    agent: str
    status: Literal["waiting", "running", "done", "failed", "skipped"]
    result: Any = None
    error: str = ""


class Outcome(Struct, frozen=True):
    """`done`: every step is; `failed`: none is; else `partial`. `summary` says in words what happened."""

    status: Literal["done", "partial", "failed"]
    summary: str
    steps: dict[str, StepReport]


class RunWorkflow(Request[Outcome], frozen=True):
    """Have a plan done; without one, the plan that was made last."""

    workflow_plan: Plan | None = None


class DraftStep(Struct, frozen=True):
    id: str
    agent: str
    task: str
    depends_on: list[str]


class Draft(Struct, frozen=True):
    """The form of a model's answer: nothing optional, nothing free."""

    steps: list[DraftStep]


TASKS: dict[str, type[PlanWorkflow | RunWorkflow]] = {"plan_workflow": PlanWorkflow, "run_workflow": RunWorkflow}


class WorkflowCoordinator(Agent):
    """Answers `{"llm_task": "plan_workflow", "task_description", "available_agents"}` with a plan, and `run_workflow` by having it done.

    At most `parallel` steps run at once, each for `step_timeout` seconds at most. A step that fails fails those that depend on it;
    the others go on. With a durable backend each step is journaled: when this agent is killed, its next life does not ask again
    for what is finished. State: `workflow_plan`; `workflow_steps`, the status of each; `workflow_result`.
    """

    def __init__(self, parallel: int = 4, step_timeout: float = 120.0, instructions: str = INSTRUCTIONS) -> None:
        if parallel < 1:
            raise ValueError(f"parallel is {parallel}; at least one step must run")
        self.parallel = parallel
        self.step_timeout = step_timeout
        self.instructions = instructions

    async def receive(self, message: Message) -> Plan | Outcome:
        task = task_of(message.payload, TASKS)
        return await (self.plan(task) if isinstance(task, PlanWorkflow) else self.run(task))

    # --- making a plan

    @on
    async def plan(self, msg: PlanWorkflow) -> Plan:
        cards = await self._cards(msg.available_agents)
        if not cards:
            text = "plan_workflow: there is no agent to plan for; name some, or start them."
            raise BadMessage(text, field="available_agents")
        names = [card.name for card in cards]
        asked = {"task_description": msg.task_description, "available_agents": cards}
        turns = [Turn("user", msgspec.json.encode(asked).decode())]
        completion, plan = await self._draft(turns)
        if wrong := problems(plan, names):  # once more, with what is wrong
            turns += [Turn("assistant", completion.text), Turn("user", REPAIR.format(" ".join(wrong)))]
            completion, plan = await self._draft(turns)
            if wrong := problems(plan, names):
                text = f"the model made no plan that can work: {' '.join(wrong)}"
                raise BadCompletion(text, provider=completion.provider, model=completion.model, text=completion.text)
        self.state["workflow_plan"] = to_builtins(plan)
        return plan

    async def _draft(self, turns: Sequence[Turn]) -> tuple[Completion, Plan]:
        completion = await self.llm.complete(turns, system=self.instructions, schema=Draft)
        return completion, Plan([Step(step.id, step.agent, step.task, step.depends_on) for step in completion.parsed.steps])

    async def _cards(self, wanted: Sequence[AgentCard | str] | None) -> list[AgentCard]:
        """The agents to plan for, with what is known of those that were only named."""
        if wanted is not None and not any(isinstance(each, str) for each in wanted):
            return [each for each in wanted if isinstance(each, AgentCard)]
        there = {row["name"]: msgspec.convert(row, AgentCard) for row in await self.discover()}
        if wanted is None:
            return list(there.values())
        return [each if isinstance(each, AgentCard) else there.get(each, AgentCard(each)) for each in wanted]

    # --- having it done

    @on
    async def run(self, msg: RunWorkflow) -> Outcome:
        plan = msg.workflow_plan or self._last_plan()
        if wrong := problems(plan):
            raise BadMessage(f"run_workflow: this plan cannot work: {' '.join(wrong)}", field="workflow_plan")
        self.state["workflow_steps"] = {step.id: {"agent": step.agent, "status": "waiting"} for step in plan.steps}
        self.state.pop("workflow_result", None)
        ends = {step.id: asyncio.get_running_loop().create_future() for step in plan.steps}
        gate = asyncio.Semaphore(self.parallel)
        reports = await together(self._step(step, ends, gate) for step in plan.in_order())
        outcome = _outcome(plan, {step.id: report for step, report in zip(plan.in_order(), reports, strict=True)})
        self.state["workflow_result"] = to_builtins(outcome)
        self.log.info("workflow %s: %s", outcome.status, outcome.summary)
        return outcome

    def _last_plan(self) -> Plan:
        if "workflow_plan" not in self.state:
            text = "run_workflow: no plan was made yet; give a `workflow_plan`, or have one made with plan_workflow."
            raise BadMessage(text, field="workflow_plan")
        return msgspec.convert(self.state["workflow_plan"], Plan)

    async def _step(self, step: Step, ends: dict[str, "asyncio.Future[StepReport]"], gate: asyncio.Semaphore) -> StepReport:
        """Wait for what the step depends on, then have it done."""
        before = {other: await ends[other] for other in step.depends_on}
        if bad := [other for other, report in before.items() if report.status != "done"]:
            report = StepReport(step.agent, "skipped", error=f"needs {', '.join(bad)}")
        else:
            inputs = {other: report.result for other, report in before.items()}
            async with gate:
                await self._show(step, "running")
                report = msgspec.convert(await self._journaled(f"step/{step.id}", step, inputs), StepReport)
        await self._show(step, report.status, report.error)
        ends[step.id].set_result(report)
        return report

    async def _journaled(self, name: str, step: Step, inputs: dict[str, Any]) -> Any:
        if self.memory.is_durable:
            return await self.step(name, self._ask, step, inputs)
        return await self._ask(step, inputs)

    async def _ask(self, step: Step, inputs: dict[str, Any]) -> dict[str, Any]:
        """Ask the agent of a step. An error is a result, too: a step that failed is finished."""
        agent = self.agent(step.agent)
        try:
            if step.message is None:
                result = await agent.ask(Work(step.task, inputs), timeout=self.step_timeout)
            else:
                more = {"inputs": inputs} if inputs else {}
                result = await agent.ask({**more, **step.message}, timeout=self.step_timeout)
        except ActorError as error:
            text = error.message if isinstance(error, RemoteError) else f"{type(error).__name__}: {error.message}"
            return {"agent": step.agent, "status": "failed", "error": text}
        return {"agent": step.agent, "status": "done", "result": result}

    async def _show(self, step: Step, status: str, error: str = "") -> None:
        row = {"agent": step.agent, "status": status}
        self.state["workflow_steps"][step.id] = {**row, "error": error} if error else row
        await self.state.commit()


def _outcome(plan: Plan, reports: dict[str, StepReport]) -> Outcome:
    steps = {step.id: reports[step.id] for step in plan.steps}
    done = sum(report.status == "done" for report in steps.values())
    troubles = [f"{id} {report.status}: {report.error}" for id, report in steps.items() if report.status != "done"]
    summary = "; ".join([f"{done} of {len(steps)} steps done", *troubles])
    return Outcome("done" if done == len(steps) else "partial" if done else "failed", summary, steps)
