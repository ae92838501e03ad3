"""How does a fresh interpreter of ours begin? The command line for it, and what it does before user code may be imported.

Used inside the keeper, so it imports next to nothing.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# The packages are stood in for, so that a tiny process does not pay for what `import actorsys` loads. -S: no site-packages and no .pth
# files yet (`prepare` catches up), -P and -s: nothing but the standard library can be found. PYTHON* variables count, as in the host.
_CODE = """\
import sys
for name, folder in ("actorsys", sys.argv[1]), ("actorsys.process", sys.argv[1] + "/process"):
    sys.modules[name] = type(sys)(name)
    sys.modules[name].__path__ = [folder]
from actorsys.process.{module} import main
main(sys.argv[2:])
"""


def command(module: str, *arguments: str) -> list[str]:
    """The argv that runs `main` of one of our modules in a new interpreter, with the flags of this one (-O, -W, -X dev)."""
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]  # as multiprocessing does

    flags: list[str] = _args_from_interpreter_flags()
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [sys.executable, *flags, "-P", "-s", "-S", "-c", _CODE.format(module=module), folder, *arguments]


def describe_host(path: Sequence[str], main: dict[str, str] | None) -> dict[str, Any]:
    """What a process of ours must know to import what this one can import."""
    import site

    here = os.getcwd()
    return {
        "path": [*(os.path.abspath(folder) for folder in path), *(os.path.join(here, folder) for folder in sys.path)],
        "site": not sys.flags.no_site,
        "user_site": site.getusersitepackages() if site.ENABLE_USER_SITE else None,
        "argv": list(getattr(sys, "argv", [""])),
        "cwd": here,
        "main": main,
    }


def prepare(host: dict[str, Any]) -> None:
    """Make this interpreter import like the host's: site-packages with their .pth files, sys.path, working folder."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "actorsys"]:
        del sys.modules[name]  # the stand-ins; what they loaded stays alive in who uses it
    if host["site"]:
        import site

        site.main()
        if host["user_site"]:
            site.addsitedir(host["user_site"])
    # After .pth files ran: they add import hooks (editable installs) which a path alone would not bring.
    sys.path[:] = host["path"]
    sys.argv[:] = host["argv"]
    try:
        os.chdir(host["cwd"])
    except OSError:
        pass  # it was deleted: the agents then live where the keeper does
    from actorsys.process import loading

    loading.set_main(host["main"])


def tidy_streams() -> None:
    """Lines of text go out as they are written, whatever the locale says."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # a program without a console may have none
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
