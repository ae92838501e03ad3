"""What travels on a pipe: letters, the frame that carries a batch of them, and the notes of control beside them.

All are msgpack arrays in the order of their fields. The payload stays raw bytes until the handler's type is known; the
switchboard routes without looking inside.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..messages import Failure

TELL, ASK, REPLY, FAILURE, PART = 0, 1, 2, 3, 4  # Letter.kind; plain ints, because an enum costs 100 ns a letter to decode

# Letter.flags
LENIENT = 1  # fields are text from a command line: convert them to the handler's types
FAIL_WHEN_DOWN = 2  # an ask that does not wait for a restart
REMOTE = 4  # it came from off the node: a failing handler never crashes the agent
AGAIN = 8  # it was out before, at a death: what its handler tells may have been taken already
STREAM = 16  # an ask that is answered in parts, and then with an empty reply

STREAM_WINDOW = 256  # units of a stream that may be under way: left by the handler, not yet read
STREAM_UNIT = 4096  # bytes; a part weighs one unit and as many more as it has these

DEFAULT_PRIORITY = 3
PRIORITIES = range(1, 6)

INCARNATION = "incarnation"  # in Letter.headers: the only life of the addressee that the letter is for

HOST = "$host"  # the sender's name of the process that the supervisor runs in; no agent can have it


class Letter(Struct, array_like=True, gc=False):
    """One message under way.

    `id` of a tell or ask: given by custody when it is accepted (on its way there an ask carries the asker's own number).
    `id` of a part, reply or failure: what is answered; custody puts the asker's number in its place. `deadline` is monotonic ns, 0 for
    none; of a stream it holds until its handler begins.
    """

    kind: Annotated[int, Meta(ge=TELL, le=PART)]  # checked where a frame is decoded: the switchboard relies on it
    id: int
    to: str
    sender: str
    type: str
    payload: bytes
    priority: Annotated[int, Meta(ge=1, le=5)] = DEFAULT_PRIORITY
    deadline: int = 0
    flags: int = 0
    deliveries: int = 0  # deaths charged to it so far
    chain: tuple[str, ...] = ()  # agents that wait on this ask
    headers: dict[str, Any] | None = None  # of a message that came over NATS: reply, message_id, metadata, ...
    # Of a tell that may leave twice, because its handler waits or runs again: the letter handled, and the how-manyth tell this is.
    # Of a part: the how-manyth, from 1; of the reply that ends a stream: how many there were.
    cause: int = 0
    ordinal: int = 0


def weight(payload: bytes) -> int:
    """What a part takes of the window of its stream.

    >>> weight(b""), weight(bytes(8192))
    (1, 3)
    """
    return 1 + len(payload) // STREAM_UNIT


def wants_answer(letter: Letter) -> bool:
    """Whether somebody waits on NATS for what the handler returns: it is no ask to custody, but must not end without an answer."""
    headers = letter.headers
    return headers is not None and headers.get("kind") == "request" and bool(headers.get("reply"))


def wants_end(letter: Letter) -> bool:
    """Whether somebody on NATS is told how it ends: who waits for its answer, or for the completion of a task."""
    headers = letter.headers
    if headers is None or headers.get("kind") != "direct":
        return wants_answer(letter)
    metadata = headers.get("metadata")
    return headers.get("message_type") == "handoff" or (isinstance(metadata, dict) and bool(metadata.get("notify")))


class Note(Struct, array_like=True, tag_field="t", gc=False):
    """Control beside the mail: never queued, never acknowledged."""


# up: from an agent
class Ready(Note, tag=0):
    """`on_start` has returned."""


class Stopped(Note, tag=1):
    """`on_stop` has returned; the process ends now. `by_itself`: the agent asked for its own end."""

    by_itself: bool = False


class Crashed(Note, tag=2):
    """The process ends now because of an exception; `starting`: before it was ready."""

    failure: Failure
    starting: bool = False


class Failed(Note, tag=3):
    """The handler of a tell raised: the letter is done with, but not handled."""

    id: int
    failure: Failure


class Forget(Note, tag=4):
    """An asker was cancelled; `id` is its own number. Its letter is taken back or its handler stopped."""

    id: int


class Withdraw(Note, tag=11):
    """The asker `sender` on another node was cancelled: its request with that id, for the agent `to`, is wanted no more."""

    to: str
    message_id: str
    sender: str


class Credit(Note, tag=12):
    """The reader of a stream has read so many units; `id` is its own number of the ask."""

    id: int
    units: Annotated[int, Meta(ge=1, le=2**20)]


class Command(Note, tag=5):
    """A request to the supervisor itself, answered like an ask with the same `id`: stop, restart, info, state of an agent."""

    id: int
    do: str
    arguments: dict[str, Any]


class Snapshot(Note, tag=6):
    """Answer to `Show`: the stored state, one msgpack map, or the steps, a list of maps."""

    id: int
    state: bytes


class Bus(Note, tag=7):
    """The state of the agent's NATS connection has changed."""

    state: str


class Pong(Note, tag=8):
    id: int


class Timing(Note, tag=10):
    """How long the handler of one letter of that type took; sent for a sample of them."""

    type: str
    seconds: float


class Watch(Note, tag=9):
    """Begin or end a monitor on, or a link to, the agent `name`."""

    what: Literal["monitor", "demonitor", "link", "unlink"]
    name: str


# down: to an agent
class Stop(Note, tag=20):
    reason: str = "shutdown"
    timeout: float = 5.0  # seconds until SIGKILL


class Ping(Note, tag=21):
    id: int


class Show(Note, tag=22):
    """Send a `Snapshot` of the stored state, or of the journaled steps."""

    id: int
    what: Literal["state", "steps"] = "state"


class Full(Note, tag=23):
    """A mailbox that this process feeds has no room. `reject`: its policy is to raise instead of waiting."""

    name: str
    reject: bool = False


class Room(Note, tag=24):
    name: str


class Cancel(Note, tag=25):
    """The asker of letter `id` was cancelled or died: stop its handler."""

    id: int


class Grant(Note, tag=26):
    """So many units of the stream that answers letter `id` were read: as many more may leave."""

    id: int
    units: int


UpNote = Ready | Stopped | Crashed | Failed | Forget | Withdraw | Credit | Command | Snapshot | Bus | Pong | Watch | Timing
DownNote = Stop | Ping | Show | Full | Room | Cancel | Grant


class Frame(Struct, array_like=True, gc=False):
    """A batch: up, acknowledged letter ids with what their handlers sent; down, numbers of frames taken with letters to handle.

    A frame is taken as a whole or not at all. `number` is 0 when its sender does not want to know that it was taken.
    """

    acks: list[int] = []
    letters: list[Letter] = []
    notes: list[UpNote | DownNote] = []
    number: int = 0
