import json

import pytest


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "kill"])
def test_agents_are_controlled_by_name(reach, server, verb):
    server.answer(verb, [{"name": "a", "state": "running", "pid": 7}, {"name": "b", "state": "stopped", "pid": None}])
    result = reach(verb, "a", "b")
    assert server.requests == [{"do": verb, "args": {"names": ["a", "b"]}}]
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["NAME  STATE    PID", "a     running  7", "b     stopped  -"]


def test_nothing_matched_is_exit_code_3(reach, server):
    server.answer("stop", [])
    result = reach("stop", "a", "b")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == "no agent is named a or b\nhint: `actorsys ps` lists all agents\n"


def test_the_outcome_is_json_for_programs(reach, server):
    rows = [{"name": "a", "state": "stopped", "pid": None}]
    server.answer("stop", rows)
    assert json.loads(reach("stop", "a", "-o", "json").stdout) == rows
