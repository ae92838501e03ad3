"""Language models: what `self.llm` takes and gives, for agents and for programs without any."""

from typing import TYPE_CHECKING, Any

from .base import Call, Completion, Provider, ToolCall, ToolSpec, Turn, Usage

if TYPE_CHECKING:
    from .client import LLM as LLM
    from .client import Stream as Stream
    from .mock import MockProvider as MockProvider
    from .settings import Profile as Profile

__all__ = ["LLM", "Call", "Completion", "MockProvider", "Profile", "Provider", "Stream", "ToolCall", "ToolSpec", "Turn", "Usage"]

_LAZY = {"LLM": "client", "MockProvider": "mock", "Profile": "settings", "Stream": "client"}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{module}", __name__), name)
