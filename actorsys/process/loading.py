"""Is this process only importing modules to find agent classes? And how it imports them: by name, or the host's main script.

The main script is loaded under the name `__mp_main__` and registered as `__main__` too, as multiprocessing does: its part under
`if __name__ == "__main__"` does not run, and both names mean the same classes.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

_depth = 0
_main: dict[str, str] | None = None
# The main script once it is loaded. sys.modules does not tell: multiprocessing puts its own __main__ under `__mp_main__` too.
_script: Any = None


def is_loading() -> bool:
    """Whether user modules are being imported by us right now: a Supervisor must not start then."""
    return _depth > 0


def set_main(main: dict[str, str] | None) -> None:
    """The host's main module: `{"path": script}` or `{"name": module}`, see `launcher.main_module`."""
    global _main
    _main = main


def load(type: str) -> Any:
    """Import a module, or `module:attribute` and get that. Raises what the import raises; AttributeError names what is missing."""
    global _depth
    name, _, attribute = type.partition(":")
    _depth += 1
    try:
        found: Any = _module(name)
        for part in attribute.split(".") if attribute else ():
            found = getattr(found, part)
        return found
    finally:
        _depth -= 1


def _module(name: str) -> Any:
    if name in ("__main__", "__mp_main__"):
        if _script is not None:
            return _script
        if _main is None:
            raise ImportError("the program has no main script that other processes can load; put the class into a module")
        if "path" in _main:
            return _load_script(_main["path"])
        name = _main["name"]
    # The usual case first: the machinery of an import would cost each agent 60 KiB of unshared pages.
    return sys.modules.get(name) or import_module(name)


def _load_script(path: str) -> Any:
    import io
    from types import ModuleType

    global _script
    module = ModuleType("__mp_main__")
    module.__file__ = path
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec")
    before = sys.modules["__main__"]
    # Both names first: msgspec and typing look a class's annotations up in sys.modules while the script still runs. One dict for
    # module and functions, unlike runpy: what a handler sees as a global is what the module holds.
    sys.modules["__mp_main__"] = sys.modules["__main__"] = module
    try:
        exec(code, module.__dict__)  # noqa: S102  # it is the user's own script
    except BaseException:
        sys.modules["__mp_main__"] = sys.modules["__main__"] = before
        raise
    _script = module
    return module


def why(error: BaseException) -> str:
    """A failed import as text: the traceback without our own frames."""
    import traceback

    trace = error.__traceback__
    ours = os.path.dirname(__file__)
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if os.path.dirname(file) != ours and "importlib" not in file:
            break
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).strip()
