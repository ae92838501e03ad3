"""What becomes of a file that cannot be read? It is kept under another name, and nothing starts empty in its place unasked."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import StateError

MARK = ".corrupt"


def refuse_aside(path: Path, more: str = "") -> None:
    """Raises StateError while a file that was set aside waits for somebody's decision, and no good one is in its place."""
    waiting = sorted(path.parent.glob(f"{path.name}{MARK}*"))
    if waiting and not path.exists():
        names = ", ".join(file.name for file in waiting)
        raise StateError(
            f"the state in {path} could not be read and was set aside as {names}; nothing is in its place. "
            f"Put a good copy there{more}, or delete {names} to start empty.",
            reason="corrupt",
        )


def set_aside(path: Path, why: object, companions: Sequence[str] = (), more: str = "") -> StateError:
    """Rename a file, and those beside it with these endings, to a name not in use; the error to raise."""
    number = 1
    while (to := path.with_name(f"{path.name}{MARK}{'' if number == 1 else f'-{number}'}")).exists():
        number += 1
    try:
        for ending in companions:
            beside = path.with_name(path.name + ending)
            if beside.exists():
                beside.rename(to.with_name(to.name + ending))
        path.rename(to)
    except OSError as error:
        return StateError(f"the state in {path} cannot be read ({why}), nor set aside: {error}", reason="corrupt")
    return StateError(
        f"the state in {path} cannot be read ({why}); it was set aside as {to.name} and nothing was put in its place. "
        f"Put a good copy there{more}, or delete {to.name} to start empty.",
        reason="corrupt",
    )
