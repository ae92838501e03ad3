"""What `self.llm` is inside an agent: paced by its supervisor, and remembered with the message that is being handled.

With a durable backend each model call of a handler, and each call of a tool, is a journaled step: when the message is delivered again
after a crash, what was finished is not paid again. A step is found by the digest of its call, so handlers may have several at once.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ..clock import now_ns
from ..errors import BudgetExceeded
from ..llm.base import Usage
from ..llm.client import LLM
from ..llm.fallback import Lease
from ..llm.settings import Profile
from ..mailbox.letter import Command
from ..units import SECOND_NS
from .context import current

if TYPE_CHECKING:
    from .loop import Runtime


def thinking(runtime: "Runtime") -> LLM:
    """The agent's own, by what its assignment says."""
    if not logging.root.isEnabledFor(logging.DEBUG):
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # the SDKs' client: it has a line for each request
    tables = runtime.assignment.llm or {"default": {}}
    profiles = {name: msgspec.convert(table, Profile) for name, table in tables.items()}
    limited = {name for name, table in tables.items() if table.get("limited")}
    return LLM(profiles, next(iter(profiles)), _Gate(runtime, limited), _Journal(runtime), seconds_left)


def seconds_left() -> float | None:
    """Until the deadline of the message being handled."""
    delivery = current.get()
    if delivery is None or not delivery.is_open or not delivery.letter.deadline:
        return None
    return max(0.0, (delivery.letter.deadline - now_ns()) / SECOND_NS)


class _Gate:
    """Asks the supervisor before each call by a profile that is limited; of the others it is only told what they took."""

    def __init__(self, runtime: "Runtime", limited: set[str]) -> None:
        self._runtime = runtime
        self._limited = limited
        self._last = runtime.assignment.incarnation << 32  # unique over the incarnations, as leases outlive them

    async def lease(self, profile: str, tokens: int) -> Lease:
        if profile not in self._limited:
            return Lease(0, profile)
        while True:
            self._last += 1
            lease = Lease(self._last, profile)
            try:
                asked = {"do": "lease", "number": lease.number, "profile": profile, "tokens": tokens}
                grant = await self._runtime.command("llm", asked)
            except BaseException:
                self.settle(lease, Usage(), ok=False)
                raise
            if "exceeded" in grant:
                message, budget, resets_in = grant["exceeded"]
                raise BudgetExceeded(message, budget=budget, resets_in=resets_in)
            if now_ns() <= grant["until_ns"]:
                return lease
            self.settle(lease, Usage(), ok=False)  # too late: whoever is next may have the same moment in mind

    def settle(self, lease: Lease, usage: Usage | None, ok: bool) -> None:
        spent = None if usage is None else [usage.input_tokens, usage.output_tokens, usage.cached_tokens]
        arguments = {"do": "settle", "number": lease.number, "profile": lease.profile, "usage": spent, "ok": ok}
        self._runtime.note(Command(0, "llm", arguments))


class _Journal:
    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime

    async def step(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        delivery = current.get()
        if delivery is None or not delivery.is_open or not self._runtime.memory.is_durable:
            return await function(*args)
        steps = self._runtime.steps
        kind, _, digest = name.partition("/")
        return await steps.perform(delivery, steps.numbered(delivery, kind, digest), function, args, repeatable=True)
