"""What [nats] in agents.toml makes of a node: whole logins with real servers, secrets that show nowhere, and what is missing."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from system_agents import Add, Counter, Total

from actorsys import ConfigError, StartFailed, Supervisor
from actorsys.bus import nats_server
from actorsys.bus.nats import NatsBus
from actorsys.bus.nats_options import NatsOptions
from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import eventually, until

sys.path.append(str(Path(__file__).parents[1] / "bus"))

from operator_keys import USER, Key, Operator
from own_ca import certificates


@pytest.fixture(autouse=True)
def server_needed():
    require_server()


def row(sup, name):
    return next(row for row in sup.children() if row["name"] == name)


async def connected(sup, name):
    await eventually(lambda: row(sup, name)["nats"] == "connected")


AGENT = '\n[agents.counter]\ntype = "system_agents:Counter"\n'


def seen_of(node):
    """All that anybody can see of a node without being its user, and all that it prints."""
    own = psutil.Process(node.process.pid)
    lines = [" ".join(process.cmdline()) for process in (own, *own.children(recursive=True))]
    shown = [node.call(*words) for words in (("ps", "-o", "json"), ("why", "counter", "-o", "json"))]
    return "\n".join([*lines, *shown, node.output])


def test_user_password_and_certificates_of_the_file_log_in_and_show_nowhere(node):
    keys = certificates(node.folder)
    tls = f'tls {{ cert_file: "{keys}/cert.pem", key_file: "{keys}/key.pem", ca_file: "{keys}/ca.pem", verify: true }}'
    users = "authorization { users: [ { user: me, password: open-sesame } ] }"
    node.env["NATS_PASSWORD"] = "open-sesame"

    def body(url):
        node.write(
            f'[nats]\nmode = "external"\nurl = "{url}"\nuser = "me"\npassword = "${{NATS_PASSWORD}}"\nping_interval = "500ms"\n'
            'tls_ca = "ca.pem"\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n' + AGENT
        )
        node.supervise()
        pid = node.wait_state("counter", nats="connected")["pid"]
        os.kill(pid, signal.SIGUSR2)  # all stacks to its log, as of an agent that hangs
        os.kill(pid, signal.SIGABRT)
        until(lambda: node.ps("counter")["restarts"] == 1)
        node.wait_state("counter", nats="connected")
        assert "SIGABRT" in node.call("why", "counter", "-o", "json")
        assert "open-sesame" not in seen_of(node)
        assert node.interrupt() == 0
        assert "open-sesame" not in node.output

    async def main():
        async with run_server(node.folder / "nats", authorization=users, extra=tls) as server:
            await asyncio.to_thread(body, server.url)

    asyncio.run(main())


def test_a_refused_login_is_logged_without_its_secret_and_local_work_goes_on(node):
    def body(url):
        node.write(f'[nats]\nurl = "{url}"\ntoken = "wrong-horse"\n' + AGENT)
        node.supervise()
        node.wait_output("the login is refused")
        assert node.ps("counter")["nats"] == "connecting"
        assert node.call("ask", "counter", "Add", "n=2") == "2\n"
        assert "wrong-horse" not in seen_of(node)

    async def main():
        async with run_server(node.folder / "nats") as server:
            await asyncio.to_thread(body, server.url)

    asyncio.run(main())


def test_creds_and_nkeys_of_an_embedding_program(run, folder):
    operator, key = Operator(), Key(USER)
    (folder / "me.creds").write_text(operator.creds())
    logins = [
        (operator.authorization, {"creds_file": str(folder / "me.creds")}),
        (operator.authorization, {"creds": operator.creds()}),
        (f"authorization {{ users: [ {{ nkey: {key.public} }} ] }}", {"nkey_seed": key.seed.decode()}),
    ]

    async def main():
        for number, (authorization, login) in enumerate(logins):
            async with run_server(folder / f"nats{number}", authorization=authorization, jetstream=False) as server:
                async with Supervisor(nats={"url": server.url, **login}) as sup:
                    await sup.spawn(Counter, name="counter")
                    await connected(sup, "counter")
                    shown = (
                        repr(sup.config) + repr(sup.nats.info()) + repr(sup._assignment(next(iter(sup.driver.members.values()))))
                    )
                    assert not any(secret in shown for secret in login.values())

    run(main())


def test_the_nats_argument_is_checked_like_the_table():
    for wrong, text in (
        ({"ulr": "nats://x"}, 'nats.ulr: unknown field; did you mean "url"?'),
        ({"url": "nats://x", "token": "geheim", "nkey_seed": "geheim"}, "one way to log in is enough"),
        ({"url": "nats://x", "creds_file": "none.creds"}, "nats.creds_file: "),
        ("http://x", "is not a NATS URL"),
    ):
        with pytest.raises(ConfigError) as caught:
            Supervisor(nats=wrong)
        assert text in str(caught.value)
        assert "geheim" not in str(caught.value)


def test_a_websocket_listener_of_the_embedded_server_is_shown_and_works(node):
    node.write("[nats]\nwebsocket = true\n" + AGENT)
    node.supervise()
    node.wait_state("counter", nats="connected")
    facts = json.loads(node.call("nats", "-o", "json", "--show-secrets"))
    assert facts["websocket_urls"] == json.loads((node.folder / ".actorsys" / "nats.json").read_text())["websocket_urls"]
    (url,) = facts["websocket_urls"]
    assert url.startswith("ws://127.0.0.1:")

    async def main():
        async with NatsBus(NatsOptions.parse(facts["nats_websocket_url"])) as bus:
            await bus.wait_connected(5.0)

    asyncio.run(main())
    node.env["NATS_WEBSOCKET_URL"] = facts["nats_websocket_url"]
    assert [line["name"] for line in json.loads(node.call("agents", "-o", "json", "--wait", "300ms"))] == ["counter"]


def test_the_websocket_url_of_the_environment_is_the_server_when_there_is_no_other(run, folder, monkeypatch):
    async def main():
        async with run_server(folder / "nats", websocket=True) as server:
            (url,) = server.info.websocket_urls
            monkeypatch.setenv("NATS_WEBSOCKET_URL", url.replace("://", f"://{server.info.token}@"))
            async with Supervisor() as sup:
                counter = await sup.spawn(Counter, name="counter")
                await connected(sup, "counter")
                assert (sup.nats_urls[0].partition("://")[0], await counter.ask(Add(2))) == ("ws", 2)

    run(main())


def test_without_a_nats_server_program_a_node_says_so_and_works(run, monkeypatch, caplog, folder):
    monkeypatch.setattr(nats_server.sysconfig, "get_path", lambda name: str(folder))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("ACTORSYS_NATS_SERVER", raising=False)

    async def main():
        for mode in ("auto", "embedded"):
            async with Supervisor(nats=mode) as sup:
                counter = await sup.spawn(Counter, name="counter")
                assert await counter.ask(Add(2)) == 2
                assert (row(sup, "counter")["nats"], sup.nats.mode) == ("off", "off")

    caplog.set_level("INFO", "actorsys.supervisor")
    run(main())
    assert caplog.text.count('pip install "actorsys[server]"') == 2


def test_without_jetstream_state_in_it_is_refused_clearly_and_messages_flow(run, folder):
    async def main():
        async with run_server(folder / "nats", jetstream=False) as server:
            async with Supervisor(nats={"url": server.url, "token": server.info.token}) as sup:
                counter = await sup.spawn(Counter, name="counter")
                await connected(sup, "counter")
                with pytest.raises(StartFailed, match="JetStream"):
                    await sup.spawn(Counter, name="kept", memory="nats_kv", restart={"max_restarts": 0})
                assert await counter.ask(Total()) == 0
                assert row(sup, "counter")["restarts"] == 0

    run(main())


def test_a_stream_that_captures_requests_is_reported(run, folder, caplog):
    async def main():
        async with run_server(folder / "nats") as server, NatsBus(server.options()) as bus:
            await bus.wait_connected(5.0)
            await bus.client.jetstream().add_stream(name="GREEDY", subjects=["agents.>"])
            async with Supervisor(nats={"url": server.url, "token": server.info.token}) as sup:
                await eventually(lambda: sup.presence.capturing == ["GREEDY"])
                assert "the JetStream stream GREEDY captures agents.request.>" in caplog.text

    run(main())
