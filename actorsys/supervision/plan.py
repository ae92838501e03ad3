"""What would a reload change? The difference between two lists of agents, one entry for each process, with the reason.

The plan is shown first and applied as it stands: an entry with `restart` needs a new process, one without takes effect at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import asdict

from ..names import replica
from ..spec import AgentSpec, LlmSpec, Spec
from . import profiles

# Settings that the supervisor holds, so that a running agent need not be touched. Whatever else differs, new settings included,
# was given to the process when it started.
HELD_BY_SUPERVISOR = frozenset({"restart", "mailbox", "depends_on", "start_timeout", "stop_timeout", "hang_timeout", "budget"})
BUT_GIVEN_TO_PROCESS = frozenset({"mailbox.durability"})
SECRET = frozenset({"env"})  # values that belong on no screen


class Entry(Struct, frozen=True):
    """One line of the plan. `reason` says what differs; `restart` whether a process that runs is replaced."""

    sign: Literal["+", "-", "~"]
    name: str
    agent: str
    reason: str = ""
    restart: bool = False

    def __str__(self) -> str:
        parts = [f"{self.sign} {self.name}", "restart" if self.restart else "", self.reason]
        return "  ".join(part for part in parts if part)


def processes(spec: AgentSpec) -> list[str]:
    """The names of an agent's processes.

    >>> processes(AgentSpec(name="counter", type="shop:Counter", replicas=2))
    ['counter/0', 'counter/1']
    """
    return [replica(spec.name, index) for index in range(spec.replicas)]


Profiles = Mapping[str, LlmSpec]


def plan(old: Iterable[AgentSpec], new: Iterable[AgentSpec], old_llm: Profiles = {}, new_llm: Profiles = {}) -> list[Entry]:  # noqa: B006 - only read
    """What to do to get from `old` to `new`: removals first, the last first; then the rest in the order of the new list.

    >>> was = AgentSpec(name="counter", type="shop:Counter", args={"start": 5})
    >>> for entry in plan([was], [AgentSpec(name="counter", type="shop:Counter", args={"start": 6}, replicas=2)]): print(entry)
    ~ counter/0  restart  args.start: 5 -> 6
    + counter/1
    """
    before, after = ({spec.name: spec for spec in specs} for specs in (old, new))
    entries = []
    for name, spec in reversed(before.items()):
        kept = set(processes(after[name])) if name in after else set()
        reason = f"replicas: {spec.replicas} -> {after[name].replicas}" if name in after else "not in the file any more"
        entries += [Entry("-", process, name, reason) for process in reversed(processes(spec)) if process not in kept]
    for name, spec in after.items():
        known = set(processes(before[name])) if name in before else set()
        changes = list(differences(before[name], spec)) if name in before else []
        if name in before and before[name].llm == spec.llm:
            changes += _of_models(before[name], spec, old_llm, new_llm)
        reason = "; ".join(text for _, text in changes)
        restart = any(needs_restart(key) for key, _ in changes)
        for process in processes(spec):
            if process not in known:
                entries.append(Entry("+", process, name))
            elif changes:
                entries.append(Entry("~", process, name, reason, restart))
    return entries


def needs_restart(key: str) -> bool:
    """Whether a change of this setting reaches a running agent only through a new process.

    >>> needs_restart("restart.max_restarts"), needs_restart("env.TZ"), needs_restart("llm.default.rate.per")
    (False, True, False)
    """
    first, *rest = key.split(".")
    if first == "llm" and len(rest) > 1:
        return rest[1] not in profiles.HELD_BY_SUPERVISOR
    return key in BUT_GIVEN_TO_PROCESS or first not in HELD_BY_SUPERVISOR


def differences(old: AgentSpec, new: AgentSpec) -> Iterator[tuple[str, str]]:
    """(key, text) of each setting that differs, one level into tables. Replicas are counted, not compared."""
    for key, was in asdict(old).items():
        now = getattr(new, key)
        if key == "replicas" or was == now:
            continue
        if isinstance(was, (dict, Spec)):
            yield from _within(key, _table(was), _table(now))
        else:
            yield key, f"{key}: {_show(was)} -> {_show(now)}"


def _of_models(old: AgentSpec, new: AgentSpec, old_llm: Profiles, new_llm: Profiles) -> Iterator[tuple[str, str]]:
    """The same for the profiles that the agent may use."""
    was, now = profiles.told(old, old_llm), profiles.told(new, new_llm)
    for name in dict.fromkeys([*was, *now]):
        yield from _within(f"llm.{name}", was.get(name, {}), now.get(name, {}))
        for key in profiles.HELD_BY_SUPERVISOR if name in was and name in now else ():
            yield from _within(f"llm.{name}.{key}", asdict(getattr(old_llm[name], key)), asdict(getattr(new_llm[name], key)))


def _within(key: str, was: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in [*was, *(name for name in now if name not in was)]:
        path = f"{key}.{name}"
        if name not in now:
            yield path, f"{path} removed"
        elif name not in was:
            yield path, f"{path} added" if key in SECRET else f"{path} added: {_show(now[name])}"
        elif was[name] != now[name]:
            yield path, f"{path} changed" if key in SECRET else f"{path}: {_show(was[name])} -> {_show(now[name])}"


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else asdict(value)


def _show(value: object) -> str:
    text = repr(float(value)) if isinstance(value, float) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
