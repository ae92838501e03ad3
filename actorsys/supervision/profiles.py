"""What an agent's process is told about models: the profiles that it may come to use, as far as they are its affair."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import asdict

from ..spec import AgentSpec, LlmSpec

HELD_BY_SUPERVISOR = ("rate", "budget", "price")
_DEFAULTS = asdict(LlmSpec())


def reachable(name: str, llm: Mapping[str, LlmSpec]) -> list[str]:
    """A profile and those that stand in for it, each once.

    >>> reachable("a", {"a": LlmSpec(fallback=("b",)), "b": LlmSpec(fallback=("a", "c")), "c": LlmSpec()})
    ['a', 'b', 'c']
    """
    names = [name]
    for each in names:
        names += [other for other in llm[each].fallback if other in llm and other not in names]
    return names


def table(profile: LlmSpec) -> dict[str, Any]:
    """What there is to tell of one, without defaults."""
    values = {key: value for key, value in asdict(profile).items() if key not in HELD_BY_SUPERVISOR and value != _DEFAULTS[key]}
    return {key: float(value) if isinstance(value, float) else value for key, value in values.items()}


def told(spec: AgentSpec, llm: Mapping[str, LlmSpec]) -> dict[str, dict[str, Any]]:
    """Its profiles by name, its own first, without defaults; `limited` ones are asked for before each call."""
    if spec.llm not in llm:
        return {}
    tables = {}
    for name in reachable(spec.llm, llm):
        profile = llm[name]
        tables[name] = table(profile)
        if profile.rate.requests or profile.budget or spec.budget:
            tables[name]["limited"] = True
    return tables
