"""Put the code that every agent runs side by side.

Python counts the references to a code object in the object, and an agent that runs it so gets a page of its own. Code lies where it was
when its module was loaded, what is used among what is not; a copy of it lies among other copies: 0.2 MiB an agent less, 0.45 with NATS.
"""

import gc
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType


def pack(run: Callable[[], object]) -> int:
    """Call `run`, then give the functions that it called copies of their code; how many that were."""
    called: dict[int, CodeType] = {}  # by id: two that are equal may come from different files

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            called.setdefault(id(frame.f_code), frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    functions: dict[int, list[FunctionType]] = {}
    for each in gc.get_objects():
        if type(each) is FunctionType and id(each.__code__) in called:
            functions.setdefault(id(each.__code__), []).append(each)
    copies: dict[int, CodeType] = {}
    for number, code in called.items():  # in the order of the calls: what runs together lies together
        for function in functions.get(number, ()):
            function.__code__ = _copy(code, called, copies)
    return len(copies)


def _copy(code: CodeType, called: dict[int, CodeType], copies: dict[int, CodeType]) -> CodeType:
    """The copy of a code and of those called of which it makes functions."""
    number = id(code)
    if number not in copies:
        inner = [_copy(each, called, copies) if id(each) in called else each for each in code.co_consts]
        copies[number] = code.replace(co_consts=tuple(inner))
    return copies[number]
