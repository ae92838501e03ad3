"""A broken configuration: one line for each problem, exit 78, nothing started."""

import json

import pytest

GOOD = 'type = "system_agents:Counter"\n'
MODULES = {
    "raises.py": "raise RuntimeError('no database here')\n",
    "empty.py": "class Thing: pass\n",
}

BROKEN = {
    "an unknown key": ("[agents.counter]\n" + GOOD + "replcas = 2\n", ["agents.counter.replcas", "replicas"]),
    "a wrong type": ("[agents.counter]\n" + GOOD + 'concurrency = "two"\n', ["agents.counter.concurrency"]),
    "a class that is not there": ('[agents.counter]\ntype = "system_agents:Conter"\n', ["agents.counter.type", "Conter"]),
    "a module that is not there": ('[agents.counter]\ntype = "no_such_module:A"\n', ["agents.counter.type", "no_such_module"]),
    "a module that raises": ('[agents.counter]\ntype = "raises:A"\n', ["agents.counter.type", "RuntimeError: no database here"]),
    "a class that is no agent": ('[agents.counter]\ntype = "empty:Thing"\n', ["agents.counter.type", "must subclass Agent"]),
    "arguments the class does not take": ("[agents.counter]\n" + GOOD + "args = { strat = 5 }\n", ["counter", "strat"]),
    "a duplicate name": ("[agents.counter]\n" + GOOD + "[agents.counter]\n" + GOOD, ["agents.counter", "twice"]),
    "two names with one token": ("[agents.a-b]\n" + GOOD + "[agents.A_b]\n" + GOOD, ["a-b", "A_b"]),
    "a bad duration": (
        "[agents.counter]\n" + GOOD + 'stop_timeout = "5 parsecs"\n',
        ["agents.counter.stop_timeout", "5 parsecs"],
    ),
    "no TOML": ("[agents.counter\n", ["agents.toml:1"]),
}


@pytest.mark.parametrize("command", ["supervise", "check"])
@pytest.mark.parametrize(("text", "words"), BROKEN.values(), ids=[name.replace(" ", "-") for name in BROKEN])
def test_one_line_and_exit_78(node, command, text, words):
    for name, module in MODULES.items():
        (node.folder / name).write_text(module)
    node.write('[nats]\nmode = "off"\n' + text if text.startswith("[agents.counter]\n") else text)
    if command == "supervise":
        assert node.supervise(ready=None).wait(30) == 78
        output = node.output
    else:
        output = node.call("check", code=78)
    lines = [line for line in output.splitlines() if not line.startswith(("1 error", "hint: "))]
    assert len(lines) == 1, output
    assert lines[0].startswith(("agents.toml", str(node.file)))
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in output


def test_all_problems_are_told_at_once(node):
    node.write("[agents.one]\n" + GOOD + "replcas = 2\n[agents.two]\n" + GOOD + 'stop_timeout = "soon"\n')
    lines = node.call("check", code=78).splitlines()
    assert any("agents.one.replcas" in line for line in lines)
    assert any("agents.two.stop_timeout" in line for line in lines)
    assert any(line.startswith("2 errors") for line in lines)


def test_a_good_file_is_accepted_by_check_and_nothing_is_started(node):
    node.write('[nats]\nmode = "off"\n[agents.counter]\n' + GOOD)
    node.call("check")
    assert not (node.folder / ".actorsys" / "control.sock").exists()


def test_an_agent_that_does_not_start_is_shown_as_failed_and_the_others_run(node):
    node.write(
        '[nats]\nmode = "off"\n[agents.counter]\n'
        + GOOD
        + '[agents.bad]\ntype = "system_agents:BadStart"\nrestart = { max_restarts = 0 }\n'
    )
    node.supervise()
    row = node.wait_state("bad", state="failed")
    assert row["last_exit"]["reason"] == "start_failed"
    assert node.call("ask", "counter", "Total") == "0\n"
    (death,) = json.loads(node.call("why", "bad", "-o", "json"))["exits"]
    assert "RuntimeError: cannot start today" in death["traceback"]
