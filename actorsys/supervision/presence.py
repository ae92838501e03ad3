"""The node's own NATS connection: it says who is here, hears who is elsewhere, and stands in for agents that restart.

One subscription to `agents.all` for the whole node. It announces agents (join, leave), sends their heartbeats, spread over the interval,
keeps the table of peers, pings their nodes, and passes broadcasts to the mailboxes of this node. Opened in the background; nothing here
ever fails a node.
"""

import asyncio
import logging
import math
import random
from collections.abc import Coroutine
from typing import Any

from msgspec import to_builtins

from ..bus import envelope, stamp, subjects
from ..bus.base import Incoming
from ..bus.counters import Often
from ..bus.envelope import Envelope
from ..bus.nats import NatsBus
from ..bus.nats_options import NatsOptions
from ..bus.nats_streams import REQUESTS, capturing
from ..clock import now_ns
from ..comms import translate
from ..comms.answers import answer
from ..comms.calls import Calls, Where
from ..comms.micro import Micro
from ..comms.peers import Peers
from ..comms.pings import Pings
from ..comms.post import Post
from ..errors import ActorError, AgentDown, BadMessage
from ..mailbox.letter import HOST, Frame, Letter, wants_answer, wants_end
from ..mailbox.traffic import Posted, Unanswered
from ..names import base, did_you_mean, is_name, token
from ..units import SECOND_NS
from .driver import Driver
from .member import Member
from .stand_in import StandIn

log = logging.getLogger("actorsys.supervisor")

BEAT = 30.0  # seconds between the heartbeats of an agent
JITTER = 0.1  # of them
SOON = 1.0  # seconds within which all agents beat once when a node is heard of for the first time: it has not heard of us
MAX_WAITING = 10_000  # messages on agents.all that are not looked at yet
CLOSE_TIMEOUT = 1.0
TURN = 1.0  # seconds of BEAT: agents whose turns fall into one beat together, for a wake-up costs more than a beat
HEARTBEAT = b'{"message_type":"heartbeat"'  # how one begins as we spell it
ENDED = ("stopped", "failed")


class Presence:
    """Fed by the driver: `update` is called whenever something about an agent has changed."""

    def __init__(self, options: NatsOptions, driver: Driver, *, node: str, run: str) -> None:
        self.node = node
        self._run = run
        self._mark = f'"instance":"{run}"'.encode()
        self._driver = driver
        self._mail = driver.mail
        name = node if is_name(node) else "supervisor"
        inbox = f"_INBOX_node-{run}"
        self.bus = NatsBus(options, name=f"supervisor {node}", inbox_prefix=inbox)
        self.bus.watch(self._connection_changed)
        self.peers = Peers(int(BEAT * SECOND_NS))
        self._pings = Pings(self.bus, self.peers)
        self._micro = Micro(self.bus, [], lambda: {"node": node}, id=run, is_listed=False)
        self.capturing: list[str] = []  # JetStream streams that take the place of who answers
        self.dropped = 0  # broadcasts that found a full mailbox
        self._post = Post(self.bus, name)
        self._calls = Calls(self.bus, sender=name, node=node, run=run, inbox=inbox, where=self._where)
        self._present: set[str] = set()  # agents that are announced
        self._met: set[str] = set()  # agents that had a connection
        self._stand_ins: dict[str, StandIn] = {}  # for agents that have none of their own now
        self._soon = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._each_second = Often(1.0)

    async def start(self) -> None:
        """Begin to connect; nothing waits for it."""
        await self.bus.start()
        await self.bus.subscribe(subjects.ALL, self._heard, max_messages=MAX_WAITING)
        await self._micro.start()
        self._pings.start()
        self._mail.outbox.far = self._calls
        self._mail.on_unanswered = self._unanswered
        self._driver.on_change = self.update
        self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def close(self) -> None:
        """Say goodbye for those still here, answer who waits for them, and end within a second or so."""
        self._driver.on_change = lambda agent: None
        self._mail.outbox.far = None
        await self._calls.inflows.close()
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, self._pings.close(), return_exceptions=True)
        for agent in list(self._stand_ins):
            self._end_stand_in(agent)
        if self.bus.is_connected:
            for agent in sorted(self._present):
                self._announce(agent, "leave")
            for box in self._mail.switchboard.boxes.values():
                for letter, may_have_run in box.held():
                    # The task in a disk mailbox goes on with the next run; who asks waits for this one only.
                    if wants_answer(letter) or (wants_end(letter) and not box.is_disk):
                        down = AgentDown(
                            f"{box.shown!r} has stopped with its node.", reason="shutdown", may_have_run=may_have_run
                        )
                        self._spawn(answer(Post(self.bus, base(box.name)), letter, None, down))
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.bus.is_connected:
            await self.bus.drain(CLOSE_TIMEOUT)
        else:
            await self.bus.close()

    # --- our agents

    def update(self, agent: str) -> None:
        """Something about an agent has changed: announce it, or stand in for it, as is due now."""
        members = self._members(agent)
        states = [self._state(member) for member in members]
        if all(state in ENDED for state in states):
            if agent in self._present:
                self._present.discard(agent)
                self._announce(agent, "leave")
            self._met.discard(agent)
            self._end_stand_in(agent)
            return
        if "running" in states and agent not in self._present:
            self._present.add(agent)
            self._announce(agent, "join", members[0])
        if any(member.nats == "connected" for member in members):
            self._met.add(agent)
        # One that stops still listens, in the same queue group: whoever stands in for it begins early rather than late.
        if any(member.nats == "connected" and state == "running" for member, state in zip(members, states, strict=True)):
            self._end_stand_in(agent)
        elif agent in self._met and agent not in self._stand_ins and not self._driver.is_stopping:
            self._stand_ins[agent] = StandIn(self.bus, self._mail, agent=agent, run=self._run)

    def _end_stand_in(self, agent: str) -> None:
        stand_in = self._stand_ins.pop(agent, None)
        if stand_in is not None:
            self._spawn(stand_in.close())

    def _members(self, agent: str) -> list[Member]:
        known = self._driver.members
        found = [known[box.name] for box in self._mail.switchboard.behind(agent) if box.name in known]
        return [member for member in found if member.spec.nats]

    def _state(self, member: Member) -> str:
        view = self._driver.core.find(member.name)
        return view.state if view is not None else "stopped"

    def _about(self, member: Member | None) -> dict[str, Any]:
        about: dict[str, Any] = {"node": self.node, "instance": self._run}
        if member is not None:
            about |= {"capabilities": list(member.spec.capabilities), "description": member.spec.description}
        return about

    def _announce(self, agent: str, event: Any, member: Member | None = None) -> None:
        if self.bus.is_connected:  # otherwise all that are here are announced once it is
            about = self._about(member) | ({"status": self._state(member)} if member is not None else {})
            log.info("announced on NATS: %s %s", agent, "is here" if event == "join" else "has left")
            self._spawn(self._say(envelope.announcement(agent, event, stamp.fresh(), **about)))

    async def _say(self, said: Envelope) -> None:
        try:
            await self.bus.publish(subjects.ALL, envelope.encode(said))
        except ActorError as error:
            log.debug("not said to other nodes: %s", error)

    def _connection_changed(self, state: str) -> None:
        if state == "connected":
            self._spawn(self._look_for_streams())
            for agent in sorted(self._present):
                self._announce(agent, "join", next(iter(self._members(agent)), None))

    async def _look_for_streams(self) -> None:
        self.capturing = await capturing(self.bus)
        if self.capturing:
            names = ", ".join(self.capturing)
            text = "the JetStream stream %s captures %s: who asks gets its acknowledgement instead of the answer; take these subjects out"
            log.error(text, names, REQUESTS)

    async def _beat(self) -> None:
        """For ever: a heartbeat of each agent in turn, spread evenly over the interval; of many agents some at a time."""
        while True:
            interval = SOON if self._soon.is_set() else BEAT
            self._soon.clear()
            agents = sorted(self._present)
            at_once = max(1, math.ceil(len(agents) * TURN / BEAT))
            pause = interval * random.uniform(1 - JITTER, 1 + JITTER) * at_once / max(at_once, len(agents))
            for first in range(0, max(1, len(agents)), at_once):
                try:
                    async with asyncio.timeout(pause):
                        await self._soon.wait()
                    break
                except TimeoutError:
                    pass
                if self.bus.is_connected:
                    for agent in agents[first : first + at_once]:
                        await self._say_beat(agent)

    async def _say_beat(self, agent: str) -> None:
        members = self._members(agent)
        if agent in self._present and members:
            status = "running" if any(self._state(member) == "running" for member in members) else "restarting"
            await self._say(envelope.heartbeat(agent, status, stamp.fresh(), **self._about(members[0])))

    def _unanswered(self, action: Unanswered) -> None:
        post = Post(self.bus, base(action.letter.to))
        self._spawn(answer(post, action.letter, None, action.failure.error()))

    # --- the others

    def _heard(self, incoming: Incoming) -> Coroutine[Any, Any, None] | None:
        if incoming.payload.startswith(HEARTBEAT) and self._mark in incoming.payload:
            return None  # our own; and of those there are as many as agents
        try:
            read = self._post.decode(incoming)
        except BadMessage as error:
            return self._post.complain(incoming, error)
        self._take(read)
        return None

    def _take(self, read: Envelope) -> None:
        if read.message_type == "broadcast":
            self._pass_on(read)
            return
        instance = read.content.get("instance") if isinstance(read.content, dict) else None
        if instance == self._run:
            return
        self.peers.heard(read, now_ns())
        if isinstance(instance, str) and self._pings.meet(instance):
            self._soon.set()

    def _pass_on(self, read: Envelope) -> None:
        """A broadcast goes to every mailbox but its sender's; where there is no room it is dropped and counted."""
        sender = token(base(read.from_agent))
        letters: list[Letter] = []
        for member in self._driver.members.values():
            if not member.spec.nats or token(member.spec.name) == sender or self._state(member) in ENDED:
                continue
            if self._mail.switchboard.boxes[member.name].is_full:
                self.dropped += 1
                held = self._each_second.hold("full")
                if held is not None:
                    log.warning("%s: a broadcast was dropped, its mailbox is full (%d more like this)", member.shown, held)
                continue
            try:
                letters.append(translate.letter(read, "broadcast", "", member.name, run=self._run, now=now_ns()))
            except ActorError as error:
                log.warning("a broadcast of %s cannot be passed on: %s", read.from_agent, error)
                return
        if letters:
            self._mail.handle(Posted(HOST, Frame(letters=letters)))

    def list_peers(self) -> list[dict[str, Any]]:
        now = now_ns()
        rows = []
        for peer in self.peers.all(now):
            row = to_builtins(peer)
            row["last_seen_s"] = round((now - row.pop("last_seen_ns")) / SECOND_NS, 3)
            rows.append(row)
        return rows

    def find(self, capability: str) -> list[str]:
        return [peer.name for peer in self.peers.find(capability, now_ns())]

    def where(self, name: str) -> Where:
        """What is known of a name that is not of this node. Who asks may have found nobody there: those that it could be on are pinged."""
        peers = self.peers.all(now_ns())
        wanted = token(base(name))
        there = [peer for peer in peers if token(base(peer.name)) == wanted and not peer.is_stale]
        for peer in there:
            self._pings.ask(peer.instance)
        heard = bool(there)
        known = [*(member.shown for member in self._driver.members.values()), *(peer.name for peer in peers)]
        is_ours = any(peer.instance for peer in there)
        return Where(False, heard, "" if heard else did_you_mean(name, known), is_ours)

    async def _where(self, name: str) -> Where:
        return self.where(name)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
