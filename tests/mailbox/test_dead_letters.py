import pytest

from actorsys.mailbox.dead_letters import KEPT, KEPT_BYTES, DeadLetter, DeadLetters


def dead(number, payload=b""):
    return DeadLetter(number, "a", "b", "m:T", payload, 3, "nobody took it", 0)


def test_they_are_kept_by_id_in_the_order_they_died():
    kept = DeadLetters()
    for number in (3, 1, 2):
        kept.add(dead(number))
    assert [one.id for one in kept] == [3, 1, 2]
    assert (len(kept), 1 in kept, 9 in kept, kept[2].id) == (3, True, False, 2)
    assert kept.remove(1).id == 1
    with pytest.raises(KeyError):
        kept.remove(1)


def test_the_oldest_go_when_there_are_too_many():
    kept = DeadLetters()
    for number in range(KEPT + 5):
        kept.add(dead(number))
    assert (len(kept), next(iter(kept)).id) == (KEPT, 5)


def test_the_oldest_go_when_they_are_too_large_but_the_newest_stays():
    kept = DeadLetters()
    for number in range(4):
        kept.add(dead(number, bytes(KEPT_BYTES // 2)))
    assert [one.id for one in kept] in ([3], [2, 3])
    kept.add(dead(9, bytes(2 * KEPT_BYTES)))
    assert [one.id for one in kept] == [9]
