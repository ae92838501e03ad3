"""All crash points and all power losses, for the backends and for the planted mistakes, as one table. `make crash`.

    python scripts/crash.py [--commits N]

Exit code 1 when a backend lost something, or a mistake was not caught.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "crash"))

from power import harm_bytes, lose_power
from scenario import InPlace, NoFileSync, NoFolderSync
from syscalls import FAULTS, build, crash

from actorsys.memory import document, file
from actorsys.memory.file import File

CONTROLS = ("in place", "no journal")


def main() -> int:
    parser = argparse.ArgumentParser(description="Every crash point, every power loss.")
    parser.add_argument("--commits", type=int, default=12, help="of a run; default: 12")
    commits = parser.parse_args().commits
    failed = False

    def row(what: str, tried: int, wrong: list[str], *, is_control: bool = False) -> None:
        nonlocal failed
        is_bad = not wrong if is_control else bool(wrong)
        failed = failed or is_bad
        note = ("not caught" if is_bad else "caught") if is_control else ("LOST" if is_bad else "")
        print(f"{what:44} {tried:6} states {len(wrong):6} violations  {note}".rstrip(), flush=True)
        for line in wrong[:3] if is_bad else []:
            print(f"    {line[:300]}")

    with tempfile.TemporaryDirectory(prefix="actorsys-crash-") as name:
        folder = Path(name)
        library = build(folder)
        if isinstance(library, str):
            print(f"crash points are not tried: {library}")
        else:
            for backend in ("file", "sqlite", *CONTROLS):
                for fault in FAULTS:
                    for size in (40, 3000):
                        found = crash(library, folder, backend, fault, commits=commits, size=size)
                        # A fault that a backend survives although it is wrong proves nothing; kill and torn must not be survived.
                        is_control = backend in CONTROLS
                        if not is_control or (fault in ("kill", "torn") and size > 40):
                            row(f"{backend}, {fault}, {size} bytes", found["points"], found["wrong"], is_control=is_control)
        row("file, power loss", *lose_power(File, folder, commits))
        row("file, each byte changed", *harm_bytes(File, folder, commits))
        row("in place, power loss", *lose_power(InPlace, folder, commits), is_control=True)
        row("no fsync of the file, power loss", *lose_power(NoFileSync, folder, commits), is_control=True)
        row("no fsync of the folder, power loss", *lose_power(NoFolderSync, folder, commits), is_control=True)
        parse, file.parse = file.parse, lambda data: document.content(data.partition(b"\n")[2])
        row("no checksum, each byte changed", *harm_bytes(File, folder, commits), is_control=True)
        file.parse = parse
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
