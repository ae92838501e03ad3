"""Reload: the difference is shown, exactly that is applied, and a file that is wrong changes nothing."""

import json
import signal

import pytest

from actorsys.testing.waiting import until

MODULE = """
from actorsys import Agent, Request, on

class Word(Request[str]):
    pass

class Speaker(Agent):
    def __init__(self, word: str = "none") -> None:
        self.word = word

    @on
    async def say(self, msg: Word) -> str:
        return f"{self.word} of {VERSION}"

VERSION = 1
"""

HEAD = '[nats]\nmode = "off"\n'


def agent(name, more=""):
    return f'[agents.{name}]\ntype = "speakers:Speaker"\n{more}\n'


@pytest.fixture
def speakers(node):
    (node.folder / "speakers.py").write_text(MODULE)
    return node


def pids(node):
    return {row["name"]: row["pid"] for row in node.wait_all()}


def word(node, name):
    return json.loads(node.call("ask", name, "Word"))


def test_one_restarts_one_stops_one_starts_and_two_keep_running(speakers):
    """C11, and A08: it costs nothing of a limit."""
    node = speakers
    node.write(
        HEAD + agent("same") + agent("held", 'hang_timeout = "20s"') + agent("args", 'args = { word = "a" }') + agent("old")
    )
    node.supervise()
    before = pids(node)
    assert node.call("reload") == ""
    node.write(
        HEAD + agent("same") + agent("held", 'hang_timeout = "10s"') + agent("args", 'args = { word = "b" }') + agent("new")
    )
    planned = node.call("reload", "--plan").splitlines()
    assert planned == [
        "- old/0  not in the file any more",
        "~ held/0  hang_timeout: 20.0 -> 10.0",
        "~ args/0  restart  args.word: 'a' -> 'b'",
        "+ new/0",
    ]
    assert pids(node) == before
    assert node.call("reload").splitlines() == planned
    until(lambda: {row["name"]: row["state"] for row in node.ps()} == dict.fromkeys(["same", "held", "args", "new"], "running"))
    after = pids(node)
    assert {name for name in before if after.get(name) == before[name]} == {"same", "held"}
    assert word(node, "args") == "b of 1"
    assert {row["restarts"] for row in node.ps()} == {0}
    assert json.loads(node.call("why", "args", "-o", "json"))["exits"][-1]["reason"] == "shutdown"
    assert node.call("reload") == ""


def test_replicas_are_added_and_removed_and_the_others_keep_running(speakers):
    """C12"""
    node = speakers
    before = {}
    for count in (3, 5, 2):
        node.write(HEAD + agent("a", f"replicas = {count}"))
        if not before:
            node.supervise()
        else:
            signs = {line[0] for line in node.call("reload").splitlines()}
            assert signs == {"+" if count == 5 else "-"}
        until(lambda count=count: len(node.ps()) == count)
        now = pids(node)
        assert set(now) == {f"a/{number}" for number in range(count)}
        assert all(now[name] == before[name] for name in now if name in before)
        before = now


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + agent("a", "replcas = 2"), ("replcas", "replicas")),
        (HEAD + '[agents.a]\ntype = "no_such_module:Class"\n', ("agents.a", "no_such_module")),
        (HEAD + agent("a", 'args = { wrod = "x" }'), ("agents.a", "wrod")),
        ("[agents", ("agents.toml",)),
    ],
    ids=["key", "module", "args", "syntax"],
)
def test_a_file_that_is_wrong_changes_nothing_and_says_why(speakers, text, words):
    """C11"""
    node = speakers
    node.write(HEAD + agent("a") + agent("b"))
    node.supervise()
    before = pids(node)
    node.write(text)
    for arguments in (["reload", "--plan"], ["reload"]):
        said = node.call(*arguments, code=78)
        for part in words:
            assert part in said
    node.process.send_signal(signal.SIGHUP)
    node.wait_output("SIGHUP: the configuration was not applied")
    assert pids(node) == before
    node.write(HEAD + agent("a") + agent("b") + agent("c"))
    node.call("reload")
    assert set(pids(node)) == {"a", "b", "c"}


def test_sighup_reloads_and_a_module_is_read_as_it_is_on_disk_now(speakers):
    node = speakers
    node.write(HEAD + agent("stays") + agent("changes", 'args = { word = "a" }'))
    node.supervise()
    before = pids(node)
    (node.folder / "speakers.py").write_text(MODULE.replace("VERSION = 1", "VERSION = 2"))
    node.write(HEAD + agent("stays") + agent("changes", 'args = { word = "b" }'))
    node.process.send_signal(signal.SIGHUP)
    node.wait_output("reload: ~ changes")
    until(lambda: pids(node)["changes"] != before["changes"])
    assert word(node, "changes") == "b of 2"
    assert word(node, "stays") == "none of 1"
    assert pids(node)["stays"] == before["stays"]
    node.call("restart", "stays")
    assert word(node, "stays") == "none of 2"


def test_a_changed_module_alone_is_read_by_a_fresh_agent_or_with_the_next_difference(speakers):
    """Nothing differs in the file, so nothing is restarted; the code of a running agent is not replaced under it."""
    node = speakers
    node.write(HEAD + agent("a") + agent("fresh", 'launch = "fresh"'))
    node.supervise()
    before = pids(node)
    (node.folder / "speakers.py").write_text("this is no Python")
    assert "a" in node.call("reload", code=78)
    (node.folder / "speakers.py").write_text(MODULE.replace("VERSION = 1", "VERSION = 2"))
    node.call("reload")
    assert pids(node) == before
    assert word(node, "a") == "none of 1"
    node.call("restart", "a", "fresh")
    assert (word(node, "a"), word(node, "fresh")) == ("none of 1", "none of 2")
    node.write(HEAD + agent("a") + agent("fresh", 'launch = "fresh"') + agent("new"))
    node.call("reload")
    node.wait_all()
    node.call("restart", "a")
    assert (word(node, "a"), word(node, "new")) == ("none of 2", "none of 2")
