"""Who answers stock NATS tools that look for services? The three control replies of the NATS service protocol (ADR-32).

Our own, because the one of nats-py handles one request at a time, knows no counters but its own and ends with its client.
`$SRV.{verb}`, `$SRV.{verb}.actorsys` and `$SRV.{verb}.actorsys.{id}` are asked; verbs are PING, INFO and STATS.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from secrets import token_hex
from typing import Any

import msgspec
from msgspec import Struct

from .. import __version__
from ..bus.base import Bus, Incoming, Subscription
from ..bus.depth import is_deeper_than
from ..bus.envelope import MAX_DEPTH
from ..clock import wall
from ..errors import ActorError
from .peers import Peers

log = logging.getLogger("actorsys.comms")

SERVICE = "actorsys"
PREFIX = "$SRV"
TYPES = {verb: f"io.nats.micro.v1.{verb.lower()}_response" for verb in ("PING", "INFO", "STATS")}


class Endpoint(Struct):
    """Where requests arrive, and what became of them."""

    name: str
    subject: str
    queue_group: str
    num_requests: int = 0
    num_errors: int = 0
    processing_time: int = 0  # nanoseconds, all requests together
    last_error: str = ""

    def count(self, took_ns: int, error: BaseException | None) -> None:
        self.num_requests += 1
        self.processing_time += took_ns
        if error is not None:
            self.num_errors += 1
            self.last_error = f"{type(error).__name__}: {error}"[:500]


class Micro:
    """One instance of the service: an agent. `metadata` is asked for each time; its values are text, as the protocol wants.

    One that is not listed answers only who knows its id: a node, so that others see whether it is there.
    """

    def __init__(
        self,
        bus: Bus,
        endpoints: list[Endpoint],
        metadata: Callable[[], dict[str, str]],
        *,
        description: str = "",
        id: str = "",
        is_listed: bool = True,
    ) -> None:
        self.id = id or token_hex(11)
        self.started = wall()
        self.endpoints = endpoints
        self._bus = bus
        self._metadata = metadata
        self._description = description
        self._is_listed = is_listed
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Answer from now on; where the server does not permit that, say so and do without."""
        for subject in (f"{PREFIX}.*", f"{PREFIX}.*.{SERVICE}") * self._is_listed + (f"{PREFIX}.*.{SERVICE}.{self.id}",):
            try:
                self._subscriptions.append(await self._bus.subscribe(subject, self._answer))
            except ActorError as error:
                log.warning("NATS tools will not see that we are here: %s", error)

    async def close(self) -> None:
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        self._subscriptions.clear()

    async def _answer(self, incoming: Incoming) -> None:
        verb = incoming.subject.split(".", 2)[1]
        if incoming.reply and verb in TYPES:
            await self._bus.publish_json(incoming.reply, self.reply(verb))

    def reply(self, verb: str) -> dict[str, Any]:
        """What the protocol wants as the answer to PING, INFO or STATS."""
        known: dict[str, Any] = {
            "type": TYPES[verb],
            "name": SERVICE,
            "id": self.id,
            "version": __version__,
            "metadata": self._metadata(),
        }
        if verb == "INFO":
            known["description"] = self._description
            known["endpoints"] = [
                {"name": each.name, "subject": each.subject, "queue_group": each.queue_group, "metadata": {}}
                for each in self.endpoints
            ]
        elif verb == "STATS":
            known["started"] = _utc(self.started)
            known["endpoints"] = [
                {
                    **msgspec.structs.asdict(each),
                    "average_processing_time": each.processing_time // max(1, each.num_requests),
                    "data": None,
                }
                for each in self.endpoints
            ]
        return known


def _utc(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def about(agent: str, node: str, capabilities: tuple[str, ...], status: str, instance: str = "") -> dict[str, str]:
    """The metadata of an agent's service; `instance` is the id of its node, where that is not its own."""
    said = {"agent": agent, "node": node, "capabilities": ",".join(capabilities), "status": status}
    return said | {"instance": instance} if instance else said


class Info(Struct, frozen=True):
    """As much of another instance's INFO as we use."""

    name: str
    id: str
    version: str
    metadata: dict[str, str]
    description: str = ""

    @property
    def instance(self) -> str:
        return self.metadata.get("instance") or self.id

    @property
    def capabilities(self) -> list[str]:
        return [word for word in self.metadata.get("capabilities", "").split(",") if word]

    def tell(self, peers: Peers, now: int) -> None:
        """Enter it into a table of peers."""
        about = self.metadata
        peers.learn(
            about["agent"],
            now=now,
            node=about.get("node"),
            instance=self.instance,
            capabilities=self.capabilities,
            description=self.description,
            status=about.get("status"),
        )


async def discover(bus: Bus, wait: float, *, quiet: float = 0.1, inbox: str = "_INBOX") -> list[Info]:
    """The INFO of all agents that answer within `wait` seconds; earlier when, after the first answer, none came for `quiet`."""
    found: dict[str, Info] = {}
    news = asyncio.Event()

    async def collect(incoming: Incoming) -> None:
        try:
            if len(incoming.payload) < 2**20 and not is_deeper_than(MAX_DEPTH, incoming.payload):
                info = msgspec.json.decode(incoming.payload, type=Info)
                if info.name == SERVICE and info.metadata.get("agent"):
                    found[info.id] = info
                    news.set()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # whoever answers something else is none of ours

    reply = f"{inbox}.{token_hex(11)}"
    subscription = await bus.subscribe(reply, collect, max_messages=100_000)
    try:
        await bus.publish(f"{PREFIX}.INFO.{SERVICE}", b"", reply=reply)
        async with asyncio.timeout(wait):
            await news.wait()
            while True:
                news.clear()
                async with asyncio.timeout(quiet):
                    await news.wait()
    except TimeoutError:
        pass  # of either kind: nobody answers any more
    finally:
        await subscription.unsubscribe()
    return list(found.values())
