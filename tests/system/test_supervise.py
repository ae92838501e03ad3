"""The command `supervise` and those that talk to it."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from actorsys.testing.waiting import until

ROOT = Path(__file__).parents[2]

COUNTER = """
[nats]
mode = "off"
[agents.counter]
type = "system_agents:Counter"
memory = "sqlite"
"""


def processes_with(text):
    """Those whose command line or environment names `text`, dead ones aside."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join([*process.cmdline(), *process.environ().values()])
            if text in words and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            pass
    return found


@pytest.fixture
def marked(node):
    """A node whose processes, all of them, can be found by a word in their environment."""
    node.mark = f"node-{os.getpid()}-{time.monotonic_ns()}"
    node.env["ACTORSYS_TEST_NODE"] = node.mark
    yield node
    node.end()
    for process in processes_with(node.mark):
        process.kill()


def test_a_counter_goes_on_after_kill_9_and_why_says_what_happened(node):
    node.write(COUNTER)
    node.supervise()
    assert node.call("ask", "counter", "Add", "n=2") == "2\n"
    assert node.call("ask", "counter", "Add", "n=2") == "4\n"
    before = node.ps("counter")
    os.kill(before["pid"], signal.SIGKILL)
    after = node.wait_state("counter", restarts=1, state="running")
    assert after["pid"] != before["pid"]
    assert node.call("ask", "counter", "Add", "n=2") == "6\n"
    why = json.loads(node.call("why", "counter", "-o", "json"))
    (death,) = why["exits"]
    assert (death["reason"], death["signal"], death["pid"]) == ("killed", "SIGKILL", before["pid"])
    assert death["at"]
    assert death["decision"]
    text = node.call("why", "counter")
    assert "killed by SIGKILL" in text
    assert death["at"] in text
    assert death["decision"] in text


def test_json_is_strict_and_words_are_lenient(node):
    node.write(COUNTER)
    node.supervise()
    assert node.call("ask", "counter", "Add", "--json", '{"n": 2}') == "2\n"
    assert "n" in node.call("ask", "counter", "Add", "--json", '{"n": "2"}', code=1)
    assert "n" in node.call("ask", "counter", "Add", "n=two", code=1)
    assert node.call("ask", "counter", "--json", '{"type": "Add", "n": 2}') == "4\n"
    assert node.call("tell", "counter", "Add", "n=1") == ""
    assert node.call("ask", "counter", "Total") == "5\n"
    assert json.loads(node.call("state", "counter")) == {"total": 5}
    assert "Did you mean 'counter'" in node.call("ask", "conter", "Total", code=3)
    assert node.call("ask", "counter", "Add", "n=1", "seconds=0.5", "--timeout", "0.1", code=4)
    assert "5 is lost" in node.call("ask", "counter", "Lose", "n=5", code=1)


def test_stop_start_restart_and_kill(node):
    node.write(COUNTER)
    node.supervise()
    first = node.wait_state("counter", state="running")["pid"]
    node.call("stop", "counter")
    assert node.ps("counter")["state"] == "stopped"
    assert node.ps("counter")["pid"] is None
    node.call("tell", "counter", "Add", "n=3")
    node.call("start", "counter")
    assert node.call("ask", "counter", "Total") == "3\n"
    second = node.ps("counter")["pid"]
    node.call("restart", "counter")
    third = node.ps("counter")
    assert third["state"] == "running"
    node.call("kill", "counter")
    fourth = until(lambda: row if (row := node.ps("counter"))["pid"] not in (third["pid"], None) else None)["pid"]
    assert len({first, second, third["pid"], fourth}) == 4
    assert node.call("ask", "counter", "Total") == "3\n"
    death = json.loads(node.call("why", "counter", "-o", "json"))["exits"][-1]
    assert (death["reason"], death["signal"], death["detail"]) == ("killed", "SIGKILL", "by command")
    assert "by command" in node.call("why", "counter")
    assert "killed by SIGKILL" in node.call("ps")


def test_an_agent_that_does_not_stop_in_time_is_killed_and_why_says_so(node):
    node.write(
        '[nats]\nmode = "off"\n[agents.loop]\ntype = "system_agents:Mess"\nargs = { kind = "loop" }\nstop_timeout = "200ms"\n'
    )
    node.supervise()
    node.wait_all()
    pid = node.ps("loop")["pid"]
    until(lambda: psutil.Process(pid).cpu_times().user > 0.1)  # it loops
    node.call("stop", "loop")
    row = node.ps("loop")
    assert (row["state"], row["last_exit"]["reason"], row["last_exit"]["signal"]) == ("stopped", "killed", "SIGKILL")
    assert "did not stop in time" in node.call("why", "loop")
    assert "did not stop in time" in node.call("ps")


def test_an_agent_that_is_not_ready_in_time_is_killed_and_says_so(node):
    node.write(
        '[nats]\nmode = "off"\n[agents.slow]\ntype = "system_agents:SlowStart"\nargs = { path = "/nowhere/at/all", lives = 1 }\n'
        'start_timeout = "200ms"\nrestart = { max_restarts = 0 }\n'
    )
    node.supervise()
    row = node.wait_state("slow", state="failed")
    assert (row["last_exit"]["reason"], row["last_exit"]["signal"]) == ("start_timeout", "SIGKILL")
    assert "start timeout" in node.call("why", "slow")


def test_state_survives_the_supervisor(node):
    node.write(COUNTER)
    node.supervise()
    node.call("ask", "counter", "Add", "n=2")
    assert node.interrupt() == 0
    node.supervise()
    assert node.call("ask", "counter", "Add", "n=2") == "4\n"
    node.process.kill()
    node.process.wait()
    node.supervise()
    assert node.call("ask", "counter", "Add", "n=2") == "6\n"


def test_the_control_socket_is_for_its_owner_only(node):
    node.write(COUNTER)
    node.supervise()
    state_dir = node.folder / ".actorsys"
    control = state_dir / "control.sock"
    assert stat.S_ISSOCK(control.stat().st_mode)
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    node.call("ask", "counter", "Add", "n=2")
    for path in state_dir.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.parent != state_dir, path
    assert node.interrupt() == 0
    assert not control.exists()


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"{}\n", b'{"do": 5}\n', b'{"do": "fly"}\n', b'{"do": "ask", "args": {"n": 1}}\n', b"\xff\xfe\n"]
)
def test_nonsense_on_the_control_socket_is_answered_with_an_error(node, line):
    node.write(COUNTER)
    node.supervise()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(node.folder / ".actorsys" / "control.sock"))
        client.sendall(line)
        answer = json.loads(client.makefile("rb").readline())
    assert answer["ok"] is False
    assert answer["error"]["kind"] == "BadMessage"
    assert node.call("ask", "counter", "Total") == "0\n"


def test_a_second_supervisor_on_the_same_state_directory_is_refused(node, second):
    node.write(COUNTER)
    node.supervise()
    process = second.supervise(ready=None)
    assert process.wait(20) == 78
    assert f"another supervisor (pid {node.process.pid}) runs here" in second.output
    assert node.call("ask", "counter", "Total") == "0\n"


def test_ctrl_c_ends_three_agents_within_5_seconds_with_exit_0_and_nothing_left(marked):
    for name in ("agents.py", "agents.toml", "mock.toml"):
        shutil.copy(ROOT / "examples" / "three_agents" / name, marked.folder)
    marked.supervise()
    rows = marked.wait_all()
    assert len({row["pid"] for row in rows}) == 3
    assert [row["name"] for row in rows] == ["Weather-Bot", "General-Assistant", "Task-Coordinator"]
    assert processes_with(marked.mark)
    marked.wait_output(r"day \d+: \w+ will be", 1)
    assert "`actorsys" in marked.output
    assert "kill -9" in marked.output
    began = time.monotonic()
    assert marked.interrupt() == 0
    assert time.monotonic() - began < 5
    assert processes_with(marked.mark) == []
    assert sorted(path.name for path in (marked.folder / ".actorsys").iterdir()) == ["agents", "llm.json", "lock", "nats"]


def test_three_agents_keep_going_when_one_is_killed(node):
    for name in ("agents.py", "agents.toml", "mock.toml"):
        shutil.copy(ROOT / "examples" / "three_agents" / name, node.folder)
    text = node.folder / "agents.toml"
    text.write_text(text.read_text().replace("every = 2.0", "every = 0.1"))
    node.supervise()
    node.wait_all()
    for name in ("Weather-Bot", "General-Assistant", "Task-Coordinator"):
        os.kill(node.ps(name)["pid"], signal.SIGKILL)
        node.wait_state(name, restarts=1, state="running")
        days = len(node.wait_output(r"day \d+: \w+ will be"))
        node.wait_output(r"day \d+: \w+ will be", days + 3)
    node.end()
    assert [int(day) for day in node.wait_output(r"day (\d+): \w+ will be")] == sorted(
        {int(day) for day in node.wait_output(r"day (\d+): \w+ will be")}
    )


def test_the_second_ctrl_c_kills_at_once(marked):
    marked.write(
        '[nats]\nmode = "off"\n[agents.loop]\ntype = "system_agents:Mess"\nargs = { kind = "loop" }\nstop_timeout = "60s"\nhang_timeout = "60s"\n'
    )
    marked.supervise()
    marked.wait_all()
    marked.process.send_signal(signal.SIGINT)
    marked.wait_output("once more kills everything")
    began = time.monotonic()
    assert marked.interrupt() == 130
    assert time.monotonic() - began < 10
    until(lambda: processes_with(marked.mark) == [], 5)


MANY = '[nats]\nmode = "off"\n' + "".join(
    f'[agents.a{number}]\ntype = "system_agents:Mess"\nargs = {{ kind = "{kind}" }}\n'
    for number, kind in enumerate(["loop", "child", *["quiet"] * 18])
).replace('kind = "loop" }\n', 'kind = "loop" }\nstop_timeout = "300ms"\n')


def test_sigkill_of_the_supervisor_leaves_nothing_after_2_seconds(marked):
    marked.write(MANY)
    marked.supervise()
    pids = [row["pid"] for row in marked.wait_all()]
    assert len(pids) == 20
    sleeper = until(lambda: [process for process in processes_with(marked.mark) if process.name() == "sleep"])[0]
    assert os.getsid(sleeper.pid) == sleeper.pid
    until(lambda: psutil.Process(pids[0]).cpu_times().user > 0.1)  # it loops
    marked.process.kill()
    marked.process.wait()
    until(lambda: processes_with(marked.mark) == [], 2)


def test_ctrl_c_with_the_same_agents_leaves_nothing_either(marked):
    marked.write(MANY)
    marked.supervise()
    assert len(marked.wait_all()) == 20
    assert marked.interrupt() == 0
    assert processes_with(marked.mark) == []


def test_a_process_that_an_agent_left_is_gone_before_its_next_life(marked):
    marked.write(MANY)
    marked.supervise()
    pid = marked.wait_all()[1]["pid"]

    def sleepers():
        return [process.pid for process in processes_with(marked.mark) if process.name() == "sleep"]

    (before,) = sleepers()
    os.kill(pid, signal.SIGKILL)
    marked.wait_state("a1", restarts=1, state="running")
    (after,) = sleepers()
    assert after != before


def test_supervise_as_a_module_and_as_a_script_is_the_same():
    for argv in ([sys.executable, "-m", "actorsys"], [str(Path(sys.executable).parent / "actorsys")]):
        done = subprocess.run([*argv, "--help"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0
        assert "supervise" in done.stdout
