import http.client
import json
import subprocess
import sys
import threading
import time

import pytest

from actorsys.testing.llm import Answer, FakeAnthropic, FakeOpenAI, refusal
from actorsys.testing.waiting import until


def post(fake, path, body, key="k"):
    """One request, as a program without any SDK would make it."""
    host = fake.url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        headers = {"authorization": f"Bearer {key}", "x-api-key": key, "content-type": "application/json"} if key else {}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
RESPONSES = {"model": "m", "input": [{"role": "user", "content": "hi"}]}
MESSAGES = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
APIS = [
    (FakeOpenAI, "/v1/chat/completions", CHAT),
    (FakeOpenAI, "/v1/responses", RESPONSES),
    (FakeAnthropic, "/v1/messages", MESSAGES),
]


@pytest.mark.parametrize(("kind", "path", "body"), APIS)
def test_it_echoes_and_records_what_came(kind, path, body):
    with kind() as fake:
        before = time.monotonic()
        status, text, _ = post(fake, path, body)
        assert status == 200
        assert "echo: hi" in text
        [request] = fake.requests
        assert (request.path, request.body, request.asked, request.outcome) == (path, body, "hi", "answered")
        assert before <= request.at <= time.monotonic()
        assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("kind", "path", "body"), APIS)
def test_a_stream_is_server_sent_events(kind, path, body):
    with kind() as fake:
        _, text, headers = post(fake, path, {**body, "stream": True})
        assert headers["content-type"].startswith("text/event-stream")
        data = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        assert len(data) > 2
        assert ("event: " in text) == (path != "/v1/chat/completions")
        assert text.endswith("data: [DONE]\n\n") == (path == "/v1/chat/completions")


@pytest.mark.parametrize(("kind", "path", "body"), APIS)
def test_it_refuses_what_the_real_one_refuses(kind, path, body):
    with kind(key="right") as fake:
        wrong_model = {name: value for name, value in body.items() if name != "model"}
        assert [
            post(fake, path, body, key="")[0],
            post(fake, path, body, key="wrong")[0],
            post(fake, path, wrong_model, key="right")[0],
            post(fake, "/v1/elsewhere", body, key="right")[0],
            post(fake, path, body, key="right")[0],
        ] == [401, 401, 400, 404, 200]


def test_results_without_their_call_are_refused():
    with FakeOpenAI() as fake:
        orphan = [*CHAT["messages"], {"role": "tool", "tool_call_id": "a", "content": "1"}]
        assert post(fake, "/v1/chat/completions", {**CHAT, "messages": orphan})[0] == 400
        unanswered = [
            *CHAT["messages"],
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]},
        ]
        assert post(fake, "/v1/chat/completions", {**CHAT, "messages": unanswered})[0] == 400


def test_the_script_is_played_in_order_then_the_rule_of_the_house_holds():
    with FakeOpenAI() as fake:
        fake.script(Answer("one"), refusal(429, retry_after=3))
        first, second, third = (post(fake, "/v1/chat/completions", CHAT) for _ in range(3))
        assert "one" in first[1]
        assert (second[0], second[2]["retry-after"], second[2]["x-request-id"]) == (429, "3", "req_2")
        assert "echo: hi" in third[1]


def test_a_rule_is_asked_before_the_script():
    with FakeOpenAI() as fake:
        fake.rule = lambda request: Answer(f"number {request.number}") if request.number == 2 else None
        fake.script(Answer("scripted"))
        assert ["number 2" in post(fake, "/v1/chat/completions", CHAT)[1] for _ in range(3)] == [False, True, False]


def test_requests_are_held_until_they_are_released_one_by_one_or_all():
    with FakeOpenAI() as fake:
        fake.hold()
        threads = [threading.Thread(target=post, args=(fake, "/v1/chat/completions", CHAT)) for _ in range(3)]
        for thread in threads:
            thread.start()
        fake.wait_requests(3)
        assert len(fake.waiting()) == 3
        fake.release(1)
        until(lambda: len(fake.waiting()) == 2)
        fake.release()
        for thread in threads:
            thread.join(10)
        assert fake.waiting() == []


def test_a_client_that_dies_while_its_call_is_held_is_lost_and_counted():
    with FakeOpenAI() as fake:
        fake.hold()
        program = f'import urllib.request as u; u.urlopen(u.Request(\'{fake.url}/chat/completions\', b\'{{"model": "m", "messages": [{{"role": "user", "content": "hi"}}]}}\', {{\'authorization\': \'Bearer k\'}}))'
        process = subprocess.Popen([sys.executable, "-c", program])
        fake.wait_requests(1)
        process.kill()
        process.wait()
        until(lambda: fake.requests[0].outcome == "lost")
        assert fake.waiting() == []


def test_it_knows_the_most_requests_of_any_span():
    with FakeOpenAI() as fake:
        for _ in range(4):
            post(fake, "/v1/chat/completions", CHAT)
        assert fake.most_in(10.0) == 4
        assert fake.most_in(1e-9) == 1


def test_stopping_hangs_up_on_whoever_waits():
    with FakeOpenAI() as fake:
        fake.hold()
        failed = []

        def ask():
            try:
                post(fake, "/v1/chat/completions", CHAT)
            except (http.client.HTTPException, OSError) as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        fake.wait_requests(1)
    thread.join(10)
    assert len(failed) == 1
