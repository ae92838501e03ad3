"""Did the kernel kill for lack of memory? Read from the counters of our control group, where there is one to read."""

from pathlib import Path

GROUPS = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")


def counter() -> Path | None:
    """The file that counts the kernel's kills in our control group; None where no such file can be read."""
    try:
        lines = GROUPS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            folders, name = (MOUNT / path.lstrip("/"), MOUNT), "memory.events"
        elif "memory" in controllers.split(","):
            folders, name = (MOUNT / "memory" / path.lstrip("/"), MOUNT / "memory"), "memory.oom_control"
        else:
            continue
        for folder in folders:
            if kills(folder / name) is not None:
                return folder / name
    return None


def kills(file: Path | None) -> int | None:
    """How often the kernel has killed so far; None when that cannot be read."""
    if file is None:
        return None
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
