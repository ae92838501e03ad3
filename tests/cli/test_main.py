import os
import subprocess
import sys
from importlib import import_module

import click
import pytest

from actorsys import __version__
from actorsys.cli.main import COMMANDS


def test_version(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"actorsys {__version__}\n")


def test_help_lists_every_command(run):
    assert all(f"\n  {name} " in run("--help").stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_explains_itself(run, name):
    assert isinstance(getattr(import_module(f"actorsys.cli.{COMMANDS[name][0]}"), name.replace("-", "_")), click.Command)
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Usage: actorsys" in result.stdout


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["pss"], ["error: there is no command 'pss'. Did you mean 'ps'?", "hint: `actorsys --help` shows what it takes"]),
        (["why"], ["error: Missing argument 'NAME'.", "hint: `actorsys why --help` shows what it takes"]),
        (["ps", "--jsn"], ["error: No such option '--jsn'.", "hint: `actorsys ps --help` shows what it takes"]),
    ],
)
def test_a_command_line_that_cannot_be_read_says_what_to_do(run, words, lines):
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == lines


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("UnknownAgent", 3),
        ("AskTimeout", 4),
        ("Unreachable", 69),
        ("ConfigError", 78),
        ("AgentDown", 1),
        ("BadMessage", 1),
        ("MailboxFull", 1),
        ("RemoteError", 1),
        ("StartFailed", 1),
        ("NoSuchKind", 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code_and_a_hint(reach, server, kind, code):
    server.fail("state", kind, "it went wrong")
    result = reach("state", "a")
    assert (result.exit_code, result.stdout) == (code, "")
    assert "it went wrong" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("hint: ")


def test_no_supervisor_is_exit_code_69(run):
    result = run("ps")
    assert result.exit_code == 69
    first, hint = result.stderr.splitlines()
    assert first.startswith("error: no supervisor answers at ")
    assert first.endswith("control.sock: there is no such socket")
    assert hint.startswith("hint: start one with `actorsys supervise agents.toml`")


def test_options_can_stand_before_and_after_the_command(run, server):
    server.answer("ps", [])
    for words in (["--socket", server.path, "-o", "json", "ps"], ["ps", "--socket", server.path, "-o", "json"]):
        assert run(*words).stdout == "[]\n"
    assert run("ps", env={"ACTORSYS_SOCKET": str(server.path), "ACTORSYS_OUTPUT": "json"}).stdout == "[]\n"


def test_a_reader_that_leaves_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "actorsys", "--help"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_imports_neither_asyncio_nor_the_supervisor():
    program = "import sys; from actorsys.cli.main import cli; cli.main(['--help'], standalone_mode=False); "
    program += "print([name for name in sys.modules if name in ('asyncio', 'nats', 'uvloop') or 'supervision' in name])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
