"""Until when are these credentials good? The claims of a JWT are read, not verified: the server does that."""

import base64
import math
import re

import msgspec
from msgspec import Struct

RENEW = 60.0  # seconds before they expire newer ones are looked for; for short-lived ones a third of what is left at the login
_JWT = re.compile(r"-----BEGIN NATS USER JWT-----\s+([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\s")
_SEED = re.compile(r"-----BEGIN USER NKEY SEED-----\s+(SU[A-Z2-7]{56})\s")
_NKEY = re.compile(r"SU[A-Z2-7]{56}")


class _Claims(Struct):
    exp: int = 0


def is_seed(text: str) -> bool:
    """Whether this looks like the seed of a user's NKey."""
    return _NKEY.fullmatch(text) is not None


def is_creds(text: str) -> bool:
    """Whether this looks like a creds file: a user's JWT and the seed that belongs to it."""
    return _claims(text) is not None and _SEED.search(text) is not None


def expiry(text: str) -> float | None:
    """When a creds file expires, in seconds of Unix time, infinity for never; None if it cannot be read."""
    claims = _claims(text)
    return None if claims is None else float(claims.exp) or math.inf


class Term(Struct, frozen=True):
    """How long the credentials of a connection are good. Times are seconds of Unix time.

    >>> Term.of(1000.0, now=700.0).renew_at, Term.of(1000.0, now=970.0).renew_at
    (940.0, 990.0)
    """

    expires: float = math.inf
    renew_at: float = math.inf

    @classmethod
    def of(cls, expires: float | None, now: float) -> "Term":
        if expires is None or expires == math.inf:
            return cls()
        return cls(expires, max(expires - RENEW, now + (expires - now) * 2 / 3))

    def wait(self, interval: float, now: float) -> float:
        """Seconds until the next look at them, at most `interval`."""
        return min(interval, self.renew_at - now) if self.renew_at > now else interval


def _claims(text: str) -> _Claims | None:
    found = _JWT.search(text)
    if found is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4)), type=_Claims)
    except (ValueError, msgspec.MsgspecError):
        return None
