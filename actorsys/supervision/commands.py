"""What the command line, agents and embedding code can have a supervisor do; one method for each word of the control protocol."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins

from ..clock import now_ns
from ..errors import ActorError, AskTimeout, BadMessage, UnknownAgent
from ..mailbox.codec import convert, decode, decoder, encode
from ..mailbox.dead_letters import DeadLetter
from ..mailbox.kinds import Kind
from ..mailbox.letter import DEFAULT_PRIORITY, HOST, LENIENT, Show
from ..mailbox.outbox import MAX_TIMEOUT
from ..mailbox.stream import Stream
from ..mailbox.traffic import Retry
from ..memory import base as memory
from ..memory.step_rows import listing, split
from ..names import base, did_you_mean
from ..spec import AgentSpec
from ..units import SECOND_NS
from . import core as machine
from .mail import shown_sender

if TYPE_CHECKING:
    from ..comms.peers import Peer
    from .supervisor import Supervisor

SNAPSHOT_TIMEOUT = 5.0  # seconds an agent gets to show its state
KILL_TIMEOUT = 5.0  # seconds until a killed process and all it started are gone; it takes milliseconds
SETTLED = {"start": ("running", "failed"), "restart": ("running", "failed"), "stop": ("stopped", "failed")}


class Send(Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `ask` and `tell`. `payload` is any JSON value; with `lenient` its fields are text to be converted."""

    name: str
    type: str | None = None
    payload: Any = None
    lenient: bool = False
    timeout: Annotated[float, Meta(ge=0, le=MAX_TIMEOUT)] = 30.0
    priority: Annotated[int, Meta(ge=1, le=5)] = DEFAULT_PRIORITY


class Spawn(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    type: str
    options: dict[str, Any] = {}


class DeadLetters(Struct, frozen=True, forbid_unknown_fields=True):
    do: Literal["list", "show", "retry", "drop"] = "list"
    ids: list[int] | None = None


class Commands:
    """Call it with a word, its arguments and the agent that says it, if it is one.

    Raises BadMessage for a word or arguments that do not exist, and what the word raises.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self._next_snapshot = 1
        self._table: dict[str, Callable[[dict[str, Any]], Any]] = {
            "ps": self._ps,
            "why": self._why,
            "info": self._info,
            "state": self._state,
            "steps": self._steps,
            "ask": self._ask,
            "tell": self._tell,
            "where": self._where,
            "find": self._find,
            "agents": self._agents,
            "spawn": self._spawn,
            "reload": self._reload,
            "dead-letters": self._dead_letters,
            "start": lambda args: self._control("start", args),
            "stop": lambda args: self._control("stop", args),
            "restart": lambda args: self._control("restart", args),
            "kill": lambda args: self._control("kill", args),
        }

    async def __call__(self, do: str, arguments: dict[str, Any], asker: str = HOST) -> Any:
        if do == "llm" and asker != HOST:
            return await self._sup.models.obey(asker, arguments)
        perform = self._table.get(do)
        if perform is None:
            raise BadMessage(f"no command is named {do!r}.{did_you_mean(do, self._table)}", field="do")
        return await perform(arguments)

    def ps(self, names: list[str] | None = None) -> list[dict[str, Any]]:
        """One row for each agent, in the order of start."""
        driver, switchboard = self._sup.driver, self._sup.mail.switchboard
        wanted = None if names is None else {found for name in names for found in self._sup.find(name)}
        dead = Counter(letter.to for letter in switchboard.dead_letters)
        rows = []
        for view in driver.core.children.values():
            if wanted is None or view.name in wanted:
                member, box = driver.members[view.name], switchboard.boxes[view.name]
                letters = dead[member.name] + dead[member.spec.name] * (member.name != member.spec.name)
                rows.append(member.info(view, box, letters, self._sup.models.account(member.name)))
        return rows

    async def _ps(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        return self.ps(args.get("names"))

    async def _why(self, args: dict[str, Any]) -> dict[str, Any]:
        found = self._sup.find(_name(args))
        return self._sup.driver.members[found[0]].why(self._sup.driver.core.view(found[0]))

    async def _info(self, args: dict[str, Any]) -> Any:
        """Of one agent when it has a name, else of the supervisor."""
        if "name" in args:
            return self.ps([_name(args)])[0]
        sup = self._sup
        import os

        return {
            "name": sup.name,
            "pid": os.getpid(),
            "socket": str(sup.control_path),
            "state_dir": str(sup.state_dir),
            "nats": sup.nats.info(),
        }

    async def _state(self, args: dict[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = await self._snapshot(self._sup.find(_name(args))[0], "state")
        return state

    async def _steps(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self._snapshot(self._sup.find(_name(args))[0], "steps")
        return rows

    async def _snapshot(self, name: str, what: Literal["state", "steps"]) -> Any:
        """What one agent has stored, from its process or, while it has none, from its backend."""
        member = self._sup.driver.members[name]
        if member.pipe is None or not member.is_ready:
            if ":" in member.spec.memory:
                raise ActorError(
                    f"{member.shown} is not running, and only its own process can read its backend ({member.spec.memory})"
                )
            context = memory.MemoryContext(name=name, folder=self._sup.agents_dir, nats=self._sup.nats.options)
            backend = memory.create(member.spec.memory, context)
            values, steps = split(await backend.peek())
            return {key: decode(value) for key, value in values.items()} if what == "state" else listing(steps)
        number = self._next_snapshot
        self._next_snapshot += 1
        waiter = self._sup.driver.snapshots[number] = asyncio.get_running_loop().create_future()
        member.owed.add(number)
        self._sup.mail.note(name, Show(number, what))
        try:
            async with asyncio.timeout(SNAPSHOT_TIMEOUT):
                return decode(await waiter)
        except TimeoutError:
            text = f"{member.shown} did not show its {what} within {SNAPSHOT_TIMEOUT:g} s; its event loop is busy."
            raise AskTimeout(text) from None
        finally:
            self._sup.driver.snapshots.pop(number, None)

    async def _ask(self, args: dict[str, Any]) -> Any:
        send = convert(args, Send)
        flags = LENIENT if send.lenient else 0
        outbox = self._sup.mail.outbox
        return await outbox.ask_raw(
            send.name,
            Kind(send.type or "", decoder(Any)),
            encode(send.payload),
            timeout=send.timeout,
            priority=send.priority,
            flags=flags,
        )

    def stream(self, args: dict[str, Any]) -> Stream[Any]:
        """The parts of an agent's answer."""
        send = convert(args, Send)
        return self._sup.mail.outbox.stream_raw(
            send.name,
            Kind(send.type or "", decoder(Any)),
            encode(send.payload),
            timeout=send.timeout,
            priority=send.priority,
            flags=LENIENT if send.lenient else 0,
        )

    async def _tell(self, args: dict[str, Any]) -> None:
        send = convert(args, Send)
        flags = LENIENT if send.lenient else 0
        outbox = self._sup.mail.outbox
        await outbox.tell_raw(send.name, send.type or "", encode(send.payload), priority=send.priority, flags=flags)

    async def _where(self, args: dict[str, Any]) -> dict[str, Any]:
        """Of an agent that sends to a name for the first time: whether it lives here."""
        name, sup = _name(args), self._sup
        if sup.mail.switchboard.knows(name):
            return {"here": True}
        if sup.presence is not None:
            return to_builtins(sup.presence.where(name))  # type: ignore[no-any-return]
        return {"here": False, "hint": did_you_mean(name, [member.shown for member in sup.driver.members.values()])}

    async def _find(self, args: dict[str, Any]) -> list[str]:
        """The names of agents with a capability: here, the one with the least mail first, then elsewhere, as it comes.

        `but` leaves out the one who wants to ask; then there must be another.
        """
        capability = args.get("capability")
        if not isinstance(capability, str):
            raise BadMessage("`capability` is a word that agents are announced with", field="capability")
        driver, presence = self._sup.driver, self._sup.presence
        running = [driver.members[name].spec for name, view in driver.core.children.items() if view.state == "running"]
        behind = self._sup.mail.switchboard.behind
        here = list({spec.name for spec in running if capability in spec.capabilities})
        elsewhere = list(set(presence.find(capability)) - set(here)) if presence is not None else []
        for names in (here, elsewhere):
            random.shuffle(names)
        here.sort(key=lambda name: min((box.depth for box in behind(name)), default=0))
        but = args.get("but")
        found = [name for name in (*here, *elsewhere) if but is None or name != base(str(but))]
        if but is not None and not found:
            known = {each for spec in running for each in spec.capabilities}
            if presence is not None:
                known.update(each for peer in presence.peers.all(now_ns()) for each in peer.capabilities)
            hint = did_you_mean(capability, known - {capability}) or " `actorsys agents` lists who can do what."
            raise UnknownAgent(f"no other agent has the capability {capability!r}.{hint}")
        return found

    async def _agents(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        """Who is there, here and elsewhere, but for the one named `but`; replicas are one."""
        driver, presence, but = self._sup.driver, self._sup.presence, base(str(args.get("but", "")))
        running = [driver.members[name].spec for name, view in driver.core.children.items() if view.state == "running"]
        rows = {spec.name: _card(spec.name, self._sup.name, spec) for spec in running}
        for peer in presence.peers.all(now_ns()) if presence is not None else ():
            if not peer.is_stale:
                rows.setdefault(base(peer.name), _card(base(peer.name), peer.node, peer))
        return [row for name, row in rows.items() if name != but]

    async def _spawn(self, args: dict[str, Any]) -> None:
        """Of an agent that starts another."""
        spawn = convert(args, Spawn)
        await self._sup.spawn(spawn.type, name=spawn.name, **spawn.options)

    async def _reload(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        entries = await self._sup.reload(plan_only=bool(args.get("plan")))
        return [{**to_builtins(entry), "text": str(entry)} for entry in entries]

    async def _dead_letters(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        """List, show, retry or drop: all of them, or those of some ids."""
        wanted = convert(args, DeadLetters)
        mail = self._sup.mail
        known = mail.switchboard.dead_letters
        missing = [number for number in wanted.ids or () if number not in known]
        if missing:
            raise BadMessage(f"there is no dead letter {missing[0]}; `actorsys dead-letters` lists them", field="ids")
        found = [known[number] for number in (wanted.ids if wanted.ids is not None else [dead.id for dead in known])]
        rows = [_dead_row(dead, with_payload=wanted.do == "show") for dead in found]
        for dead in found:
            if wanted.do == "retry":
                mail.handle(Retry(dead.id))
            elif wanted.do == "drop":
                known.remove(dead.id)
        return rows

    async def _control(self, do: str, args: dict[str, Any]) -> list[dict[str, Any]]:
        names = args.get("names")
        if not isinstance(names, list) or not names:
            raise BadMessage("`names` is a list of agents' names", field="names")
        found = list(dict.fromkeys(member for name in names for member in self._sup.find(str(name))))
        events: dict[str, Any] = {
            "start": machine.StartChild,
            "stop": lambda name: machine.StopChild(name, cause=str(args.get("cause") or "by command")),
            "restart": machine.RestartChild,
            "kill": machine.KillChild,
        }
        driver = self._sup.driver
        members = [driver.members[name] for name in found]
        killed = [member.process.exited for member in members if member.process and do == "kill"]
        for name in found:
            for rejected in driver.tell_core(events[do](name)):
                if rejected.why not in ("already started", "not running"):
                    raise ActorError(f"{driver.members[name].shown} cannot {do}: {rejected.why}")
        if do in SETTLED:
            await asyncio.gather(*(self._settle(name, SETTLED[do]) for name in found))
        elif killed:
            await asyncio.wait(killed, timeout=KILL_TIMEOUT)
        rows = []
        for member in members:
            state = driver.core.view(member.name).state if member.name in driver.members else "stopped"  # and forgotten
            rows.append({"name": member.shown, "state": state, "pid": member.process.pid if member.process else None})
        return rows

    async def _settle(self, name: str, states: tuple[str, ...]) -> None:
        driver = self._sup.driver
        incarnation = driver.core.view(name).incarnation if name in driver.members else 0
        while name in driver.members:
            view = driver.core.view(name)
            if view.state in states or (view.state == "backoff" and view.incarnation != incarnation):
                return
            await driver.changed(name)


def _card(name: str, node: str, about: AgentSpec | Peer) -> dict[str, Any]:
    return {"name": name, "node": node, "capabilities": about.capabilities, "description": about.description}


def _dead_row(dead: DeadLetter, *, with_payload: bool) -> dict[str, Any]:
    row = {
        "id": dead.id,
        "to": dead.to,
        "sender": shown_sender(dead.sender),
        "type": dead.type,
        "reason": dead.reason,
        "age_s": round((now_ns() - dead.at) / SECOND_NS, 3),
        "deliveries": dead.deliveries,
    }
    if with_payload:
        row |= {"payload": decode(dead.payload), "traceback": dead.traceback or None}
    return row


def _name(args: dict[str, Any]) -> str:
    name = args.get("name")
    if not isinstance(name, str):
        raise BadMessage("`name` is the name of an agent", field="name")
    return name
