"""The public face of a node: start it, spawn agents, talk to them, stop it. It never imports the agents' code.

It is over 400 lines because every verb of a node is here, each a few lines long, and the order of start and stop in one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import msgspec
from msgspec import convert, structs

from ..bus.nats_options import NatsOptions
from ..config.load import load
from ..config.nats import spec_of
from ..config.paths import control_socket, private_directory
from ..config.schema import Config, agent_spec, group_specs, llm_specs, supervisor_spec
from ..errors import ActorError, ConfigError, GuardError, StartFailed
from ..llm.settings import Profile, preload
from ..mailbox import ref as refs
from ..mailbox.ref import Ref
from ..memory.base import BUILT_IN
from ..messages import class_path
from ..names import token
from ..process.folder import Folder
from ..process.launcher import Launcher
from ..process.loading import is_loading
from ..spec import AgentSpec, Assignment, LlmSpec, nats_url
from . import core as machine
from .commands import Commands
from .driver import Driver
from .mail import Mail
from .member import Member
from .models import Models
from .nats import Nats
from .plan import Entry, plan
from .presence import Presence
from .profiles import reachable, table, told
from .state_dir import claimed, temporary

T = TypeVar("T")

log = logging.getLogger("actorsys.supervisor")


class Supervisor:
    """Runs agents, each in a process of its own, and starts them again when they die.

    `async with Supervisor() as sup:` starts it and stops it with everything it started. Options are the keys of [supervisor] in
    agents.toml, `groups` its [groups] tables, `llm` its [llm] tables; `nats` is "off", "auto", "embedded", a URL or a dict with the keys of [nats], and
    defaults to NATS_URL or NATS_WEBSOCKET_URL if one is set, else to off. Without a `state_dir` it uses a private temporary directory. It installs no signal handlers and touches no other child of its process.
    """

    def __init__(
        self,
        *,
        nats: str | Mapping[str, Any] | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        groups: Mapping[str, Any] | None = None,
        llm: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        table = {**options, "state_dir": os.fspath(state_dir)} if state_dir is not None else options
        spec = spec_of(nats if nats is not None else nats_url(os.environ) or "off", os.environ)
        config = Config(
            supervisor=supervisor_spec(table),
            nats=spec,
            llm=llm_specs(llm or {}, os.environ),
            agents={},
            groups=group_specs(groups or {}),
        )
        self._set_up(config, is_temporary=state_dir is None)

    def _set_up(self, config: Config, *, is_temporary: bool) -> None:
        self.config = config
        self.name = config.supervisor.name
        self.run_id = uuid4().hex[:12]
        self.state_dir = Path(config.supervisor.state_dir).absolute()
        self._is_temporary = is_temporary
        self._folder: Folder | None = None  # the temporary one, once it is there
        self._is_started = False
        self._is_stopped = False
        self._exits = contextlib.AsyncExitStack()
        self._stopping: asyncio.Task[None] | None = None
        self._commands = Commands(self)
        self.presence: Presence | None = None  # where NATS is on

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """A supervisor for the agents in a file. Raises ConfigError with one line for each problem."""
        supervisor = cls.__new__(cls)
        supervisor._set_up(load(path), is_temporary=False)
        return supervisor

    # --- life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the node and, in the background, its agents.

        Raises ConfigError when a file or module is wrong, or when another supervisor uses the state directory; nothing is left then.
        """
        if is_loading():
            raise GuardError(
                "a Supervisor was started while its script is being loaded to find the agents in it. "
                'Put the lines that start it under `if __name__ == "__main__":`.'
            )
        if self._is_started:
            raise ActorError("this Supervisor was started already; make a new one")
        self._is_started = True
        async with contextlib.AsyncExitStack() as exits:
            await self._start(exits)
            self._exits = exits.pop_all()
        self.driver.tell_core(machine.Start())

    async def _start(self, exits: contextlib.AsyncExitStack) -> None:
        config = self.config
        if self._is_temporary:
            self._folder = exits.enter_context(temporary())
            self.state_dir = Path(self._folder.path)
        else:
            exits.enter_context(claimed(self.state_dir, self.run_id))
        folder = [str(Path(config.path).parent)] if config.path else []
        self.launcher = Launcher(self.run_id, preload=self._preload(), path=folder, folder=self._folder)
        exits.push_async_callback(self.launcher.close)
        os.environ.update(config.environ)
        await self.launcher.start()
        await self._check_types(config.agents.values())
        self.mail = Mail(self._commands, config.supervisor.mailbox_bytes, self.state_dir / "mail.sqlite")
        self.mail.outbox.max_payload = config.supervisor.max_payload
        exits.push_async_callback(self.mail.close)
        refs.home = refs.home or self.mail.outbox
        exits.callback(self._leave_home)
        spec = config.supervisor
        core = machine.Core(
            strategy=spec.strategy,
            max_restarts=spec.max_restarts,
            window=spec.window,
            groups=config.groups.values(),
            max_children=spec.max_children or None,
            seed=hash(self.run_id),
        )
        self.nats = Nats(config.nats, self.launcher, self.state_dir / "nats", self.name)
        self.driver = Driver(core, self.mail, self.launcher, self._assignment, lambda: self.nats.options is not None)
        self.driver.groups = {member: group.name for group in config.groups.values() for member in group.members}
        self.models = Models(config.llm, self._spec_of, self.driver.replicas, self.state_dir / "llm.json")
        exits.callback(self.models.close)
        self.driver.on_exit, self.driver.on_removed = self.models.ended, self.models.forget
        exits.push_async_callback(self.driver.close)
        exits.push_async_callback(self.nats.close)
        await self.nats.start()
        if self.nats.options is not None:
            self.presence = Presence(convert(self.nats.options, NatsOptions), self.driver, node=self.name, run=self.run_id)
            exits.push_async_callback(self.presence.close)
            await self.presence.start()
        await self.launcher.load([agent.type for agent in config.agents.values()])
        for agent in config.agents.values():
            self.driver.add(agent)
        if not self._is_temporary or config.agents:
            await self._open_control(exits)

    async def stop(self) -> None:
        """Stop all agents in order, then everything else; nothing is left when this returns. Idempotent."""
        if not self._is_started or self._is_stopped:
            return
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        if hasattr(self, "driver"):
            self.driver.is_stopping = True
            self.driver.tell_core(machine.Stop())
            await self.driver.finished
        await self._exits.aclose()
        self._is_stopped = True

    async def wait_stopped(self) -> int:
        """Wait until the supervisor has ended by itself or was stopped; the exit code: 0, or 1 when it gave up."""
        reason = await asyncio.shield(self.driver.finished)
        await self.stop()
        return 0 if reason == "shutdown" else 1

    def kill_now(self) -> None:
        """SIGKILL everything at once, without waiting for anybody."""
        if self._is_started and hasattr(self, "launcher"):
            self.launcher.kill_now()
        if self._folder is not None:
            self._folder.remove()

    async def check(self) -> None:
        """Whether all agent classes import and take their arguments, tried in a process that is thrown away. Raises ConfigError."""
        folder = [str(Path(self.config.path).parent)] if self.config.path else []
        launcher = Launcher(self.run_id, path=folder)
        try:
            await launcher.start()
            self.launcher = launcher
            await self._check_types(self.config.agents.values())
        finally:
            await launcher.close()

    # --- agents

    async def spawn(self, agent: type | str, *, name: str, **options: Any) -> Ref:
        """Start an agent of a class, or of "module:Class"; return when it is ready.

        `options` are the keys of its table in agents.toml, with the same values.

        Raises ConfigError for a wrong option or a name in use, StartFailed when it does not become ready, with the traceback.
        """
        self._check_running()
        table = {**options, "type": agent if isinstance(agent, str) else class_path(agent)}
        spec = agent_spec(name, table)
        if spec.llm not in self.config.llm:
            raise ConfigError(f"{name}: there is no [llm.{spec.llm}]; give it in Supervisor(llm={{...}})", where=f"{name}.llm")
        self._check_free(name)
        errors = await self.launcher.load([spec.type])
        if text := errors[spec.type]:
            last = text.strip().splitlines()[-1]
            raise StartFailed(f"{name}: {spec.type} cannot be loaded: {last}", traceback=text)
        self._check_free(name)  # again: somebody else may have taken it meanwhile
        for child in self.driver.add(spec, dynamic=True):
            await self._wait_up(child)
        return self.agent(name)

    def _check_free(self, name: str) -> None:
        """Raises ConfigError for a name, or a NATS token, that an agent of this node has."""
        for member in self.driver.members.values():
            if token(member.spec.name) == token(name):
                what = "of that name" if member.spec.name == name else f"with the same NATS token ({member.spec.name})"
                raise ConfigError(f"{name}: an agent {what} exists already; names are unique on a node", where=name)

    async def scale(self, name: str, replicas: int) -> None:
        """Run that many processes of an agent; return when the new ones are ready, or the surplus is gone.

        Raises UnknownAgent, ConfigError for a number below 1, StartFailed.
        """
        self._check_running()
        if replicas < 1:
            raise ConfigError(f"{name}: replicas = {replicas}; at least 1 is needed, or `stop` the agent", where="replicas")
        spec = self.driver.members[self.find(name)[0]].spec
        for child in self.driver.scale(structs.replace(spec, replicas=replicas)):
            await self._wait_up(child)
        while len(self.driver.replicas(spec.name)) > replicas:
            await self.driver.changed(self.driver.replicas(spec.name)[-1])

    async def delete(self, name: str) -> None:
        """Stop an agent, all its replicas, and forget it; what is left of its mail goes to the dead letters. Raises UnknownAgent."""
        self._check_running()
        children = self.find(name)
        for child in children:
            self.driver.tell_core(machine.Remove(child, force=True))
        for child in children:
            while child in self.driver.members:
                await self.driver.changed(child)

    async def reload(self, *, plan_only: bool = False) -> list[Entry]:
        """Read agents.toml again and apply the difference, only that; the difference.

        Raises ConfigError, and changes nothing, when the file or a module in it is wrong.
        """
        self._check_running()
        if not self.config.path:
            raise ActorError("this Supervisor was not made from a file, so there is nothing to reload")
        new = load(self.config.path)
        await self._check_types(new.agents.values())
        entries = plan(self.config.agents.values(), new.agents.values(), self.config.llm, new.llm)
        if not plan_only:
            self.config = structs.replace(self.config, agents=new.agents, llm=new.llm)
            self.models.renew(new.llm)
            if any(entry.sign == "+" or entry.restart for entry in entries):
                self.launcher.renew()
                await self.launcher.load([agent.type for agent in new.agents.values()])
            for entry in entries:
                log.info("reload: %s", entry)
            self.driver.apply(entries, new.agents)
        return entries

    def agent(self, name: str) -> Ref:
        """A handle of the agent of that name, here or, where NATS is on, on another node. Raises UnknownAgent if it can be nowhere."""
        self._check_running()
        if self.presence is None and not self.mail.switchboard.knows(name):
            raise self.mail.switchboard.unknown(name)
        return Ref(name, self.mail.outbox)

    def peers(self) -> list[dict[str, Any]]:
        """The agents of other nodes that were heard of over NATS."""
        self._check_running()
        return self.presence.list_peers() if self.presence is not None else []

    def children(self) -> list[dict[str, Any]]:
        """What `actorsys ps -o json` shows: one dict for each agent."""
        self._check_running()
        return self._commands.ps()

    async def _wait_up(self, name: str) -> None:
        member = self.driver.members[name]
        while True:
            view = self.driver.core.find(name)
            if view is not None and view.state == "running":
                return
            if view is None or view.state in ("stopped", "failed") or member.exits:
                break
            await self.driver.changed(name)
        # Now: the end of the next incarnation, which the removal stops, says nothing.
        last = member.exits[-1] if member.exits else None
        if view is not None:
            self.driver.tell_core(machine.Remove(name, force=True))
            while name in self.driver.members and not self.driver.finished.done():  # a supervisor that stops removes nobody
                await self.driver.changed(name)
        detail = last.detail if last and last.detail else (last.reason if last else "stopped before it was ready")
        raise StartFailed(f"{member.shown} did not start: {detail}", traceback=last.traceback if last else None)

    def find(self, name: str) -> list[str]:
        """The members that a name stands for: one, or all replicas. Raises UnknownAgent."""
        found = self.driver.named(name)
        if not found:
            raise self.mail.switchboard.unknown(name)
        return found

    # --- where things are

    @property
    def control_path(self) -> Path:
        return control_socket(self.state_dir)

    @property
    def nats_urls(self) -> list[str]:
        return self.nats.shown_urls

    @property
    def agents_dir(self) -> Path:
        return self.state_dir / "agents"

    # --- parts of the start

    async def _check_types(self, agents: Iterable[AgentSpec]) -> None:
        """Find classes that do not import, in a process that is thrown away. Raises ConfigError with a line for each."""
        found = {agent.name: (agent.type, agent.args) for agent in agents}
        if not found:
            return
        types = list(dict.fromkeys(path for path, _ in found.values()))
        argument = msgspec.msgpack.encode(found)
        errors = await self.launcher.check(types, "actorsys.runtime.child:check", argument)
        lines = []
        file = Path(self.config.path).name if self.config.path else "agents"
        for name, (path, _) in found.items():
            text = errors.get(path) or errors.get(name)
            if text:
                lines.append(f"{file}  agents.{name}.type: {path}: {text.strip().splitlines()[-1]}")
        if lines:
            raise ConfigError("\n".join(lines), where=file)

    def _preload(self) -> list[str]:
        modules = ["actorsys.runtime.child", "actorsys.memory.in_memory"]
        used = {agent.memory for agent in self.config.agents.values()}
        modules += sorted(BUILT_IN[memory].partition(":")[0] for memory in used & BUILT_IN.keys() - {"in_memory"})
        llm = self.config.llm
        if llm.keys() != {"default"} or llm["default"] != LlmSpec():
            named = [agent.llm for agent in self.config.agents.values()] or list(llm)
            profiles = [convert(table(llm[each]), Profile) for name in named for each in reachable(name, llm)]
            modules += ["actorsys.runtime.thinking", *preload(profiles, {**self.config.environ, **os.environ})]
        if self.config.nats.mode != "off":
            is_web = self.config.nats.url.startswith("ws")
            light = [] if is_web else ["actorsys.bus.nats_light"]  # first: nats_client imports the rest
            modules += ["actorsys.runtime.remote", *light, "actorsys.bus.nats_client"]
        return [*modules, "actorsys.runtime.rehearsal"]

    def _spec_of(self, member: str) -> AgentSpec | None:
        found = self.driver.members.get(member)
        return None if found is None else found.spec

    def _assignment(self, member: Member) -> Assignment:
        spec = member.spec
        return Assignment(
            name=member.name,
            shown=member.shown,
            type=spec.type,
            args=spec.args,
            incarnation=member.incarnation,
            node=self.name,
            instance=self.run_id,
            last_frame=self.mail.switchboard.boxes[member.name].last_frame,
            run=self.mail.open_journal().run if spec.mailbox.durability == "disk" else self.run_id,
            concurrency=spec.concurrency,
            memory=spec.memory,
            state_dir=str(self.agents_dir),
            remote_state=spec.remote_state,
            on_error=spec.on_error,
            nats=self.nats.for_agent(len(self.driver.members)) if spec.nats else None,
            capabilities=spec.capabilities,
            description=spec.description,
            llm=told(spec, self.config.llm),
            log_level=os.environ.get("LOG_LEVEL", "INFO").upper() or "INFO",
            stop_timeout=float(spec.stop_timeout),
            max_payload=int(self.config.supervisor.max_payload),
        )

    async def _open_control(self, exits: contextlib.AsyncExitStack) -> None:
        from .control import Control

        private_directory(self.control_path.parent)
        control = Control(self.control_path, self._commands)
        await control.start()
        exits.push_async_callback(control.close)

    def _leave_home(self) -> None:
        if refs.home is self.mail.outbox:
            refs.home = None

    def _check_running(self) -> None:
        if not self._is_started or self._is_stopped or not hasattr(self, "driver"):
            raise ActorError("this Supervisor is not running; use `async with Supervisor() as sup:` or `await sup.start()`")


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on uvloop where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
