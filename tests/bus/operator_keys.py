"""An operator, an account and its users, made here: the JWTs that a nats-server in operator mode wants."""

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import nkeys

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    def __init__(self, kind: int) -> None:
        self.seed = nkeys.encode_seed(os.urandom(32), kind)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self._pair.public_key.decode()

    def sign(self, subject: "Key", name: str, nats: dict[str, Any], expires: float | None = None) -> str:
        """A JWT about `subject`."""
        claims: dict[str, Any] = {"jti": "", "iat": int(time.time()), "iss": self.public, "name": name, "sub": subject.public}
        claims |= {"exp": int(expires)} if expires else {}
        claims["nats"] = {**nats, "version": 2}
        claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).rstrip(b"=").decode()
        head = _b64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
        text = f"{head}.{_b64(json.dumps(claims).encode())}"
        return f"{text}.{_b64(self._pair.sign(text.encode()))}"


class Operator:
    def __init__(self) -> None:
        self._key, self._account, system = Key(OPERATOR), Key(ACCOUNT), Key(ACCOUNT)
        open_limits = {**dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1), "wildcards": True}
        account = {"type": "account", "limits": open_limits}
        self.authorization = "\n".join(
            [
                f"operator: {self._key.sign(self._key, 'op', {'type': 'operator'})}",
                f"system_account: {system.public}",
                "resolver: MEMORY",
                "resolver_preload {",
                f"  {system.public}: {self._key.sign(system, 'SYS', {'type': 'account'})}",
                f"  {self._account.public}: {self._key.sign(self._account, 'app', account)}",
                "}",
            ]
        )

    def creds(self, lasts: float | None = None) -> str:
        """The text of a creds file for a new user; `lasts` seconds, rounded up to whole ones."""
        user = Key(USER)
        limits = {"subs": -1, "data": -1, "payload": -1}
        expires = None if lasts is None else time.time() + lasts + 1
        jwt = self._account.sign(user, "me", {"type": "user", **limits, "pub": {}, "sub": {}}, expires)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )


def replace(path: Path, text: str) -> None:
    """As whoever renews credentials should do it: never half a file."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.replace(path)
