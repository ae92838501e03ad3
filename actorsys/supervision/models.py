"""The node's one gate to language models: it paces the calls of all agents, keeps their budgets, and counts what they cost.

An agent asks for a lease before each call by a limited profile, and says afterwards what the call took. An agent's death ends its
leases: those that wait are forgotten, those that were given stay charged. The accounts outlive the supervisor in a small file.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..clock import now_ns, wall_ns
from ..errors import BadMessage, BudgetExceeded
from ..llm.budget import Budget, Cost
from ..llm.rate import EXPIRY_NS, Pacer
from ..mailbox.codec import convert
from ..names import base
from ..spec import AgentSpec, BudgetSpec, LlmSpec
from ..units import SECOND_NS, Seconds, format_seconds

log = logging.getLogger("actorsys.supervisor")

SAVE_SECONDS = 1.0  # between two writes of the accounts
MILLION = 1_000_000


class Ask(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="lease"):
    """Of an agent: let me call a model; it may take so many tokens. Answered with a `Grant`."""

    number: int
    profile: str
    tokens: int


class Grant(Struct, frozen=True, omit_defaults=True):
    """The call must be sent until then. Or why there is none: the message, budget and `resets_in` of a BudgetExceeded."""

    until_ns: int = 0
    exceeded: tuple[str, str, float | None] | None = None


class Settle(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="settle"):
    """Of an agent: the call took `usage` (input, output, cached), or nobody knows. `number` 0: it needed no lease."""

    number: int
    profile: str
    usage: tuple[int, int, int] | None
    ok: bool


class Account(Struct):
    """What an agent's calls have cost."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0

    def shown(self) -> dict[str, Any]:
        return {**msgspec.to_builtins(self), "usd": round(self.usd, 6)}


class _Saved(Struct):
    """The file. Windows end by the clock on the wall, as the monotonic one begins anew with the machine."""

    accounts: dict[str, Account] = {}
    windows: dict[str, tuple[int, float, int]] = {}  # of a budget: tokens, usd, and when it ends


class _Lease(Struct):
    """One call: who makes it, what it may take, and the future that tells its agent to go."""

    agent: str
    profile: str
    tokens: tuple[int, int]  # input, output
    cost: Cost
    go: asyncio.Future[int]
    is_running: bool = False


class Models:
    """`agent` gives the spec of a member by its name, `replicas` the members of an agent."""

    def __init__(
        self,
        specs: Mapping[str, LlmSpec],
        agent: Callable[[str], AgentSpec | None],
        replicas: Callable[[str], list[str]],
        path: Path,
    ) -> None:
        self._agent = agent
        self._replicas = replicas
        self._path = path
        self._specs: dict[str, LlmSpec] = {}
        self._pacers: dict[str, Pacer] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._budgets: dict[str, Budget] = {}
        self._leases: dict[tuple[str, int], _Lease] = {}
        self._room: list[asyncio.Future[None]] = []  # of those who wait until a budget has some
        self._saving: asyncio.TimerHandle | None = None
        self._saved = _load(path)
        self.renew(specs)

    def renew(self, specs: Mapping[str, LlmSpec]) -> None:
        """Take other profiles: rates, budgets and prices count from now on."""
        self._specs = dict(specs)
        for name, spec in specs.items():
            rate = spec.rate
            if name in self._pacers:
                self._pacers[name].limit(rate.requests, Seconds(rate.per).ns)
                self._pump(name)
            else:
                self._pacers[name] = Pacer(rate.requests, Seconds(rate.per).ns)
        self._wake()

    async def obey(self, member: str, arguments: dict[str, Any]) -> Any:
        """What an agent, whose pipe it came over, says or asks for. Raises BadMessage."""
        order: Ask | Settle = convert(arguments, Ask | Settle)
        if isinstance(order, Settle):
            self._settle(member, order)
            return None
        if order.profile not in self._specs:
            raise BadMessage(f"there is no [llm.{order.profile}] any more; restart {member}", field="profile")
        try:
            return msgspec.to_builtins(Grant(await self._lease(member, order)))
        except BudgetExceeded as error:
            return msgspec.to_builtins(Grant(exceeded=(error.message, error.budget or "", error.resets_in)))

    def ended(self, member: str) -> None:
        """The agent's process is gone, and what it said is read."""
        # Not at once: what it said last is obeyed by tasks that have still to run.
        asyncio.get_running_loop().call_soon(self._end, member)

    def forget(self, member: str) -> None:
        """There will be no such member any more."""
        asyncio.get_running_loop().call_soon(self._remove, member)  # when it has ended

    def account(self, member: str) -> dict[str, Any] | None:
        """What `ps` shows of it; None when it has called no model."""
        account = self._saved.accounts.get(member)
        return None if account is None else account.shown()

    def close(self) -> None:
        """Write the accounts; the agents are gone."""
        for timer in (*self._timers.values(), *([self._saving] if self._saving else [])):
            timer.cancel()
        self._timers.clear()
        if self._saved.accounts or self._budgets or self._saving:
            self._save()

    # --- leases

    async def _lease(self, member: str, ask: Ask) -> int:
        key = member, ask.number
        spec = self._spec(ask.profile)
        output = min(ask.tokens, spec.max_tokens)
        tokens = ask.tokens - output, output
        cost = Cost(ask.tokens, _usd(spec, *tokens))
        lease = _Lease(member, ask.profile, tokens, cost, asyncio.get_running_loop().create_future())
        self._leases[key] = lease
        try:
            await self._reserve(key, lease)
            self._pacers[ask.profile].join(member, ask.number)
            self._pump(ask.profile)
            return await lease.go
        finally:
            if not lease.is_running:
                self._forget(key, Cost())

    async def _reserve(self, key: tuple[str, int], lease: _Lease) -> None:
        """Charge its budgets; wait for room in them, or for their next window, when that is how they are to be."""
        while True:
            now = now_ns()
            waits: list[int] = []
            budgets = self._of(lease)
            for name, (budget, spec) in budgets.items():
                match budget.fits(lease.cost, now):
                    case "never":
                        raise _exceeded(name, spec, "one call may take more than all of it", None)
                    case "no" if spec.on_exhausted == "fail":
                        left = budget.resets_ns(now) / SECOND_NS
                        raise _exceeded(name, spec, f"there is more in {format_seconds(left)}", left)
                    case "no" | "later":
                        waits.append(budget.resets_ns(now))
            if not waits:
                for budget, _ in budgets.values():
                    budget.reserve(key, lease.cost, now)
                if budgets:
                    self._save_soon()
                return
            room = asyncio.get_running_loop().create_future()
            self._room.append(room)
            # 0: no window has begun, all of it is taken by calls in flight; the end of one makes room.
            timeout = max(waits) / SECOND_NS + 0.001 if any(waits) else None
            try:
                await asyncio.wait({room, lease.go}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not room.done():
                    self._room.remove(room)
            if lease.go.cancelled():
                raise asyncio.CancelledError

    def _of(self, lease: _Lease) -> dict[str, tuple[Budget, BudgetSpec]]:
        """The budgets that a call is charged to: its profile's and its agent's."""
        found = {f"llm.{lease.profile}": self._spec(lease.profile).budget}
        if (agent := self._agent(lease.agent)) is not None:
            found[f"agents.{agent.name}"] = agent.budget
        return {name: (self._budget(name, spec), spec) for name, spec in found.items() if spec}

    def _budget(self, name: str, spec: BudgetSpec) -> Budget:
        window = Seconds(spec.window).ns
        budget = self._budgets.get(name)
        if budget is None:
            budget = self._budgets[name] = Budget(spec.tokens, spec.usd, window)
            if name in self._saved.windows:
                tokens, usd, until = self._saved.windows[name]
                budget.restore(Cost(tokens, usd), now_ns() + min(until - wall_ns(), window))
        budget.limit(spec.tokens, spec.usd, window)
        return budget

    def _pump(self, profile: str) -> None:
        """Give the slots that are due, and come back for the next one."""
        pacer = self._pacers[profile]
        now = now_ns()
        while (taken := pacer.take(now)) is not None:
            lease = self._leases.get(taken)
            if lease is not None and not lease.go.done():
                lease.is_running = True
                lease.go.set_result(now + EXPIRY_NS)
        if (timer := self._timers.pop(profile, None)) is not None:
            timer.cancel()
        if (wake := pacer.wake_ns()) is not None:
            loop = asyncio.get_running_loop()
            self._timers[profile] = loop.call_later(max(0, wake - now) / SECOND_NS, self._pump, profile)

    def _settle(self, member: str, said: Settle) -> None:
        key = member, said.number
        lease = self._leases.get(key)
        spec = self._spec(said.profile)
        if lease is None:
            if not said.number and said.usage is not None and said.ok:
                self._count(member, said.usage[0], said.usage[1], spec)
        elif not lease.is_running:  # it does not wait any more
            lease.go.cancel()
        elif said.usage is None:
            self._lose(key, lease)
        else:
            cost = Cost(said.usage[0] + said.usage[1], _usd(spec, said.usage[0], said.usage[1]))
            if said.ok:
                self._count(member, said.usage[0], said.usage[1], spec)
            self._forget(key, cost)

    def _lose(self, key: tuple[str, int], lease: _Lease) -> None:
        """Nobody knows what it took: it stays charged as it was announced."""
        self._count(key[0], *lease.tokens, self._spec(lease.profile))
        self._forget(key, None)

    def _forget(self, key: tuple[str, int], cost: Cost | None) -> None:
        lease = self._leases.pop(key, None)
        if lease is not None:
            self._pacers[lease.profile].leave(*key)
            for budget in self._budgets.values():
                budget.settle(key, cost, now_ns())
            self._wake()

    def _end(self, member: str) -> None:
        for key, lease in [(key, lease) for key, lease in self._leases.items() if key[0] == member]:
            if lease.is_running:
                self._lose(key, lease)
            else:
                lease.go.cancel()

    def _remove(self, member: str) -> None:
        self._end(member)
        gone: list[object] = [self._saved.accounts.pop(member, None)]
        if not self._replicas(base(member)):
            name = f"agents.{base(member)}"
            gone += [self._budgets.pop(name, None), self._saved.windows.pop(name, None)]
        if any(gone):
            self._save_soon()

    def _spec(self, profile: str) -> LlmSpec:
        return self._specs.get(profile) or LlmSpec()  # the file has it no more, an agent still does

    def _wake(self) -> None:
        waiting, self._room = self._room, []
        for room in waiting:
            if not room.done():
                room.set_result(None)

    # --- accounts

    def _count(self, member: str, input: int, output: int, spec: LlmSpec) -> None:
        account = self._saved.accounts.setdefault(member, Account())
        account.calls += 1
        account.input_tokens += input
        account.output_tokens += output
        account.usd += _usd(spec, input, output)
        self._save_soon()

    def _save_soon(self) -> None:
        if self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(SAVE_SECONDS, self._save)

    def _save(self) -> None:
        self._saving = None
        now, wall = now_ns(), wall_ns()
        for name, budget in self._budgets.items():
            if budget.resets_ns(now):
                charged = budget.charged
                self._saved.windows[name] = charged.tokens, charged.usd, wall + budget.resets_ns(now)
        beside = self._path.with_suffix(".new")
        try:
            beside.write_bytes(msgspec.json.encode(self._saved))
            os.replace(beside, self._path)
        except OSError as error:
            log.warning("the accounts of the models are not written: %s: %s", self._path, error.strerror)


def _load(path: Path) -> _Saved:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Saved)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.warning("%s is no file of accounts, they begin anew: %s", path, error)
    return _Saved()


def _usd(spec: LlmSpec, input: int, output: int) -> float:
    return (input * spec.price.input + output * spec.price.output) / MILLION


def _exceeded(name: str, spec: BudgetSpec, what: str, resets_in: float | None) -> BudgetExceeded:
    limits = [f"{spec.tokens} tokens"] * bool(spec.tokens) + [f"{spec.usd:g} USD"] * bool(spec.usd)
    text = f"the budget of {name}, {' and '.join(limits)} in {format_seconds(spec.window)}, is spent: {what}."
    return BudgetExceeded(text, budget=name, resets_in=resets_in)
