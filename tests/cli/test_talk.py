import json

import pytest


def test_ask_sends_fields_as_text_and_prints_the_reply(reach, server):
    server.answer("ask", 2)
    result = reach("ask", "counter", "Add", "n=2", "note=a=b", "--timeout", "500ms", "--priority", "1")
    assert (result.exit_code, result.stdout) == (0, "2\n")
    assert server.requests[0]["args"] == {
        "name": "counter",
        "type": "Add",
        "payload": {"n": "2", "note": "a=b"},
        "lenient": True,
        "timeout": 0.5,
        "priority": 1,
    }


def test_json_is_sent_strictly_as_it_is(reach, server, tmp_path):
    server.answer("ask", {"total": 2})
    (tmp_path / "add.json").write_text('{"n": 2}')
    for source, stdin in (('{"n": 2}', ""), ("@add.json", ""), ("-", '{"n": 2}')):
        assert reach("ask", "counter", "Add", "--json", source, input=stdin).stdout == '{"total":2}\n'
        args = server.requests[-1]["args"]
        assert (args["type"], args["payload"], args["lenient"]) == ("Add", {"n": 2}, False)


def test_without_a_type_plain_json_is_sent(reach, server):
    server.answer("ask", None)
    assert reach("ask", "counter", "--json", '"hello"').stdout == "null\n"
    assert server.requests[-1]["args"]["type"] is None
    assert server.requests[-1]["args"]["payload"] == "hello"


def test_tell_prints_nothing(reach, server):
    server.answer("tell", None)
    result = reach("tell", "counter", "Reset")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert server.requests[0]["args"]["payload"] == {}


def test_the_traceback_of_the_other_agent_is_shown_before_the_error(reach, server):
    server.fail("ask", "RemoteError", "x", type="KeyError", traceback="Traceback:\n  boom\n")
    assert reach("ask", "a", "Add").stderr.splitlines()[:3] == ["  Traceback:", "    boom", "error: KeyError: x"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["a"], "nothing to send: give a TYPE, FIELD=VALUE, or --json"),
        (["a", "Add", "n"], "'n' is not FIELD=VALUE"),
        (["a", "Add", "=1"], "'=1' is not FIELD=VALUE"),
        (["a", "Add", "n=1", "n=2"], "n is given twice"),
        (["a", "Add", "n=1", "--json", "{}"], "give the content either as FIELD=VALUE or with --json, not both"),
        (["a", "--json", "{"], "--json is not valid JSON: Input data was truncated"),
        (["a", "--json", "@gone"], "--json @gone: No such file or directory"),
        (["a", "Add", "--timeout", "soon"], "Invalid value for '--timeout': 'soon' is not a duration"),
        (["a", "Add", "--priority", "6"], "Invalid value for '--priority': 6 is not in the range 1<=x<=5."),
    ],
)
def test_a_message_that_cannot_be_read_is_a_usage_error(reach, server, words, error):
    result = reach("ask", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {error}")
    assert server.requests == []


def test_a_reply_may_be_any_json(reach, server):
    for reply in ([1, "ü"], "text", 1.5, None):
        server.answer("ask", reply)
        assert json.loads(reach("ask", "a", "Get").stdout) == reply
