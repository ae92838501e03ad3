"""The state messages that every agent answers: how others read and write its state.

They are handled like messages of its own, in turn, and commit with their frame. From off the node they may only read, unless the agent
has `remote_state = true`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import StateError
from ..mailbox.codec import decoder
from ..mailbox.letter import REMOTE
from ..messages import Clear, Delete, Down, Get, List, Store, type_id
from .context import current
from .handlers import Handler

if TYPE_CHECKING:
    from .loop import Runtime
    from .routes import Route

OURS: frozenset[type] = frozenset({Store, Get, Delete, Clear, List, Down})  # what an agent takes without a handler of its own
# Made when the zygote loads this module, so that each agent shares them.
_READ = [(cls, cls.__name__, type_id(cls), decoder(cls)) for cls in (Store, Get, Delete, Clear, List)]


def state_routes(runtime: "Runtime", handlers: dict[str, Handler]) -> "dict[str, Route]":
    """The ways to these handlers, but for names that the agent's own messages have."""
    from .routes import Route

    own = {handler.type.__name__ for handler in handlers.values()}
    answers = _Answers(runtime)
    calls: dict[type, Callable[[Any], Any]] = {
        Store: answers.store,
        Get: answers.get,
        Delete: answers.delete,
        Clear: answers.clear,
        List: answers.keys,
    }
    table = {}
    for cls, name, key, read in _READ:
        table[key] = route = Route(calls[cls], cls, read, False)
        if name not in own:
            table[name] = route
    return table


class _Answers:
    __slots__ = ("_runtime",)

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime

    def store(self, msg: Store) -> None:
        self._check_local(msg.key)
        self._runtime.state[msg.key] = msg.value

    def get(self, msg: Get) -> Any:
        return self._runtime.state.get(msg.key)

    def delete(self, msg: Delete) -> None:
        self._check_local(msg.key)
        self._runtime.state.pop(msg.key, None)

    def clear(self, msg: Clear) -> None:
        self._check_local(None)
        self._runtime.state.clear()

    def keys(self, msg: List) -> list[str]:
        return sorted(key for key in self._runtime.state if key.startswith(msg.prefix))

    def _check_local(self, key: str | None) -> None:
        delivery = current.get()
        if delivery is not None and delivery.letter.flags & REMOTE and not self._runtime.assignment.remote_state:
            text = f"the state of {self._runtime.name!r} can only be read from off its node; set remote_state = true to let others write it"
            raise StateError(text, key=key, reason="refused")
