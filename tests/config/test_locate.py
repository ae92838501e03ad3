import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsys.config.locate import locate, spots

TOML = '''\
# [agents.fake]
title = """
[agents.no]
x = 1 \\"""" # ends here
[agents.counter] # a comment = 1
  type = "shop:Counter"
restart.backoff = "1s"
mailbox = { size = 1, nested = { deep = [1, { a = 2 }] }, bytes = 'x = 1' }
list = [
  "a = 1", # b = 2
  [1, 2],
]
"quoted key" = 1.5
[ agents . "a.b" ]
type = 'C:\\'
[[many]]
when = 2020-01-01T10:00:00Z
'''

PLACES = {
    ("title",): (2, 1),
    ("agents",): (5, 1),
    ("agents", "counter"): (5, 1),
    ("agents", "counter", "type"): (6, 3),
    ("agents", "counter", "restart", "backoff"): (7, 1),
    ("agents", "counter", "mailbox", "size"): (8, 13),
    ("agents", "counter", "mailbox", "nested", "deep"): (8, 34),
    ("agents", "counter", "mailbox", "bytes"): (8, 59),
    ("agents", "counter", "list"): (9, 1),
    ("agents", "counter", "quoted key"): (13, 1),
    ("agents", "a.b", "type"): (15, 1),
    ("many", "when"): (17, 1),
}


@pytest.mark.parametrize(("key", "place"), PLACES.items())
def test_a_key_is_found_on_its_line(key, place):
    assert locate(TOML, key) == place


def test_nothing_else_looks_like_a_key():
    tables = {("agents",), ("agents", "counter"), ("agents", "counter", "restart"), ("agents", "counter", "mailbox")}
    nested = {("agents", "counter", "mailbox", "nested"), ("agents", "a.b"), ("many",)}
    assert set(spots(TOML)) == tables | nested | set(PLACES)


def test_a_key_that_is_not_there_is_placed_at_its_table():
    assert locate(TOML, ("agents", "counter", "missing")) == (5, 1)


def test_a_key_without_any_table_has_no_place():
    assert locate(TOML, ("nats", "url")) is None


KEYS = st.text("ab-_1", min_size=1, max_size=3)
SCALARS = st.sampled_from(["1", '"x = 1"', "'#'", "[1, { a = 2 }]", "1.5", "true", '"""\n[z]\n"""'])


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, SCALARS, max_size=3), max_size=3))
def test_every_key_of_a_valid_text_is_found(tables):
    toml = "\n".join(
        f"[{name}]\n" + "\n".join(f"  {key} = {value}" for key, value in table.items()) for name, table in tables.items()
    )
    tomllib.loads(toml)
    lines = toml.split("\n")
    found = spots(toml)
    for name, table in tables.items():
        assert lines[found[(name,)][0] - 1] == f"[{name}]"
        for key in table:
            line, column = found[(name, key)]
            assert lines[line - 1][column - 1 :].startswith(f"{key} =")


@given(st.text())
def test_any_text_can_be_scanned(text):
    spots(text)
