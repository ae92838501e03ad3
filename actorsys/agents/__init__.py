"""Built-in agents: `type = "generic"`, `"summarizer"`, `"workflow_coordinator"` or `"ooda"` in agents.toml; and their messages."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .generic import Generic as Generic
    from .ooda import Ooda as Ooda
    from .ooda import OodaComms as OodaComms
    from .plan import Plan as Plan
    from .plan import Step as Step
    from .summarizer import Item as Item
    from .summarizer import Summarize as Summarize
    from .summarizer import Summarizer as Summarizer
    from .tasks import Work as Work
    from .workflow import AgentCard as AgentCard
    from .workflow import Outcome as Outcome
    from .workflow import PlanWorkflow as PlanWorkflow
    from .workflow import RunWorkflow as RunWorkflow
    from .workflow import StepReport as StepReport
    from .workflow import WorkflowCoordinator as WorkflowCoordinator

_LAZY = {
    "Generic": "generic",
    "Ooda": "ooda",
    "OodaComms": "ooda",
    "Plan": "plan",
    "Step": "plan",
    "Item": "summarizer",
    "Summarize": "summarizer",
    "Summarizer": "summarizer",
    "Work": "tasks",
    "AgentCard": "workflow",
    "Outcome": "workflow",
    "PlanWorkflow": "workflow",
    "RunWorkflow": "workflow",
    "StepReport": "workflow",
    "WorkflowCoordinator": "workflow",
}

__all__ = [
    "Generic",
    "Summarizer",
    "Summarize",
    "Item",
    "WorkflowCoordinator",
    "PlanWorkflow",
    "RunWorkflow",
    "Plan",
    "Step",
    "Outcome",
    "StepReport",
    "AgentCard",
    "Work",
    "Ooda",
    "OodaComms",
]


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{module}", __name__), name)
