"""Is this JSON nested too deep to decode safely?

Runs on bytes from strangers, so it must be linear and fast: a byte loop in Python takes 100 ms for 1 MiB, this about 10.
"""

import re

# Possessive, and an open string runs to the end: with backtracking, 1 MiB of '"\"\"\"...' would take hours.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def is_deeper_than(limit: int, data: bytes) -> bool:
    """Whether brackets are nested deeper than `limit`; also true for many brackets that have no partner.

    >>> is_deeper_than(2, b'[[1, {}]]'), is_deeper_than(3, b'[[1, {}]]'), is_deeper_than(1, b'["[[["]')
    (True, False, False)
    """
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    brackets = _STRING.sub(b"", data).translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(limit):  # each round takes away exactly the innermost level
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True
