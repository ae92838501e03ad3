import pytest

from actorsys.config.dotenv import parse
from actorsys.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("A=1", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("  A = 1  ", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=# nothing", {"A": ""}),
        ("A=1 # one", {"A": "1"}),
        ("A=x#y", {"A": "x#y"}),
        ("A='x # y' # z", {"A": "x # y"}),
        (r'A="a\n\"b\"" # z', {"A": 'a\n"b"'}),
        ("A='$B \\n'", {"A": "$B \\n"}),
        ("A=b=c", {"A": "b=c"}),
        ("# A=1", {}),
        ("", {}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ],
)
def test_a_line_sets_a_variable(line, values):
    assert parse(line) == values


def test_every_line_that_cannot_be_read_is_reported_without_its_value():
    with pytest.raises(ConfigError) as caught:
        parse('A=1\nsecret\nKEY=\'secret\n1A=secret\nB="x" secret', file="x/.env")
    assert caught.value.message.splitlines() == [
        "x/.env:2:1  expected KEY=VALUE",
        "x/.env:3:1  KEY: the quotes do not end, or something follows them",
        "x/.env:4:1  expected KEY=VALUE",
        "x/.env:5:1  B: the quotes do not end, or something follows them",
    ]
    assert caught.value.where == "x/.env:2:1"
