import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsys import StateError
from actorsys.mailbox.codec import decode, encode
from actorsys.runtime.state import Limits, State


def stored(**values):
    return {key: encode(value) for key, value in values.items()}


def test_it_begins_with_what_was_stored():
    state = State(stored(a=1, b=[2]))
    assert dict(state) == {"a": 1, "b": [2]}
    assert ("a" in state, "c" in state, len(state)) == (True, False, 2)
    assert state.collect() == {}


def test_changes_are_collected_once():
    state = State(stored(a=1, b=2))
    state["a"] = 5
    del state["b"]
    state["c"] = None
    assert state.collect() == {"a": encode(5), "b": None, "c": encode(None)}
    assert state.collect() == {}
    assert dict(state) == {"a": 5, "c": None}


def test_what_is_the_same_afterwards_is_no_change():
    state = State(stored(a=1))
    state["a"] = 2
    state["a"] = 1
    state["new"] = 1
    del state["new"]
    assert state.collect() == {}


def test_a_change_inside_a_value_counts():
    state = State(stored(items=[1]))
    state["items"].append(2)
    assert state.collect() == {"items": encode([1, 2])}
    state["items"].append(3)
    assert state.collect() == {"items": encode([1, 2, 3])}


def test_rolling_back_forgets_everything_since_the_last_collect():
    state = State(stored(a=1, b=[1]))
    state["a"] = 2
    state.collect()
    state["a"] = 3
    state["b"].append(2)
    state["c"] = 4
    del state["a"]
    state.roll_back()
    assert dict(state) == {"a": 2, "b": [1]}
    assert state.collect() == {}


def test_a_deleted_key_is_gone_until_it_is_set_again():
    state = State(stored(a=1))
    del state["a"]
    assert "a" not in state
    assert list(state) == []
    with pytest.raises(KeyError):
        state["a"]
    with pytest.raises(KeyError):
        del state["a"]
    assert state.setdefault("a", 7) == 7
    assert state.collect() == {"a": encode(7)}


@pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
def test_keys_are_text(key):
    with pytest.raises(StateError, match="state keys are text"):
        State({})[key] = 1


def test_a_value_that_cannot_be_stored_is_an_error_that_names_its_key():
    state = State(stored(a=1))
    state["bad"] = object()
    with pytest.raises(StateError, match=r"state\['bad'\]") as caught:
        state.collect()
    assert caught.value.key == "bad"
    state.roll_back()
    assert dict(state) == {"a": 1}


def test_a_snapshot_shows_what_is_stored_and_not_what_is_under_way():
    state = State(stored(a=1))
    state["a"] = 2
    state["b"] = 3
    assert decode(state.snapshot()) == {"a": 1}
    state.collect()
    assert decode(state.snapshot()) == {"a": 2, "b": 3}


def test_a_commit_in_between_is_performed_by_the_runtime():
    calls = []

    async def commit(state):
        calls.append(state)

    state = State({}, commit)
    asyncio.run(state.commit())
    asyncio.run(State({}).commit())
    assert calls == [state]


def test_a_view_shares_what_is_stored_and_commits_or_rolls_back_alone():
    state = State(stored(a=1))
    one, two = state.view(), state.view()
    one["a"], two["b"] = 5, 6
    one.roll_back()
    assert two.collect() == {"b": encode(6)}
    assert dict(one) == dict(state) == {"a": 1, "b": 6}


def test_it_shows_what_is_in_it():
    assert repr(State(stored(a=1))) == "State({'a': 1})"


def limited(value=100, total=1000, **values):
    data = stored(**values)
    return State(data, None, Limits(data, value, total))


def test_a_value_above_the_limit_is_an_error_that_names_its_key():
    state = limited(value=10)
    state["small"], state["big"] = "x" * 5, "x" * 10
    with pytest.raises(StateError, match=r"state\['big'\] takes 11 bytes; this backend allows 10 for one value") as caught:
        state.collect()
    assert (caught.value.key, caught.value.reason) == ("big", "size")
    state.roll_back()
    assert dict(state) == {}


def test_all_values_together_have_a_limit_and_the_one_that_grew_most_is_named():
    state = limited(total=30, a="x" * 8)  # a key of one byte, a value of nine
    other = state.view()
    state["b"] = "x" * 8
    assert state.collect()
    other["c"], other["d"] = "x" * 3, "x" * 7
    with pytest.raises(
        StateError, match=r"state\['d'\]: with it the state takes 34 bytes; this backend allows 30 in all"
    ) as caught:
        other.collect()
    assert (caught.value.key, caught.value.reason) == ("d", "size")
    other.roll_back()
    other["b"] = 1
    del other["a"]
    assert other.collect()
    state["c"] = "x" * 25
    assert state.collect()
    state["c"] = "y" * 25  # full, but no larger than before
    assert state.collect()
    state["d"] = 1
    with pytest.raises(StateError, match="in all"):
        state.collect()


@pytest.mark.parametrize(("key", "reason"), [("\0step\0x", "refused"), ("\ud800", "encoding")])
def test_a_key_that_cannot_be_stored_is_refused(key, reason):
    state = State({})
    state[key] = 1
    with pytest.raises(StateError) as caught:
        state.collect()
    assert caught.value.reason == reason


def test_it_knows_what_was_seen_before_the_last_collect():
    state = State(stored(a=1, b=2))
    assert not state.saw({"a"})
    for look, keys in [
        (lambda: state["a"], {"a"}),
        (lambda: state.get("new"), {"new"}),
        (lambda: "b" in state, {"b"}),
        (lambda: state.update(c=3), {"c"}),
    ]:
        look()
        state.collect()
        assert state.saw(keys)
        assert not state.saw({"other"})
    assert list(state)
    state.roll_back()
    assert state.saw({"other"})
    assert not state.saw(())
    state.collect()
    assert not state.saw({"a", "b", "c", "new"})


keys = st.sampled_from("abc")
steps = st.one_of(
    st.tuples(st.just("set"), keys, st.integers(0, 3)),
    st.tuples(st.just("delete"), keys, st.none()),
    st.tuples(st.just("read"), keys, st.none()),
    st.tuples(st.just("collect"), st.none(), st.none()),
    st.tuples(st.just("roll back"), st.none(), st.none()),
)


@given(st.dictionaries(keys, st.integers(0, 3)), st.lists(steps, max_size=30))
def test_it_is_a_dict_with_commit_and_roll_back(first, does):
    state, on_disk = State(stored(**first)), dict(first)
    now = dict(first)
    for what, key, value in does:
        if what == "set":
            state[key] = now[key] = value
        elif what == "delete":
            assert (key in state) == (key in now)
            if key in now:
                del state[key], now[key]
        elif what == "read":
            assert state.get(key) == now.get(key)
        elif what == "collect":
            for changed, encoded in state.collect().items():
                if encoded is None:
                    del on_disk[changed]
                else:
                    on_disk[changed] = decode(encoded)
            assert on_disk == now
        else:
            state.roll_back()
            now = dict(on_disk)
        assert dict(state) == now
        assert len(state) == len(now)
