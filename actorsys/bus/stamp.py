"""Who am I and when was I? Identity and time for a new envelope."""

from uuid import uuid4

from ..clock import wall
from .envelope import Stamp


def fresh() -> Stamp:
    """A new identity, now."""
    return Stamp(str(uuid4()), wall())
