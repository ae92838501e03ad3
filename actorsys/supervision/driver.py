"""Performs what the supervision machine decides: launches, stops and kills processes, and feeds back what happened to them."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from ..clock import now_ns
from ..errors import ActorError, BadMessage
from ..mailbox.letter import Bus, Crashed, Frame, Note, Ready, Snapshot, Stop, Stopped, Timing, Watch  # fmt: skip
from ..mailbox.pipe import Pipe
from ..mailbox.traffic import Blamed, Close, Gone, Open, Reopen, Respec, Up
from ..messages import Failure
from ..names import replica
from ..process.exits import describe
from ..process.launcher import Launcher, Order, Process
from ..spec import AgentSpec, Assignment
from ..units import SECOND_NS
from . import core as machine
from . import oom
from .mail import Mail, shown_sender
from .member import Member
from .output import Output
from .plan import Entry
from .pulse import Pulse
from .states import KillCause
from .ties import Ties

log = logging.getLogger("actorsys.supervisor")

ENTRY = "actorsys.runtime.child:main"


class Driver:
    """Owns the members: their processes, pipes and timers. No policy: that is in `core` and in the switchboard."""

    def __init__(
        self,
        core: machine.Core,
        mail: Mail,
        launcher: Launcher,
        assign: Callable[[Member], Assignment],
        has_nats: Callable[[], bool],
    ) -> None:
        self.core = core
        self.mail = mail
        self.launcher = launcher
        self.members: dict[str, Member] = {}
        self.groups: dict[str, str] = {}  # agent to group
        self.is_stopping = False
        self.finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.snapshots: dict[int, asyncio.Future[bytes]] = {}
        self.has_nats = has_nats
        self.on_change: Callable[[str], None] = lambda agent: (
            None
        )  # called when a member of that agent, or its connection, changed
        self.on_exit: Callable[[str], None] = lambda name: None  # called when the process of a member is gone
        self.on_removed: Callable[[str], None] = lambda name: None  # called when a member is gone for good
        self._assign = assign
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: dict[str, list[asyncio.Future[None]]] = {}
        self._oom = oom.counter()
        self._oom_kills = oom.kills(self._oom)
        self._ties = Ties(self)
        mail.on_flood = self._flooded
        self._pulse = Pulse(self)

    # --- events in

    def add(self, spec: AgentSpec, *, dynamic: bool = False) -> list[str]:
        """Open mailboxes for all replicas of an agent and let the core start them; their names.

        Raises ActorError when the core does not take one, as one too many.
        """
        return [self._add(spec, index, dynamic=dynamic) for index in range(spec.replicas)]

    def _add(self, spec: AgentSpec, index: int, *, dynamic: bool) -> str:
        name = replica(spec.name, index)
        if name in self.members:
            raise ActorError(f"{name} is there already")
        shown = spec.name if spec.replicas == 1 else name
        self.members[name] = Member(name, shown, spec)
        self.mail.handle(Open(name, spec.mailbox, (spec.name, name), shown, *self.mail.restored(name, spec.mailbox)))
        child = machine.child(spec, name, replica=index, group=self.groups.get(spec.name), dynamic=dynamic)
        for rejected in self.tell_core(machine.Add(child)):
            self._removed(name)
            raise ActorError(f"{shown} cannot be added: {rejected.why}")
        return name

    def replicas(self, name: str) -> list[str]:
        """The members of an agent, by number."""
        return sorted((m.name for m in self.members.values() if m.spec.name == name), key=lambda n: int(n.partition("/")[2]))

    def scale(self, spec: AgentSpec) -> list[str]:
        """Make the members of an agent as many as its spec says; the names of the new ones."""
        names = self.replicas(spec.name)
        dynamic = self.core.is_dynamic(names[0])
        for name in reversed(names[spec.replicas :]):
            self.tell_core(machine.Remove(name, force=True))
        for name in names[: spec.replicas]:
            self._respec(self.members[name], spec)
        return [self._add(spec, index, dynamic=dynamic) for index in range(len(names), spec.replicas)]

    def apply(self, entries: Iterable[Entry], agents: Mapping[str, AgentSpec]) -> None:
        """Do what a plan says."""
        for entry in entries:
            if entry.sign == "-":
                self.tell_core(machine.Remove(entry.name, force=True))
            elif entry.sign == "+" and entry.name not in self.members:
                self._add(agents[entry.agent], int(entry.name.partition("/")[2]), dynamic=False)
            elif entry.sign == "~":
                self._respec(self.members[entry.name], agents[entry.agent])
                if entry.restart:
                    self.tell_core(machine.RestartChild(entry.name))
        for spec in agents.values():
            for name in self.replicas(spec.name):
                self._respec(self.members[name], spec)

    def _respec(self, member: Member, spec: AgentSpec) -> None:
        """Take new settings; what its process was told stays until the next incarnation."""
        if member.spec == spec:
            return
        index = int(member.name.partition("/")[2])
        member.spec, member.shown = spec, spec.name if spec.replicas == 1 else member.name
        self.mail.handle(Respec(member.name, spec.mailbox, member.shown))
        dynamic = self.core.is_dynamic(member.name)
        group = self.groups.get(spec.name)
        self.tell_core(machine.Update(machine.child(spec, member.name, replica=index, group=group, dynamic=dynamic)))

    def tell_core(self, event: machine.AnyEvent) -> list[machine.Rejected]:
        """Feed the machine one event and do what it says; the commands it rejected."""
        rejected: list[machine.Rejected] = []
        for action in self.core.handle(event, now_ns()):
            match action:
                case machine.Launch(name, incarnation):
                    self.members[name].expect(incarnation, has_nats=self.has_nats())
                    self._ties.up(name)
                    self._spawn(self._launch(self.members[name], incarnation))
                case machine.Shutdown(name, incarnation):
                    self._ask_to_stop(self.members[name])
                case machine.Kill(name, incarnation, why):
                    self._kill(self.members[name], why)
                case machine.Changed(name, state, decision):
                    self._changed(self.members[name], state, decision)
                case machine.Removed(name):
                    self._removed(name)
                case machine.Rejected():
                    rejected.append(action)
                case machine.Escalated(group, reason):
                    log.error("%s gives up: %s", f"group {group}" if group else "the supervisor", reason)
                case machine.Finished(reason):
                    if not self.finished.done():
                        self.finished.set_result(reason)
                    for waiting in list(self._watchers):
                        self._wake(waiting)
        self._arm()
        return rejected

    def tell_core_unless_over(self, event: machine.AnyEvent) -> None:
        if not self.finished.done():
            self.tell_core(event)

    def named(self, name: str) -> list[str]:
        """The members that a name stands for: one, or all replicas."""
        return [member.name for member in self.members.values() if name in (member.name, member.shown, member.spec.name)]

    async def changed(self, name: str) -> None:
        """Wait until a member is in another state than now, or gone, or nothing runs any more. Raises ActorError after that."""
        if self.finished.done():
            raise ActorError("the supervisor has stopped")
        waiter = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(name, []).append(waiter)
        await waiter

    async def close(self) -> None:
        self._pulse.close()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for member in self.members.values():
            if member.pipe is not None:
                member.pipe.close()
            if member.output is not None:
                member.output.close()

    # --- actions

    def _arm(self) -> None:
        """One timer, for the next moment at which time alone changes something."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self.core.next_wake()
        if wake is not None:
            delay = max(0, wake - now_ns()) / SECOND_NS
            self._timer = asyncio.get_running_loop().call_later(delay, self.tell_core, machine.Tick())

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _launch(self, member: Member, incarnation: int) -> None:
        spec = member.spec
        try:
            order = Order(
                name=member.name,
                incarnation=incarnation,
                entry=ENTRY,
                payload=msgspec.msgpack.encode(self._assign(member)),
                env=spec.env,
                how=spec.launch,
                type=spec.type,
            )
            process = await self.launcher.launch(order)
        except Exception as error:  # noqa: BLE001 - whatever it is, the core must hear that there is no process
            member.ended(None, Failure.of(error, with_traceback=False))
            self.tell_core(machine.LaunchFailed(member.name, incarnation))
            return
        try:
            self._attach(member, process)
        except OSError as error:  # no descriptor left for its output or its pipe
            process.kill()
            await process.exited
            process.close()
            member.ended(None, Failure.of(error, with_traceback=False))
            self.tell_core(machine.LaunchFailed(member.name, incarnation))

    def _attach(self, member: Member, process: Process) -> None:
        assert process.connection is not None
        member.process = process
        member.output = Output(member.shown, process.output_fd)
        member.pipe = self.mail.pipes[member.name] = Pipe(
            process.connection,
            partial(self._frames, member),
            lambda error: self._ended(member, process, error),
        )
        incarnation = member.incarnation
        process.exited.add_done_callback(lambda _: self._exited(member, incarnation, process))
        if member.killed_for is not None:
            process.kill()
        elif member.is_stop_wanted:
            self._ask_to_stop(member)

    def _ask_to_stop(self, member: Member) -> None:
        if member.pipe is None:
            member.is_stop_wanted = True
            return
        member.pipe.send(Frame(notes=[Stop("shutdown", float(member.spec.stop_timeout))]))

    def _kill(self, member: Member, why: KillCause) -> None:
        member.killed_for = why
        if member.process is not None:
            member.process.kill()

    def _changed(self, member: Member, state: str, decision: str) -> None:
        if state == "failed":
            reason = describe(member.exits[-1]) if member.exits else decision
            self.mail.handle(Close(member.name, f"{member.shown} has failed: {reason}"))
        elif self.mail.switchboard.boxes[member.name].closed:
            self.mail.handle(Reopen(member.name))
        death = member.decided(decision)
        if death is not None and death.reason not in ("normal", "shutdown"):
            level = logging.ERROR if state == "failed" else logging.WARNING
            log.log(level, "%s %s; %s", member.shown, describe(death), decision.partition("; ")[2] or decision)
        elif state == "running" and member.process is not None:
            log.info("%s is running, pid %d", member.shown, member.process.pid)
        elif state in ("stopped", "failed"):
            log.log(logging.ERROR if state == "failed" else logging.INFO, "%s %s: %s", member.shown, state, decision)
        self._wake(member.name)
        self.on_change(member.spec.name)

    def _removed(self, name: str) -> None:
        member = self.members.pop(name)
        self._ties.forget(name)
        if not (self.is_stopping and member.spec.mailbox.durability == "disk"):  # what is on disk is for the next start
            self.mail.handle(Close(name, f"{member.shown} has ended", forget=True))
        if not self.is_stopping:
            self.on_removed(name)
        self._wake(name)
        self.on_change(member.spec.name)

    def _wake(self, name: str) -> None:
        for waiter in self._watchers.pop(name, ()):
            if not waiter.done():
                waiter.set_result(None)

    # --- what a process says and does

    def _frames(self, member: Member, frames: list[Frame]) -> None:
        now = now_ns()
        self._pulse.heard(member.name, now)
        for frame in frames:
            for note in frame.notes:
                self._noted(member, note)
        self.mail.posted(member.name, frames, now)
        # Only now: what it had stored and sends again before it is ready may have come in the same read.
        if not member.is_ready and any(type(note) is Ready for frame in frames for note in frame.notes):
            member.is_ready = True
            self.mail.handle(Up(member.name))
            self.tell_core(machine.Ready(member.name, member.incarnation))

    def _noted(self, member: Member, note: Note) -> None:
        match note:
            case Timing(kind, seconds):
                member.took(kind, seconds)
            case Watch():
                self._ties.watch(member, note)
            case Crashed() | Stopped():
                member.said(note)
            case Bus(state):
                member.nats = state
                self.on_change(member.spec.name)
            case Snapshot(number, state):
                member.owed.discard(number)
                waiter = self.snapshots.pop(number, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(state)

    def _flooded(self, name: str, address: str) -> None:
        """It does not heed a full mailbox, so that only its end can bound what it sends."""
        member = self.members.get(name)
        if member is not None and member.process is not None:
            log.error("%s goes on sending to %s, whose mailbox is full, and is replaced", member.shown, address)
            member.kill_detail = f"it flooded {address}, whose mailbox was full"
            member.process.kill()

    def _ended(self, member: Member, process: Process, error: BadMessage | None) -> None:
        """Its end of the pipe is closed: it is ending, or must end, because nothing it does can reach anybody."""
        member.nats = "off"
        self.on_change(member.spec.name)
        if error is not None:
            log.error("%s sent bytes that are no frame (%s) and is replaced", member.shown, error)
            member.kill_detail = "it sent bytes that are no frame"
            process.kill()
        elif member.crash is None and member.farewell is None:
            if not process.is_ending:
                member.kill_detail = "it closed its connection to the supervisor"
            process.kill()

    def _exited(self, member: Member, incarnation: int, process: Process) -> None:
        """The process and all it started are gone; its pipe is read to the end before anything is decided."""
        if member.incarnation != incarnation or member.pipe is None:
            return
        assert member.output is not None
        member.pipe.read_rest()
        member.output.close()
        member.pipe.close()
        del self.mail.pipes[member.name]
        process.close()
        was_ready = member.is_ready
        exit = member.ended(process.exited.result(), is_out_of_memory=self._was_out_of_memory())
        by_itself = member.farewell is not None and member.farewell.by_itself
        is_its_own = exit.reason in ("killed", "exit_code", "unresponsive", "out_of_memory", "normal") and member.farewell is None
        charge = was_ready and is_its_own and member.killed_for in (None, "unresponsive")
        blamed = self.mail.handle(Gone(member.name, describe(exit), charge))
        poison = self._blame(member, blamed)
        self.on_exit(member.name)
        self._ties.down(member.name, describe(exit), normal=exit.reason in ("normal", "shutdown"))
        self.tell_core(
            machine.Exited(member.name, incarnation, exit.reason, exit_code=exit.exit_code, ended=by_itself, poison=poison)
        )

    def _was_out_of_memory(self) -> bool:
        """Whether the kernel has killed for lack of memory since we last looked."""
        before, self._oom_kills = self._oom_kills, oom.kills(self._oom)
        return before is not None and self._oom_kills is not None and self._oom_kills > before

    def _blame(self, member: Member, blamed: list[Blamed]) -> str | None:
        if not blamed:
            return None
        letter = blamed[0].letter
        what = letter.type.rpartition(":")[2] or "message"
        member.held(f"{what} #{letter.id} from {shown_sender(letter.sender)}, delivery {letter.deliveries}")
        return str(letter.id)
