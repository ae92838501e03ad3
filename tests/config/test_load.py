import os

import pytest

from actorsys.config.load import load, state_dir
from actorsys.errors import ConfigError

AGENT = '[agents.a]\ntype = "m:A"\n'


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in ("NATS_URL", "LLM_PROVIDER", "LLM_MODEL", "LLM_MAX_TOKENS", "LLM_TIMEOUT_SECONDS", "PLACE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def write(tmp_path):
    def write(text, name="agents.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def problems(path):
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.message.splitlines()


def test_a_file_is_loaded_with_its_state_directory_beside_it(write, tmp_path, monkeypatch):
    write(AGENT)
    monkeypatch.chdir(tmp_path)
    config = load("agents.toml")
    assert list(config.agents) == ["a"]
    assert config.path == str(tmp_path / "agents.toml")
    assert config.supervisor.state_dir == str(tmp_path / ".actorsys")


def test_the_supervisor_is_named_after_its_directory(tmp_path):
    for folder, name in (("my shop.v2", "my-shop-v2"), ("2nd", "node-2nd")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "agents.toml").write_text(AGENT)
        assert load(tmp_path / folder / "agents.toml").supervisor.name == name


def test_the_env_file_adds_to_the_environment_and_never_overrides_it(write, monkeypatch):
    write("PLACE=file\nOTHER_PLACE=file\n", ".env")
    monkeypatch.setenv("PLACE", "real")
    config = load(write(AGENT + 'args = { a = "${PLACE}", b = "${OTHER_PLACE}" }'))
    assert config.agents["a"].args == {"a": "real", "b": "file"}
    assert config.environ == {"OTHER_PLACE": "file"}
    assert "OTHER_PLACE" not in os.environ


def test_a_missing_env_file_is_nothing(write):
    assert load(write(f'[supervisor]\nenv_file = "nowhere/.env"\n{AGENT}')).environ == {}


def test_problems_of_the_env_file_and_the_file_come_together(write, tmp_path):
    write("what", "my.env")
    path = write(f'[supervisor]\nenv_file = "my.env"\n{AGENT}replicas = 0')
    assert problems(path) == [
        f"{tmp_path}/my.env:1:1  expected KEY=VALUE",
        f"{path}:5:1  agents.a.replicas: must be 1 or more, not 0",
    ]


def test_a_missing_file_says_how_to_give_another(tmp_path):
    assert problems(tmp_path / "agents.toml") == [
        f"{tmp_path}/agents.toml: there is no such file; give the path of yours, as in `actorsys supervise path/to/agents.toml`"
    ]


def test_a_directory_is_no_file(tmp_path):
    assert problems(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = \n", ":1:5  invalid value"),
        (AGENT + 'type = "m:B"\n', ":3:13  cannot overwrite a value"),
        (AGENT + AGENT, ":3:10  agents.a is there twice"),
        ("a = [1,\n", ":2:1  invalid value"),
        (b"a = '\xff'", ": not UTF-8 text, at byte 5"),
        ("a = " + "[" * 100_000, ": tables or lists are nested too deeply"),
    ],
)
def test_what_is_no_toml_is_reported_with_its_place(write, text, line):
    path = write(text)
    assert problems(path) == [f"{path}{line}"]


def test_the_state_directory_is_found_even_if_the_rest_is_wrong(write, tmp_path):
    assert state_dir(write('[supervisor]\nstate_dir = "run"\nwhat = 1')) == tmp_path / "run"
    assert state_dir(write("what")) == tmp_path / ".actorsys"
    assert state_dir(tmp_path / "gone.toml") == tmp_path / ".actorsys"


def test_the_script_of_a_mock_is_found_beside_the_file(tmp_path):
    (tmp_path / "agents.toml").write_text('[llm.default]\nscript = "rules.toml"\n[llm.other]\n[agents.a]\ntype = "m:C"\n')
    llm = load(tmp_path / "agents.toml").llm
    assert llm["default"].script == str(tmp_path / "rules.toml")
    assert llm["other"].script == ""
