"""Where are the files that a supervisor and the command line both need to find?"""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from ..errors import ConfigError

# A socket's path must fit into 108 bytes on Linux and 104 on macOS, the closing zero byte included.
SOCKET_PATH_BYTES = 100


def control_socket(state_dir: Path) -> Path:
    """The control socket of the supervisor that keeps its state in `state_dir`.

    In `state_dir`, unless the path gets too long for a socket; then in a private directory under the temporary one.
    """
    home = state_dir.expanduser().resolve()
    path = home / "control.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    short = f"actorsys-{os.getuid()}/{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}.sock"
    path = Path(tempfile.gettempdir()).resolve() / short
    return path if len(os.fsencode(path)) <= SOCKET_PATH_BYTES else Path("/tmp") / short  # noqa: S108 - private_directory checks


def private_directory(path: Path) -> Path:
    """Make `path` a directory that only its owner may enter, and make sure that the owner is us.

    Raises ConfigError when it belongs to somebody else or is no directory: others could reach or replace what is in it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        owners = {found.st_uid, path.lstat().st_uid}  # of the directory, and of the link to it if it is one
    except OSError as error:
        raise ConfigError(f"{path}: cannot be used as a directory: {error.strerror}", where=str(path)) from None
    if not stat.S_ISDIR(found.st_mode) or owners != {os.getuid()}:
        text = f"{path}: is not a directory of this user; remove it, or set state_dir in [supervisor] to another place"
        raise ConfigError(text, where=str(path))
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)
    return path
