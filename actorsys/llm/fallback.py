"""Which provider answers, and when is another one tried? One model call, from its profile through those that stand in for it.

Within one provider what passes by itself is tried again, later each time, as long as the call has time; a breaker for each
model keeps calls from one that fails all the time. A provider that is given up on, refuses the call or has no valid key is
followed by the next profile of `fallback`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import cached_property
from os import environ
from typing import Any, Protocol, cast

from msgspec import Struct
from msgspec.structs import replace
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from ..clock import now_ns
from ..errors import ActorError, BadModelCall, ModelAuthError, ModelError, ModelUnavailable
from ..units import SECOND_NS, format_seconds
from .base import Call, Completion, Provider, Usage
from .breaker import Breaker
from .settings import Profile, provider_for

Pieces = AsyncGenerator[str | Completion, None]
TRIES = 4  # of one call at one provider
_backoff = wait_random_exponential(multiplier=0.5, max=8)  # as the SDKs do it, whose own retries are off
RATE_LIMITED = 429


class Lease(Struct, frozen=True):
    """The right to send one call. `number` 0: nobody limits it."""

    number: int = 0
    profile: str = ""


class Gate(Protocol):
    """Who paces the calls of a node and keeps its accounts."""

    async def lease(self, profile: str, tokens: int) -> Lease:
        """Wait for the right to send one call that may cost `tokens`, now. Raises BudgetExceeded."""
        ...

    def settle(self, lease: Lease, usage: Usage | None, ok: bool) -> None:
        """What it did cost. None: nobody knows, and it stays charged as it was announced."""
        ...


class Open:
    """The gate of who has none."""

    async def lease(self, profile: str, tokens: int) -> Lease:
        return Lease(0, profile)

    def settle(self, lease: Lease, usage: Usage | None, ok: bool) -> None:
        pass


class Way:
    """One profile, and its provider once it is needed."""

    def __init__(self, name: str, profile: Profile) -> None:
        self.name = name
        self.profile = profile

    @cached_property
    def provider(self) -> Provider:
        return provider_for(self.profile, environ)

    def ready(self, call: Call) -> None:
        """Do what takes a provider long the first time. Raises ModelError."""
        ready = getattr(self.provider, "ready", None)
        if ready is not None:
            ready(call)

    async def close(self) -> None:
        if "provider" in self.__dict__:
            await self.provider.close()


CallFor = Callable[[Way, bool], Call]  # of a way, and whether it is the first


class _Refused(ModelUnavailable):
    """The call was not made, and a further try here would not be either."""


class Chain:
    """`until`, here and below: the monotonic nanoseconds at which the call must be over; None for no limit."""

    def __init__(self, profiles: Mapping[str, Profile], name: str, gate: Gate) -> None:
        self.ways = [Way(each, profiles[each]) for each in _in_order(profiles, name)]
        self._gate = gate
        self._breakers: dict[tuple[str, str, str], Breaker] = {}

    async def complete(self, call_for: CallFor, until: int | None) -> Completion:
        """Raises ModelError: of a failure that passes if there was one, else the first; and BudgetExceeded."""
        errors: list[ModelError] = []
        for way in self.ways:
            call = call_for(way, not errors)
            seconds = min(call.timeout, _left(until))
            retrying = AsyncRetrying(
                retry=retry_if_exception(lambda error: type(error) is ModelUnavailable),
                stop=stop_after_attempt(TRIES) | stop_before_delay(seconds),
                wait=_wait,
                reraise=True,
            )
            try:
                return await retrying(self._complete, way, call, until)
            except ModelError as error:
                errors.append(error)
        raise _worst(errors)

    async def stream(self, call_for: CallFor, until: int | None) -> Pieces:
        """Another provider is tried until the first piece has come; there is no second try at one."""
        errors: list[ModelError] = []
        for way in self.ways:
            has_begun = False
            try:
                async with aclosing(self._stream(way, call_for(way, not errors), until)) as pieces:
                    async for piece in pieces:
                        has_begun = True
                        yield piece
                return
            except ModelError as error:
                if has_begun:
                    raise
                errors.append(error)
        raise _worst(errors)

    async def close(self) -> None:
        for way in self.ways:
            await way.close()

    async def _complete(self, way: Way, call: Call, until: int | None) -> Completion:
        async with _Attempt(self, way, call, until) as attempt:
            async with asyncio.timeout(attempt.call.timeout):
                attempt.completion = await way.provider.complete(attempt.call)
            return attempt.completion

    async def _stream(self, way: Way, call: Call, until: int | None) -> Pieces:
        async with _Attempt(self, way, call, until) as attempt:
            async with aclosing(cast(Pieces, way.provider.stream(attempt.call))) as pieces:
                while True:
                    async with asyncio.timeout(min(attempt.call.timeout, _left(until))):
                        piece = await anext(pieces, None)
                    if piece is None:
                        return
                    if isinstance(piece, Completion):
                        attempt.completion = piece
                    yield piece

    def breaker(self, way: Way, call: Call) -> Breaker:
        return self._breakers.setdefault((way.profile.provider, way.profile.base_url, call.model), Breaker())

    async def lease(self, way: Way, call: Call, until: int | None) -> Lease:
        way.ready(call)  # before: a lease is for now
        try:
            async with asyncio.timeout(None if until is None else _left(until)):
                return await self._gate.lease(way.name, tokens(call))
        except TimeoutError:
            text = f"{way.name}: the rate limit, or a budget that pauses, left no room for this call before its deadline."
            raise _Refused(text, **_details(way, call)) from None

    def settle(self, lease: Lease, usage: Usage | None, ok: bool) -> None:
        self._gate.settle(lease, usage, ok)


class _Attempt:
    """One call of one provider: allowed by its breaker, leased, timed, and settled however it ends."""

    def __init__(self, chain: Chain, way: Way, call: Call, until: int | None) -> None:
        self._chain, self._way, self.call, self._until = chain, way, call, until
        self._breaker = chain.breaker(way, call)
        self._lease = Lease()
        self.completion: Completion | None = None

    async def __aenter__(self) -> "_Attempt":
        breaker, way = self._breaker, self._way
        now = now_ns()
        if not breaker.allows(now):
            text = f"{way.profile.provider} failed {breaker.failures} times in a row; it is tried again in "
            left = breaker.left_ns(now) / SECOND_NS
            raise _Refused(f"{text}{format_seconds(left)}.", retry_after=left, **_details(way, self.call))
        try:
            self._lease = await self._chain.lease(way, self.call, self._until)
        except BaseException:
            breaker.abandoned()
            raise
        left = _left(self._until)
        if left <= 0:
            breaker.abandoned()
            self._chain.settle(self._lease, Usage(), ok=False)
            raise _Refused(f"{way.name}: no time is left for this call.", **_details(way, self.call))
        if left < self.call.timeout:
            self.call = replace(self.call, timeout=left)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: Any) -> None:
        breaker = self._breaker
        if self.completion is not None:
            breaker.succeeded()
            # Who counts no tokens at all has not counted: what has a lease stays charged as it was announced.
            is_counted = self.completion.usage != Usage() or not self._lease.number
            self._chain.settle(self._lease, self.completion.usage if is_counted else None, ok=True)
            return
        if isinstance(error, TimeoutError) or (isinstance(error, ModelUnavailable) and error.status != RATE_LIMITED):
            breaker.failed(now_ns())
        elif isinstance(error, BadModelCall):
            breaker.succeeded()
        else:
            breaker.abandoned()
        # An answer without a model's work costs nothing; of a call that got none nobody knows.
        is_free = isinstance(error, ModelUnavailable | ModelAuthError | BadModelCall) and error.status is not None
        self._chain.settle(self._lease, Usage() if is_free else None, ok=False)
        if isinstance(error, TimeoutError) and not isinstance(error, ActorError):
            text = f"{self._way.profile.provider} did not answer within {format_seconds(self.call.timeout)}."
            raise ModelUnavailable(text, **_details(self._way, self.call)) from None


def tokens(call: Call) -> int:
    """What a call may cost: four characters of text are about one token, and the answer may be as long as it is allowed to be."""
    text = (
        sum(len(turn.content) for turn in call.turns) + len(str(call.schema or "")) + sum(len(str(tool)) for tool in call.tools)
    )
    return text // 4 + 1 + call.max_tokens


def _left(until: int | None) -> float:
    return float("inf") if until is None else (until - now_ns()) / SECOND_NS


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    return max(getattr(error, "retry_after", None) or 0.0, _backoff(state))


def _worst(errors: list[ModelError]) -> ModelError:
    """What is raised when no provider answers. One that passes says more to who asks than one that does not: it is worth another try."""
    chosen = next((error for error in errors if isinstance(error, ModelUnavailable)), errors[0])
    for error in errors:
        if error is not chosen:
            chosen.add_note(f"{error.provider}: {error}")
    return ModelUnavailable(chosen.message, **_taken(chosen)) if isinstance(chosen, _Refused) else chosen


def _taken(error: ModelError) -> dict[str, Any]:
    return {name: getattr(error, name) for name in error.details}


def _details(way: Way, call: Call) -> dict[str, Any]:
    return {"provider": way.profile.provider, "model": call.model}


def _in_order(profiles: Mapping[str, Profile], name: str) -> list[str]:
    """A profile and those that stand in for it, and in turn for these; each once."""
    order = [name]
    for each in order:
        order += [other for other in profiles[each].fallback if other in profiles and other not in order]
    return order
