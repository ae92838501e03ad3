"""Functions that were called go on with copies of their code, side by side, and do the same."""

import sys
from functools import partial

from actorsys.runtime.packing import pack


def called(n: int) -> int:
    return sum(each * n for each in range(3))


def not_called() -> None:
    raise AssertionError


class Thing:
    def method(self, n: int) -> int:
        def inner() -> int:
            return n + 1

        return inner()


async def waits(n: int) -> int:
    return n


def drive(n: int) -> int:
    coroutine = waits(n)
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError


def everything() -> tuple[int, int, int]:
    return called(2), Thing().method(3), drive(4)


def test_what_was_called_has_a_copy_of_its_code_and_does_the_same() -> None:
    functions = [called, Thing.method, waits, drive, everything]
    codes = [function.__code__ for function in functions]
    untouched = not_called.__code__
    results = []
    assert pack(lambda: results.append(everything())) >= len(functions)
    for function, code in zip(functions, codes, strict=True):
        assert function.__code__ is not code
        assert (function.__code__.co_code, function.__code__.co_linetable) == (code.co_code, code.co_linetable)
    assert not_called.__code__ is untouched
    assert results == [everything()] == [(6, 4, 4)]


def test_functions_that_it_makes_have_copies_too() -> None:
    def outer() -> object:
        return partial(lambda: 1)

    def run() -> None:
        outer()()

    before = outer().func.__code__
    pack(run)
    assert outer().func.__code__ is not before
    assert outer()() == 1


def test_a_profile_function_is_there_again_afterwards() -> None:
    def mine(*_: object) -> None: ...

    before = sys.getprofile()
    sys.setprofile(mine)
    try:
        pack(lambda: None)
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(before)
