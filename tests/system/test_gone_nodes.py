"""A node that is killed, frozen or cut off: how soon the others know, and how it comes back."""

import asyncio
import contextlib
import json
import signal
from urllib.parse import urlsplit

import pytest
from system_agents import Counter, Find, Finder, Total

from actorsys import AgentDown, AskTimeout, Supervisor, UnknownAgent
from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import eventually

SOON = 5.0  # seconds: up to 1.8 until the next ping, 2 until it is tried again
TOML = '[supervisor]\nname = "b"\n[agents.counter]\ntype = "system_agents:Counter"\ncapabilities = ["count"]\n'


@pytest.fixture(autouse=True)
def server_needed():
    require_server()


def url_of(server):
    return server.url.replace("nats://", f"nats://{server.info.token}@")


@contextlib.asynccontextmanager
async def with_other(folder, node):
    """A node "a" here, and a node "b" in a process of its own, of which "a" has heard and that has answered it."""
    async with run_server(folder / "nats") as server:
        node.env["NATS_URL"] = url_of(server)
        node.write(TOML)
        await asyncio.to_thread(node.supervise)
        async with Supervisor(nats=url_of(server), name="a") as a:
            await a.spawn(Finder, name="finder")  # a node is greeted when it first says something
            await known(a)
            yield server, a


async def known(sup):
    """Return once it has heard of the counter, and the counter's node has answered a ping."""
    await eventually(lambda: statuses(sup) == ["running"] and all(sup.presence._pings._has_answered.values()))


def statuses(sup):
    return [peer["status"] for peer in sup.peers() if peer["name"] == "counter"]


def listed(node):
    return [row["name"] for row in json.loads(node.call("-o", "json", "agents", "--wait", "300ms"))]


def test_the_agents_of_a_killed_supervisor_are_gone_within_seconds(run, folder, node):
    async def main():
        async with with_other(folder, node) as (_, a):
            finder = a.agent("finder")
            assert await finder.ask(Find("count")) == ["counter"]
            assert "counter" in await asyncio.to_thread(listed, node)
            node.process.kill()
            node.process.wait()
            await eventually(lambda: statuses(a) == [], SOON)
            assert await finder.ask(Find("count")) == []
            assert "counter" not in await asyncio.to_thread(listed, node)
            with pytest.raises(UnknownAgent):
                await a.agent("counter").ask(Total())

    run(main(), timeout=90)


def test_a_supervisor_that_is_killed_and_started_again_is_one_node_after_seconds(run, folder, node):
    async def main():
        async with with_other(folder, node) as (_, a):
            node.process.kill()
            node.process.wait()
            await asyncio.to_thread(node.supervise)
            await eventually(lambda: statuses(a) == ["running"], SOON + 5.0)
            assert await a.agent("counter").ask(Total()) == 0

    run(main(), timeout=90)


def test_those_of_a_frozen_supervisor_are_stale_until_it_goes_on(run, folder, node):
    async def main():
        async with with_other(folder, node) as (_, a):
            node.process.send_signal(signal.SIGSTOP)
            try:
                await eventually(lambda: statuses(a) == ["stale"], SOON + 3.0)
                assert a.presence.find("count") == []
                with pytest.raises((UnknownAgent, AgentDown, AskTimeout)):
                    await a.agent("counter").ask(Total(), timeout=0.5)
            finally:
                node.process.send_signal(signal.SIGCONT)
            await eventually(lambda: statuses(a) == ["running"], SOON)
            assert a.presence.find("count") == ["counter"]
            assert await a.agent("counter").ask(Total(), timeout=20) == 0

    run(main(), timeout=90)


class Wire:
    """A way to the server that can be cut."""

    def __init__(self, url):
        self._there = urlsplit(url)
        self._here = None
        self._ends = set()
        self._tasks = set()
        self.is_up = True

    async def __aenter__(self):
        self._here = await asyncio.start_server(self._join, "127.0.0.1", 0)
        port = self._here.sockets[0].getsockname()[1]
        self.url = self._there._replace(netloc=self._there.netloc.replace(str(self._there.port), str(port))).geturl()
        return self

    async def __aexit__(self, *_):
        self._here.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _join(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        if not self.is_up:
            writer.transport.abort()
            return
        back, forth = await asyncio.open_connection(self._there.hostname, self._there.port)
        self._ends |= {writer, forth}
        await asyncio.gather(self._carry(reader, forth), self._carry(back, writer))

    async def _carry(self, source, target):
        with contextlib.suppress(OSError):
            while data := await source.read(2**16):
                target.write(data)
        target.transport.abort()

    def cut(self):
        self.is_up = False
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()


@contextlib.asynccontextmanager
async def with_wire(folder):
    """Nodes "a" and "b", and the wire of "b" to the server."""
    async with (
        run_server(folder / "nats") as server,
        Wire(url_of(server)) as wire,
        Supervisor(nats=url_of(server), name="a") as a,
        Supervisor(nats=wire.url, name="b") as b,
    ):
        await b.spawn(Counter, name="counter", capabilities=["count"])
        await eventually(lambda: b.driver.members["counter/0"].nats == "connected")
        await known(a)
        yield wire, a, b


def test_a_node_that_loses_its_connection_for_a_moment_is_never_missed(run, folder):
    async def main():
        async with with_wire(folder) as (wire, a, b):
            before = b.presence.bus.connects
            wire.cut()
            a.presence._pings.ask(b.run_id)  # it finds nobody; the second one finds it again
            wire.is_up = True
            await eventually(lambda: b.presence.bus.connects > before)
            while a.presence._pings._asking:
                assert statuses(a) == ["running"]
                await asyncio.sleep(0.01)
            assert statuses(a) == ["running"]
            assert await a.agent("counter").ask(Total(), timeout=20) == 0

    run(main())


def test_a_node_that_was_cut_off_for_long_is_gone_and_comes_back_with_its_connection(run, folder):
    async def main():
        async with with_wire(folder) as (wire, a, _):
            wire.cut()
            await eventually(lambda: statuses(a) == [], SOON)
            wire.is_up = True
            await eventually(lambda: statuses(a) == ["running"], SOON)
            assert a.presence.find("count") == ["counter"]
            assert await a.agent("counter").ask(Total(), timeout=20) == 0

    run(main())


def test_nodes_of_the_same_name_do_not_hide_each_other(run, folder):
    async def main():
        async with (
            run_server(folder / "nats") as server,
            Supervisor(nats=url_of(server)) as a,
            Supervisor(nats=url_of(server)) as b,
            Supervisor(nats=url_of(server)) as c,
        ):
            await b.spawn(Counter, name="counter", capabilities=["one"])
            await c.spawn(Counter, name="counter", capabilities=["two"])
            await eventually(lambda: (a.presence.find("one"), a.presence.find("two")) == (["counter"], ["counter"]))
            await b.delete("counter")
            await eventually(lambda: a.presence.find("one") == [])
            assert a.presence.find("two") == ["counter"]
            assert {peer["node"] for peer in a.peers()} == {"actorsys"}

    run(main())
