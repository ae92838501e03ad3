"""The words of the switchboard: what can happen to it, and what its driver has to do."""

from msgspec import Struct

from ..messages import Failure
from ..spec import MailboxSpec
from .dead_letters import Action
from .letter import DownNote, Frame, Letter


class Event(Struct):
    """What can happen to the switchboard."""


class Open(Event):
    """A mailbox for agent `name`, reached by each of `addresses`; `shown` is its name as a sender."""

    name: str
    spec: MailboxSpec
    addresses: tuple[str, ...]
    shown: str
    restored: tuple[Letter, ...] = ()  # what is on disk for it, in order
    last_frame: int = 0  # number of the last frame taken, from there too


class Up(Event):
    """Its process is ready for mail."""

    name: str


class Gone(Event):
    """Its process ended. `charge`: it died of what it held, no exception was reported and nobody killed it on purpose."""

    name: str
    reason: str
    charge: bool = False


class Close(Event):
    """It failed for good: mail goes to the dead letters, askers are told. `forget`: the name disappears too."""

    name: str
    reason: str
    forget: bool = False


class Reopen(Event):
    name: str


class Respec(Event):
    """Other bounds, or another name as a sender, for a mailbox that goes on."""

    name: str
    spec: MailboxSpec
    shown: str


class Stored(Event):
    """Batches up to `number` are on disk."""

    number: int


class Retry(Event):
    """Send a dead letter on its way again, as new mail."""

    id: int


class Posted(Event):
    """A frame arrived from an agent, or from HOST."""

    name: str
    frame: Frame


class Deliver(Action):
    to: str
    letters: list[Letter]


class Confirm(Action):
    """Tell the sender that its frame `number` was taken."""

    to: str
    number: int


class Unanswered(Action):
    """A letter that ends without a handler's answer, although somebody on NATS waits for one, or for the completion of a task."""

    letter: Letter
    failure: Failure


class Tell(Action):
    to: str
    note: DownNote


class Flood(Action):
    """Agent `name` goes on posting to a full mailbox although it was told: it must be replaced."""

    name: str
    to: str


class Blamed(Action):
    """The letter that agent `name` died on, for certain; `quarantined` when that was once too often."""

    name: str
    letter: Letter
    quarantined: bool
