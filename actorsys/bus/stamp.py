"""Who am I and when was I? Identity and time for a new envelope."""

from os import urandom
from uuid import NAMESPACE_OID, uuid5

from ..clock import wall
from .envelope import Stamp


def fresh() -> Stamp:
    """A new identity, now."""
    digits = urandom(16).hex()  # a UUID of version 4, as uuid4() makes it, in a third of its time
    return Stamp(f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}", wall())


def of(key: str) -> Stamp:
    """The identity that belongs to a key, now; a new one for an empty key."""
    return Stamp(str(uuid5(NAMESPACE_OID, key)), wall()) if key else fresh()
