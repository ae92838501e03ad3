"""Bytes from outside, damaged in every way: `make fuzz SECONDS=60`, or `python scripts/fuzz.py --seconds 60 [--seed N]`.

Each edge gets valid bytes with random damage, and random msgpack and JSON around its limits. Whatever comes in, an edge answers with a
value or with BadMessage; in under 10 ms and with less memory than twice the input (small inputs: than a fixed allowance). Prints the seed and
the input of whatever breaks that, and exits 1.
"""

import argparse
import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec

from actorsys import BadMessage, Event, Ref
from actorsys.bus import envelope
from actorsys.mailbox.codec import decode, decode_frame, encode, encode_frame
from actorsys.mailbox.framing import BUFFER_BYTES, PREFIX, FrameReader
from actorsys.mailbox.letter import HOST, Failed, Forget, Frame, Letter, Note, Ready, Watch
from actorsys.mailbox.switchboard import Switchboard
from actorsys.mailbox.traffic import Open, Posted, Up
from actorsys.messages import Failure
from actorsys.spec import MailboxSpec

MAX_SECONDS = 0.010
SLACK_BYTES = 64 * 1024  # an error with its text, the interpreter's own caches
OBJECT_BYTES = 100  # what one byte of msgpack may become as a Python object: a one-byte map is 64 bytes
ENVELOPE_BYTES = 2**20
FRAME_BYTES = 2**16
TRIES = 3  # a machine that was busy elsewhere is no slow edge


class Broken(AssertionError):
    pass


class Inner(Event):
    name: str
    numbers: list[int]


class Payload(Event):
    """One field of each kind that a handler may ask for."""

    n: int
    text: str = ""
    inner: Inner | None = None
    friend: Ref | None = None
    table: dict[str, list[float]] = {}
    data: bytes = b""


# --- the edges: bytes in, any value or BadMessage out


def framing(data: bytes) -> None:
    reader = FrameReader(FRAME_BYTES)
    at = 0
    while at < len(data):
        space = reader.space()
        count = min(len(space), len(data) - at, 1 + (at * 7919) % 5000)
        space[:count] = data[at : at + count]
        for frame in reader.received(count):
            len(frame)
        at += count


def frame(data: bytes) -> None:
    decode_frame(data)


def switchboard(data: bytes) -> None:
    """A frame that is one, however strange, never breaks the supervisor."""
    board = Switchboard(10_000)
    for name in ("a", "b"):
        board.handle(Open(f"{name}/0", MailboxSpec(size=3, window=2), (name, f"{name}/0"), name), 1)
        board.handle(Up(f"{name}/0"), 1)
    for number in (1, 2):
        board.handle(Posted(HOST, Frame([], [Letter(number % 2, number, "a", "", "T", b"\xc0")])), 1)
    for source in ("a/0", "b/0", HOST):
        board.handle(Posted(source, decode_frame(data)), 2)


def payload(data: bytes) -> None:
    decode(data, Payload)


def anything(data: bytes) -> None:
    decode(data)


def nats(data: bytes) -> None:
    envelope.decode(data, limit=ENVELOPE_BYTES)


def origin(data: bytes) -> None:
    envelope.origin(data, limit=ENVELOPE_BYTES)


def control(data: bytes) -> None:
    from actorsys.mailbox.codec import DECODE_ERRORS, bad_message
    from actorsys.supervision import control as server

    try:
        server._decode(data)
    except DECODE_ERRORS as error:  # as the server does
        raise bad_message(error, "request") from error


EDGES: dict[str, Callable[[bytes], None]] = {
    edge.__name__: edge for edge in (framing, frame, switchboard, payload, anything, nats, origin, control)
}
TYPED = ("framing", "frame", "switchboard", "payload")  # refused before anything is built of it


# --- what comes in

WORDS = ["a", "b", "a/0", "nobody", "", "é\ud7ff", "$host", "x" * 300, "type", "n"]
NUMBERS = [0, 1, 2, 5, 6, -1, 255, 2**31, 2**63 - 1, 2**64 - 1, -(2**63)]


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 4 else 5)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return rng.choice(WORDS)
    if kind == 2:
        return rng.choice([None, True, False, 1.5, float("inf")])
    if kind == 3:
        return rng.randbytes(rng.randrange(20))
    if kind == 4:
        return Ready()
    if kind == 5:
        return {rng.choice(WORDS): _value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [_value(rng, depth + 1) for _ in range(rng.randrange(6))]


def _letter(rng: random.Random) -> Letter:
    return Letter(
        rng.choice([0, 0, 1, 1, 2, 3, 3, 4, -1]),
        rng.choice([1, 2, 3, *NUMBERS]),
        rng.choice(WORDS),
        rng.choice(WORDS),
        rng.choice(WORDS),
        rng.randbytes(rng.choice([0, 5, 5, 900])),
        rng.choice([1, 3, 3, 3, 5, *NUMBERS]),
        rng.choice([0, 0, *NUMBERS]),
        rng.choice([0, 0, 1, 2, 4, 8, 15, *NUMBERS]),
        cause=rng.choice([0, 1, 2, *NUMBERS]),
        ordinal=rng.choice([0, 1, *NUMBERS]),
        headers=rng.choice(
            [None, {}, *({key: _value(rng)} for key in ("message_id", "metadata", "kind", "reply", "incarnation"))]
        ),
    )


def _frame(rng: random.Random) -> bytes:
    notes: list[Note] = [Ready(), Forget(rng.choice(NUMBERS)), Watch("link", "a")]
    notes.append(Failed(rng.choice([1, 2, *NUMBERS]), Failure(kind=rng.choice(WORDS), type="ValueError", message="no")))
    acks = [rng.choice([1, 2, *NUMBERS]) for _ in range(rng.randrange(4))]
    made = Frame(acks, [_letter(rng) for _ in range(rng.randrange(5))], rng.sample(notes, rng.randrange(3)))  # type: ignore[arg-type]
    buffer = bytearray()
    encode_frame(made, buffer, 0)
    return bytes(buffer)


def _envelope(rng: random.Random) -> bytes:
    fields: dict[str, Any] = {
        "message_type": "request",
        "from_agent": "a",
        "to_agent": "b",
        "content": {"type": "Add", "n": 2},
        "metadata": {},
        "timestamp": "2026-01-02T03:04:05Z",
        "message_id": "00000000-0000-4000-8000-000000000000",
        "in_reply_to": None,
        "priority": 3,
    }
    for _ in range(rng.randrange(3)):
        fields[rng.choice([*fields, "more"])] = rng.choice([*WORDS, *NUMBERS, None, [1], {"k": []}])
    return msgspec.json.encode(fields)


def _nested(rng: random.Random) -> bytes:
    depth = rng.choice([10, 63, 64, 65, 1000, 20_000])
    return rng.choice([b"\x91" * depth + b"\xc0", b"\x81\xa1a" * depth + b"\xc0", b"[" * depth + b"]" * depth,
                       b'{"a":' * depth + b"1" + b"}" * depth, b"\x94\x90" + b"\x91" * depth + b"\xc0"])  # fmt: skip


def _liar(rng: random.Random) -> bytes:
    """Lengths that promise more than there is."""
    heads = [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff", b"\xdc\xff\xff"]
    return b"\x94" * rng.randrange(2) + rng.choice(heads) + rng.randbytes(rng.randrange(50))


def _control(rng: random.Random) -> bytes:
    return msgspec.json.encode({"do": rng.choice(["ps", *WORDS]), "args": {"names": rng.choice([["a"], "a", None, 5])}})


def _framed(rng: random.Random) -> bytes:
    bodies = [rng.randbytes(rng.choice([0, 1, 200, 5000])) for _ in range(rng.randrange(5))]
    return b"".join(PREFIX.pack(len(body)) + body for body in bodies)


MAKERS: dict[str, list[Callable[[random.Random], bytes]]] = {
    "framing": [_framed, _framed, _liar],
    "frame": [_frame, _frame, _nested, _liar],
    "switchboard": [_frame],
    "payload": [lambda rng: encode(Payload(1, "x", Inner("a", [1, 2]), Ref("b"), {"k": [1.5]}, b"z")), _nested, _liar],
    "anything": [lambda rng: msgspec.msgpack.encode(_value(rng)), _nested, _liar],
    "nats": [_envelope, _envelope, _nested],
    "origin": [_envelope, _nested],
    "control": [_control, _control, _nested],
}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut out, doubled or cut off; or none."""
    changed = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        if not changed:
            break
        at = rng.randrange(len(changed))
        match rng.randrange(5):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                del changed[at : at + rng.randrange(1, 9)]
            case 3:
                changed[at:at] = changed[at : at + rng.randrange(1, 30)]
            case _:
                del changed[at:]
    return bytes(changed)


def made(edge: str, rng: random.Random) -> bytes:
    """An input for an edge, most of the time nearly right."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.choice([0, 1, 10, 300]))
    return damaged(rng.choice(MAKERS[edge])(rng), rng)


# --- the promises


def check(edge: str, data: bytes) -> bool:
    """Whether the edge took it. Raises Broken for any error but BadMessage, and for one that took too long."""
    for attempt in range(TRIES):
        start = time.perf_counter()
        try:
            EDGES[edge](data)
            taken = True
        except BadMessage:
            taken = False
        except Exception as error:
            raise Broken(f"{edge}: {type(error).__name__}: {error}") from error
        seconds = time.perf_counter() - start
        if seconds < MAX_SECONDS:
            return taken
        if attempt == TRIES - 1:
            raise Broken(f"{edge}: {seconds * 1e3:.1f} ms for {len(data)} bytes")
    return taken


def check_memory(edge: str, data: bytes) -> None:
    """Raises Broken when what is refused has cost more than twice its size at any time."""
    reading = BUFFER_BYTES + FRAME_BYTES if edge == "framing" else 0  # the reader's own buffer, whatever comes
    tracemalloc.start()
    try:
        taken = check_quietly(edge, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What is taken is Python objects afterwards; what is refused must not have cost more than a second copy.
    # Where any value goes, objects are built up to the byte that is wrong; and JSON is cut at its strings first.
    most = SLACK_BYTES + reading + len(data) * (OBJECT_BYTES if taken or edge not in TYPED else 2)
    if peak > most:
        raise Broken(f"{edge}: {peak} bytes of memory for an input of {len(data)}, at most {most}")


def check_quietly(edge: str, data: bytes) -> bool:
    try:
        EDGES[edge](data)
    except BadMessage:
        return False
    return True


def fuzz(seconds: float, seed: int) -> int:
    """How many inputs were tried. Raises Broken."""
    until = time.monotonic() + seconds
    count = taken = 0
    for name in EDGES:  # caches and first imports are not what is measured
        check_quietly(name, b"")
    while time.monotonic() < until:
        rng = random.Random(f"{seed} {count}")
        edge = rng.choice(list(EDGES))
        data = made(edge, rng)
        try:
            taken += check(edge, data)
            if count % 20 == 0:
                check_memory(edge, data)
        except Broken as error:
            error.add_note(f"seed {seed}, input {count}, {len(data)} bytes: {data[:400].hex()}")
            raise
        count += 1
    print(f"{count} inputs, {taken} taken, {count - taken} refused with BadMessage; seed {seed}")
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    try:
        fuzz(options.seconds, seed)
    except Broken as error:
        print(error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
