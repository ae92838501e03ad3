import socket
import threading

import pytest

from actorsys.cli.client import Client
from actorsys.errors import AskTimeout, RemoteError, Unreachable


def test_a_call_is_one_line_there_and_one_back(server):
    server.answer("ps", [{"name": "a"}])
    assert Client(server.path).call("ps", {"names": ["a"]}) == [{"name": "a"}]
    assert server.requests == [{"do": "ps", "args": {"names": ["a"]}}]


def test_a_large_answer_arrives_whole(server):
    server.answer("state", {"text": "x" * 1_000_000})
    assert len(Client(server.path).call("state")["text"]) == 1_000_000


def test_an_error_of_the_supervisor_is_raised_here(server):
    server.fail("ask", "RemoteError", "no such key", type="KeyError", traceback="Traceback ...")
    with pytest.raises(RemoteError, match="KeyError: no such key") as caught:
        Client(server.path).call("ask")
    assert caught.value.traceback == "Traceback ..."


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed the connection before it had answered"),
        (b'{"ok": tr', "closed the connection before it had answered"),
        (b"hello\n", "no supervisor of this version"),
        (b'{"ok": 1}\n', "no supervisor of this version"),
        (b'{"ok": true, "data": "\xff"}\n', "no supervisor of this version"),
    ],
)
def test_a_broken_answer_is_unreachable(server, answer, text):
    server.answers["ps"] = answer
    with pytest.raises(Unreachable, match=text):
        Client(server.path).call("ps")


def test_a_supervisor_that_says_nothing_is_a_timeout(server):
    done = threading.Event()
    server.RequestHandlerClass = type("Silent", (server.RequestHandlerClass,), {"handle": lambda self: done.wait(10)})
    try:
        with pytest.raises(AskTimeout, match=r"did not answer within 0\.05 s"):
            Client(server.path).call("ps", timeout=0.05)
    finally:
        done.set()


def test_a_socket_without_its_supervisor_is_unreachable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind("old.sock")
    with pytest.raises(Unreachable, match="the one that made this socket is gone"):
        Client(tmp_path.__class__("old.sock")).call("ps")


def test_a_path_that_is_too_long_is_unreachable(tmp_path):
    with pytest.raises(Unreachable, match="too long"):
        Client(tmp_path / ("x" * 200)).call("ps")
