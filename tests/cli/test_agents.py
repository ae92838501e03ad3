"""`agents` and `nats`: what they find, with and without a supervisor's server."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from actorsys.comms import AgentComms, NatsConfig
from actorsys.testing.nats import require_server, run_server


class Bee(AgentComms):
    def __init__(self, name):
        self.name = name
        super().__init__()

    def run(self, message):
        return message


WHERE = {
    "urls": ["nats://127.0.0.1:4333"],
    "websocket_urls": [],
    "monitoring_urls": ["http://127.0.0.1:8333"],
    "token": "geheim",
}


def write(folder, where):
    (folder / ".actorsys").mkdir()
    (folder / ".actorsys/nats.json").write_text(where if isinstance(where, str) else json.dumps(where))


@asynccontextmanager
async def bees(folder):
    """Two agents on two nodes, and their server."""
    require_server()
    async with run_server(folder / "server", token="t") as server:
        made = {"ant": ("a", ["dig"], ""), "bee": ("b", ["fly", "hum"], "a bee")}
        agents = []
        for name, (node, capabilities, description) in made.items():
            agents.append(Bee(name))
            config = NatsConfig(server.url, options=server.options(), node=node)
            await agents[-1].connect_nats(config=config, capabilities=capabilities, description=description)
        yield server
        for agent in agents:
            await agent.disconnect_nats()


def with_bees(folder, body):
    """Run `body(server)`, which blocks, beside the two agents."""

    async def main():
        async with bees(folder) as server:
            return await asyncio.to_thread(body, server)

    return asyncio.run(main())


@pytest.mark.slow
def test_agents_lists_who_answers(run, tmp_path):
    def body(server):
        url = server.url.replace("://", "://t@")
        return run("agents", "--url", url, "-o", "json"), run("agents", "--url", url, "--capability", "hum")

    as_json, as_table = with_bees(tmp_path, body)
    assert as_json.exit_code == 0, as_json.stderr
    ant, bee = json.loads(as_json.stdout)
    assert list(bee) == ["name", "node", "status", "capabilities", "description", "instance", "last_seen_s"]
    assert (ant["name"], ant["node"], ant["capabilities"]) == ("ant", "a", ["dig"])
    assert (bee["name"], bee["status"], bee["description"]) == ("bee", "idle", "a bee")
    head, row = as_table.stdout.splitlines()
    assert head.split() == ["NAME", "NODE", "STATUS", "CAPABILITIES", "DESCRIPTION", "SEEN"]
    assert row.split()[:6] == ["bee", "b", "idle", "fly,hum", "a", "bee"]
    assert as_table.stderr == "1 agent on 1 node\n"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["environment", "its supervisor", "config"])
def test_agents_finds_the_server_by_itself(run, tmp_path, monkeypatch, how):
    def body(server):
        if how == "environment":
            monkeypatch.setenv("NATS_URL", server.url.replace("://", "://t@"))
        elif how == "config":
            url = server.url.replace("://", "://t@")
            (tmp_path / "agents.toml").write_text(f'[nats]\nmode = "external"\nurl = "{url}"\n')
        else:
            write(tmp_path, {**WHERE, "urls": [server.url], "token": "t"})
        return run("-o", "jsonl", "agents")

    result = with_bees(tmp_path, body)
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == ["ant", "bee"]


@pytest.mark.slow
def test_nobody_there_is_no_error(run, tmp_path):
    async def main():
        require_server()
        async with run_server(tmp_path / "server", token="t") as server:
            url = server.url.replace("://", "://t@")
            return await asyncio.to_thread(run, "agents", "--url", url, "--wait", "50ms")

    result = asyncio.run(main())
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "0 agents\n")


def test_without_any_server_agents_says_how_to_name_one(run):
    result = run("agents")
    assert (result.exit_code, result.stdout) == (69, "")
    assert "no NATS server is known: no --url, no NATS_URL, no url in [nats], and no supervisor that runs one" in result.stderr
    assert "`actorsys agents --url nats://HOST:4222`" in result.stderr


def test_a_server_that_does_not_answer_is_unreachable(run, monkeypatch):
    monkeypatch.setattr("actorsys.cli.agents.CONNECT_TIMEOUT", 0.05)
    result = run("agents", "--url", "nats://secret@127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (69, "")
    assert "is not connected" in result.stderr
    assert "secret" not in result.stderr


@pytest.mark.parametrize("words", [("--url", "http://x"), ("--wait", "soon"), ("--wait", "")])
def test_a_wrong_option_is_a_usage_error(run, words):
    result = run("agents", *words)
    assert (result.exit_code, result.stdout) == (2, "")


def test_nats_shows_where_it_is_without_the_secret(run, tmp_path):
    write(tmp_path, WHERE)
    result = run("nats")
    assert result.stdout.splitlines() == [
        "urls              nats://127.0.0.1:4333",
        "websocket_urls    -",
        "monitoring_urls   http://127.0.0.1:8333",
        f"credentials_file  {tmp_path / '.actorsys/nats.json'}",
    ]
    assert json.loads(run("nats", "-o", "json").stdout)["urls"] == ["nats://127.0.0.1:4333"]
    assert "geheim" not in result.output + run("nats", "-o", "json").output


def test_nats_shows_secrets_only_when_asked(run, tmp_path):
    write(tmp_path, WHERE)
    facts = json.loads(run("nats", "--show-secrets", "-o", "json").stdout)
    assert (facts["token"], facts["nats_url"]) == ("geheim", "nats://geheim@127.0.0.1:4333")


@pytest.mark.parametrize("where", [None, "{", '{"urls": 3}'])
def test_nats_without_a_server_is_unreachable(run, tmp_path, where):
    if where:
        write(tmp_path, where)
    result = run("nats")
    assert (result.exit_code, result.stdout) == (69, "")
    assert "nats.json" in result.stderr
