"""Who of those that were heard of is still there? Each instance, a node or a stand-alone agent, is pinged by its id (ADR-32).

    nobody listens, twice   gone: all its agents leave the table at once, as if they had said so
    no answer, twice        stale until it answers or is heard of: frozen, or cut off where the server has not noticed
    our connection is lost  says nothing about others

Who has never answered is left alone: it may not be permitted to, and its heartbeats have to do. Pings are by node, not by agent.
"""

import asyncio
import logging
import random
from collections.abc import Iterable

from ..bus.base import Bus
from ..errors import ActorError, AskTimeout, UnknownAgent
from .micro import PREFIX, SERVICE
from .peers import Peers

log = logging.getLogger("actorsys.comms")

INTERVAL = 1.5  # seconds between the pings of an instance
MOST = 10  # pings a second; beyond 15 instances each waits longer for its turn
MANY = 100  # pings under way beyond which none is made but in its turn; those in their turns are 50 at most
JITTER = 0.2
TIMEOUT = 1.5  # seconds
# Seconds until a ping that failed is tried once more: a node that lost its connection has another one by then (1.5 s at most).
AGAIN = 2.0


class Pings:
    def __init__(self, bus: Bus, peers: Peers) -> None:
        self._bus = bus
        self._peers = peers
        self._has_answered: dict[str, bool] = {}  # for each instance that is known
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._has_answered)

    def start(self) -> None:
        """Ping everyone in the table from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        tasks = [*self._asking.values(), *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def meet(self, instance: str) -> bool:
        """An instance was heard of: ping it now if it is new; whether it is."""
        if instance in self._has_answered or not self._peers.has_instance(instance):
            return False
        self._has_answered[instance] = False
        self.ask(instance)
        return True

    def answered(self, instance: str) -> None:
        """An instance is there: we have its answer."""
        self._has_answered[instance] = True
        if self._peers.silent(instance, False):
            log.info("%s answers on NATS again", self._shown(instance))

    def ask(self, instance: str) -> None:
        """Ping an instance now, in the background: there is a reason to doubt that it is there."""
        if len(self._asking) < MANY:
            self._begin(instance)

    def _begin(self, instance: str) -> None:
        if instance and instance not in self._asking:
            task = self._asking[instance] = asyncio.get_running_loop().create_task(self._check(instance))
            task.add_done_callback(lambda _: self._asking.pop(instance, None))

    async def sift(self, instances: Iterable[str]) -> None:
        """Ping instances once, all at the same time; who has answered before and does not listen now is gone."""
        wanted = [instance for instance in instances if self._has_answered.get(instance)]
        for instance, outcome in zip(wanted, await asyncio.gather(*map(self._ping, wanted)), strict=True):
            if outcome == "nobody":
                self._gone(instance)
        self._forget()

    async def _run(self) -> None:
        turn: list[str] = []
        pause = INTERVAL
        while True:
            await asyncio.sleep(pause * random.uniform(1 - JITTER, 1 + JITTER))
            if not turn:
                self._forget()
                turn = self._turn()
                pause = max(INTERVAL / max(1, len(turn)), 1 / MOST)
            if turn and self._peers.has_instance(instance := turn.pop()):  # still
                self._begin(instance)

    def _turn(self) -> list[str]:
        """All that have answered, and of the others no more than of them, or a few: anybody can make up thousands of those."""
        instances = self._peers.instances()
        known = [instance for instance in instances if self._has_answered.get(instance)]
        strangers = [instance for instance in instances if not self._has_answered.get(instance)]
        turn = known + random.sample(strangers, min(len(strangers), max(len(known), MOST)))
        random.shuffle(turn)  # so that nodes that came up together do not all ask the same one at a time
        return turn

    def _forget(self) -> None:
        self._has_answered = {known: has for known, has in self._has_answered.items() if self._peers.has_instance(known)}

    async def _check(self, instance: str) -> None:
        outcome = await self._ping(instance)
        if outcome in ("nobody", "late") and self._has_answered.get(instance):
            await asyncio.sleep(AGAIN)
            outcome = await self._ping(instance)
            if outcome == "nobody":
                self._gone(instance)
            elif outcome == "late" and self._peers.silent(instance):
                log.warning("%s does not answer on NATS; its agents count as stale until it does", self._shown(instance))

    async def _ping(self, instance: str) -> str:
        try:
            await self._bus.request(f"{PREFIX}.PING.{SERVICE}.{instance}", b"", TIMEOUT)
        except UnknownAgent:
            return "nobody"
        except AskTimeout:
            return "late"
        except ActorError:
            return "unknown"  # our own connection is lost, or we are not permitted to ask
        self.answered(instance)
        return "here"

    def _gone(self, instance: str) -> None:
        shown = self._shown(instance)
        self._has_answered.pop(instance, None)
        if names := self._peers.gone(instance):
            log.warning("%s is gone from NATS, and with it %s", shown, names[0] if len(names) == 1 else f"{len(names)} agents")

    def _shown(self, instance: str) -> str:
        return f"node {self._peers.node_of(instance)!r} ({instance})"
