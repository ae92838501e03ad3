import json
from datetime import timedelta

from actorsys.clock import wall


def row(name, **more):
    return {
        "name": name,
        "type": "shop.agents:Counter",
        "state": "running",
        "pid": 4121,
        "uptime_s": 134.0,
        "restarts": 0,
        "mailbox": 7,
        "in_flight": 0,
        "handled": 12,
        "failed": 0,
        "dead_letters": 0,
        "rss_bytes": 2_600_000,
        "nats": "off",
        "last_exit": None,
        **more,
    }


def killed(**more):
    at = (wall() - timedelta(seconds=14.1)).isoformat()
    return {"reason": "killed", "exit_code": None, "signal": "SIGKILL", "at": at, "traceback": None, **more}


def test_ps_shows_a_table_and_sums_it_up_beside_the_data(reach, server):
    down = row("b", state="backoff", pid=None, uptime_s=None, rss_bytes=None, last_exit=killed(), note="retry in 3.2s")
    server.answer("ps", [row("counter"), row("c"), down])
    result = reach("ps")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "NAME     TYPE     STATE    PID   UP     RESTARTS  MAILBOX  HANDLED  RSS     NATS  LAST",
        "counter  Counter  running  4121  2m14s  0         7        12       2.5MiB  off",
        "c        Counter  running  4121  2m14s  0         7        12       2.5MiB  off",
        "b        Counter  backoff  -     -      0         7        12       -       off   killed by SIGKILL 14s ago, retry in 3.2s",
    ]
    assert result.stderr == "3 agents: 2 running, 1 backoff\n"


def test_ps_is_json_for_programs(reach, server):
    rows = [row("a", last_exit=killed()), row("b")]
    server.answer("ps", rows)
    assert json.loads(reach("ps", "-o", "json").stdout) == rows
    assert [json.loads(line) for line in reach("ps", "-o", "jsonl").stdout.splitlines()] == rows
    assert reach("ps", "-o", "json").stderr == ""


def test_ps_of_names_that_nobody_has_is_exit_code_3(reach, server):
    server.answer("ps", [])
    assert reach("ps", "x").exit_code == 3
    assert server.requests[-1]["args"] == {"names": ["x"]}
    assert reach("ps").exit_code == 0


def test_what_an_agent_said_cannot_forge_the_table(reach, server):
    server.answer("ps", [row("a", last_exit=killed(reason="crashed", detail="\x1b[2J\rroot"))])
    line = reach("ps").stdout.splitlines()[1]
    assert "crashed: \\x1b[2J\\rroot" in line


def test_why_tells_the_story_of_each_death_the_newest_last(reach, server):
    first = killed(
        uptime_s=134.0,
        pid=17,
        incarnation=1,
        decision="restarted at once",
        message="m1 Add",
        output=["one", "\x1btwo"],
        detail="",
    )
    second = killed(
        reason="crashed", signal=None, exit_code=1, detail="KeyError: 'x'", traceback="Traceback:\n  boom\n", uptime_s=1.0
    )
    server.answer("why", {"name": "a", "state": "running", "exits": [first, second]})
    assert reach("why", "a").stdout.splitlines() == [
        "a is running; 2 deaths, the newest last",
        "",
        "1. killed by SIGKILL",
        f"   when       {first['at']} (14s ago)",
        "   life       incarnation 1, pid 17, up 2m14s",
        "   decision   restarted at once",
        "   message    m1 Add",
        "   last output",
        "     | one",
        "     | \\x1btwo",
        "",
        "2. crashed: KeyError: 'x'",
        f"   when       {second['at']} (14s ago)",
        "   life       up 1s",
        "   traceback",
        "     Traceback:",
        "       boom",
    ]


def test_why_of_an_agent_that_never_died_says_so(reach, server):
    server.answer("why", {"name": "a", "state": "running", "exits": []})
    result = reach("why", "a")
    assert (result.exit_code, result.stdout) == (0, "a is running and has not died since this supervisor started\n")


def test_why_is_json_for_programs(reach, server):
    data = {"name": "a", "state": "running", "exits": [killed(), killed()]}
    server.answer("why", data)
    assert json.loads(reach("why", "a", "-o", "json").stdout) == data
    assert [json.loads(line) for line in reach("why", "a", "-o", "jsonl").stdout.splitlines()] == data["exits"]


def test_state_is_printed_as_json(reach, server):
    server.answer("state", {"total": 5})
    assert reach("state", "a").stdout == '{"total":5}\n'
    assert server.requests == [{"do": "state", "args": {"name": "a"}}]
