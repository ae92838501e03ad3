"""Built-in agents from agents.toml alone: with no code, no key and no network but NATS on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from typing import Any

import nats
import pytest

from actorsys.testing.nats import require_server

AGENTS = """
[defaults]
memory = "sqlite"

[agents.notes]
type = "generic"
description = "keeps notes"

[agents.summarizer]
type = "summarizer"
description = "writes a summary of texts"

[agents.coordinator]
type = "workflow_coordinator"

[agents.helper]
type = "ooda"
args = { instructions = "You help.", agents = ["notes"] }
"""
SUMMARIZE = {"llm_task": "summarize", "data": [{"title": "Bees", "content": "They dance. They hum.", "source": "a book"}]}
PLAN = {
    "llm_task": "plan_workflow",
    "task_description": "write a summary of it, then keep notes",
    "available_agents": ["summarizer", {"name": "notes", "description": "keeps notes"}],
}


@pytest.fixture
def built_ins(node):
    require_server()
    node.write(AGENTS)
    node.supervise()
    for name in ("notes", "summarizer", "coordinator", "helper"):
        node.wait_state(name, state="running", nats="connected")
    return node


def asked(node: Any, name: str, content: Any) -> Any:
    return json.loads(node.call("ask", name, "--json", json.dumps(content)))


def over_nats(node: Any, **contents: Any) -> dict[str, Any]:
    """What a plain client gets for a request to each of these agents."""
    where = json.loads((node.folder / ".actorsys" / "nats.json").read_text())

    async def main() -> dict[str, Any]:
        client = await nats.connect(where["urls"], token=where["token"])
        answers = {}
        for name, content in contents.items():
            envelope = {
                "message_type": "request", "from_agent": "tester", "to_agent": name, "content": content, "metadata": {},
                "timestamp": "2026-01-02T03:04:05Z", "message_id": str(uuid.uuid4()), "in_reply_to": None, "priority": 3,
            }  # fmt: skip
            answers[name] = json.loads(
                (await client.request(f"agents.request.{name}", json.dumps(envelope).encode(), timeout=20)).data
            )
        await client.close()
        return answers

    return asyncio.run(main())


def test_the_command_line_has_them_do_their_work(built_ins):
    assert asked(built_ins, "notes", {"a": [1]}) == {"a": [1]}
    assert asked(built_ins, "summarizer", SUMMARIZE) == "Bees: They dance."
    assert json.loads(built_ins.call("state", "summarizer")) == {"last_summary": "Bees: They dance."}
    plan = asked(built_ins, "coordinator", PLAN)
    assert [(step["agent"], step["depends_on"]) for step in plan["steps"]] == [("summarizer", []), ("notes", ["step1"])]
    assert json.loads(built_ins.call("state", "coordinator")) == {"workflow_plan": plan}
    outcome = asked(built_ins, "coordinator", {"llm_task": "run_workflow"})
    assert (outcome["status"], outcome["summary"]) == ("done", "2 of 2 steps done")
    assert asked(built_ins, "helper", "All is well.") == "All is well."
    refused = built_ins.call("ask", "summarizer", "--json", '{"llm_task": "summarize", "data": [{}]}', code=1)
    assert "data[0].content" in refused


def test_a_plain_nats_client_has_them_do_their_work(built_ins):
    answers = over_nats(built_ins, notes="hello", summarizer=SUMMARIZE, coordinator=PLAN, helper="All is well.")
    assert {name: answer["message_type"] for name, answer in answers.items()} == dict.fromkeys(answers, "response")
    assert answers["notes"]["content"] == "hello"
    assert answers["summarizer"]["content"] == "Bees: They dance."
    assert len(answers["coordinator"]["content"]["steps"]) == 2
    assert answers["helper"]["content"] == "All is well."
    assert json.loads(built_ins.call("state", "helper"))["history"][0]["content"] == "tester says:\n\nAll is well."
    answer = over_nats(built_ins, summarizer={"llm_task": "summarize", "data": [{"title": "Bees"}]})["summarizer"]
    assert (answer["message_type"], answer["content"]["kind"]) == ("error", "BadMessage")
    assert "data[0].content" in json.dumps(answer["content"])


def test_a_plan_may_use_every_agent_that_is_there(built_ins):
    plan = asked(built_ins, "coordinator", {"llm_task": "plan_workflow", "task_description": "keep notes"})
    assert [step["agent"] for step in plan["steps"]] == ["notes"]


def test_what_they_know_survives_their_death(built_ins):
    asked(built_ins, "summarizer", SUMMARIZE)
    asked(built_ins, "helper", "Remember this.")
    for name in ("summarizer", "helper"):
        os.kill(built_ins.ps(name)["pid"], signal.SIGKILL)
        built_ins.wait_state(name, restarts=1, state="running")
    assert json.loads(built_ins.call("state", "summarizer")) == {"last_summary": "Bees: They dance."}
    asked(built_ins, "helper", "And this.")
    said = [each["content"] for each in json.loads(built_ins.call("state", "helper"))["history"]]
    assert said == ["Remember this."] * 2 + ["And this."] * 2
