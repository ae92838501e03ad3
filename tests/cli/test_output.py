import io

import click
import pytest

from actorsys.cli.output import clean, clean_lines, has_colour, print_json, print_table, state_style


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_colour_is_for_terminals_without_no_color(terminal, monkeypatch):
    assert has_colour(terminal)
    assert not has_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(terminal)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(terminal)


def test_a_table_on_a_terminal_colours_states_and_keeps_its_columns(terminal, monkeypatch):
    monkeypatch.setattr("sys.stdout", terminal)
    print_table(("STATE", "N"), [["failed", "1"], ["up", "22"]], {"STATE": state_style})
    lines = terminal.getvalue().splitlines()
    assert lines[1] == click.style("failed", fg="red") + "  1"
    assert [click.unstyle(line) for line in lines] == ["STATE   N", "failed  1", "up      22"]


def test_json_is_indented_on_a_terminal_only(terminal, monkeypatch):
    monkeypatch.setattr("sys.stdout", terminal)
    print_json({"a": 1})
    assert terminal.getvalue() == '{\n  "a": 1\n}\n'


def test_control_characters_become_visible():
    assert clean("a\tb\x00\x1b[31m\r\n\x9b\u202e\ud800 ü") == "a\tb\\x00\\x1b[31m\\r\\n\\x9b\\u202e\\ud800 ü"
    assert clean_lines("a\n\x1bb\n") == ["a", "\\x1bb"]
