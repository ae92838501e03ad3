"""A plan: who does what, and after what. Which plans cannot work, and why?"""

from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from typing import Any

from msgspec import Struct


class Step(Struct, frozen=True):
    """What one agent is to do once the steps it depends on are done. It is sent `message`, if there is one, else `Work(task, inputs)`."""

    id: str
    agent: str
    task: str = ""
    depends_on: list[str] = []
    message: dict[str, Any] | None = None


class Plan(Struct, frozen=True):
    steps: list[Step]

    def in_order(self) -> list[Step]:
        """Each step after all that it depends on; else in the order they are written. Raises CycleError."""
        by_id = {step.id: step for step in self.steps}
        graph = TopologicalSorter({step.id: step.depends_on for step in self.steps})
        return [by_id[id] for id in graph.static_order()]


def problems(plan: Plan, agents: Collection[str] | None = None) -> list[str]:
    """Why the plan cannot work, in sentences for people and models; none: it can. `agents`: the only ones that there are.

    >>> problems(Plan([Step("a", "writer", depends_on=["b"])]), ["editor"])
    ["step 'a' names the agent 'writer', which is none of: editor.", "step 'a' depends on 'b', which is no step."]
    """
    found = [] if plan.steps else ["there is no step."]
    ids: set[str] = set()
    for step in plan.steps:
        if not step.id:
            found.append("a step has an empty id.")
        elif step.id in ids:
            found.append(f"two steps have the id {step.id!r}.")
        ids.add(step.id)
        if agents is not None and step.agent not in agents:
            found.append(f"step {step.id!r} names the agent {step.agent!r}, which is none of: {', '.join(agents)}.")
    for step in plan.steps:
        found += [f"step {step.id!r} depends on {other!r}, which is no step." for other in step.depends_on if other not in ids]
    if not found:
        try:
            plan.in_order()
        except CycleError as error:
            found.append(f"steps wait for each other: {' -> '.join(reversed(error.args[1]))}.")
    return found
