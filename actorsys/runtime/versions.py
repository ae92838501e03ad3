"""Does the stored state have the form that this version of the class expects? If not, `migrate` makes it."""

from typing import TYPE_CHECKING

from ..errors import StateError
from ..mailbox.codec import decode, encode
from ..memory.step_rows import VERSION

if TYPE_CHECKING:
    from .agent import Agent
    from .loop import Runtime


async def bring_up(agent: "Agent", runtime: "Runtime", stored: bytes | None) -> None:
    """Bring the state from the version that is stored (none: 1) to that of the class, in one commit. Raises StateError."""
    if not runtime.memory.is_durable:
        return
    state, wanted = runtime.state, type(agent).state_version
    known = 1 if stored is None else decode(stored, int)
    if known > wanted:
        raise StateError(
            f"the stored state is of version {known}, {type(agent).__name__}.state_version is {wanted}; an older class cannot read it.",
            reason="version",
        )
    if known < wanted and (state or stored is not None):
        new = agent.migrate(decode(state.snapshot()), known)
        state.clear()
        state.update(new)
    if stored is None or known < wanted:
        await runtime.sending.commit({**state.collect(), VERSION: encode(wanted)})
