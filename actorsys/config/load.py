"""Read agents.toml, and the env file beside it, from disk."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from ..errors import ConfigError
from ..spec import SupervisorSpec
from . import dotenv, nats
from .expand import expand
from .schema import Config, read

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TWICE = re.compile(r"Cannot declare \((.*?),?\) twice")


def load(path: str | os.PathLike[str]) -> Config:
    """The configuration in the file at `path`.

    The state directory, the files of [nats] and the scripts of [llm] become absolute, as seen from the file. The env file sets what the real environment leaves unset.

    Raises ConfigError with one line for each problem, in the file and in its env file.
    """
    file = Path(path)
    toml, tables = _tables(file)
    real = dict(os.environ)
    lines: list[str] = []
    added: dict[str, str] = {}
    try:
        added = {key: value for key, value in _env_file(file, tables, real).items() if key not in real}
    except ConfigError as error:
        lines.append(error.message)
    folder = file.absolute().parent
    environ = {**added, **real}
    config = None
    try:
        config = read(
            tables,
            toml=toml,
            file=str(path),
            path=str(file.absolute()),
            environ=environ,
            added=added,
            name=_name_of(folder),
            probe=lambda values: nats.problems(values, folder, environ),
        )
    except ConfigError as error:
        lines.append(error.message)
    if lines or config is None:
        text = "\n".join(lines)
        raise ConfigError(text, where=text.partition("  ")[0])
    state_dir = str(folder / Path(config.supervisor.state_dir).expanduser())
    files = nats.resolved(structs.asdict(config.nats), folder)
    supervisor = structs.replace(config.supervisor, state_dir=state_dir)
    llm = {name: structs.replace(spec, script=_from(folder, spec.script)) for name, spec in config.llm.items()}
    return structs.replace(config, supervisor=supervisor, nats=structs.replace(config.nats, **files), llm=llm)


def state_dir(path: str | os.PathLike[str]) -> Path:
    """The state directory of the supervisor that runs the file at `path`, even if the file is gone or wrong by now."""
    file = Path(path)
    try:
        text = _setting(_tables(file)[1], "state_dir", dict(os.environ))
    except ConfigError:
        text = SupervisorSpec().state_dir
    return file.absolute().parent / Path(text).expanduser()


def _from(folder: Path, path: str) -> str:
    return str(folder / Path(path).expanduser()) if path else ""


def _tables(file: Path) -> tuple[str, dict[str, Any]]:
    toml = ""
    try:
        toml = file.read_bytes().decode().removeprefix("\ufeff").replace("\r\n", "\n")
        return toml, tomllib.loads(toml)
    except FileNotFoundError:
        text = f"{file}: there is no such file; give the path of yours, as in `actorsys supervise path/to/agents.toml`"
        raise ConfigError(text, where=str(file)) from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}", where=str(file)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text, at byte {error.start}", where=str(file)) from None
    except RecursionError:
        raise ConfigError(f"{file}: tables or lists are nested too deeply", where=str(file)) from None
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), str(file), toml) from None


def _syntax_error(text: str, file: str, toml: str) -> ConfigError:
    lines = toml.split("\n")
    place = _PLACE.search(text)
    line, column = (place[1], place[2]) if place and place[1] else (len(lines), len(lines[-1]) + 1)
    text = _PLACE.sub("", text)
    if twice := _TWICE.match(text):
        text = f"{twice[1].replace(', ', '.').replace(chr(39), '')} is there twice"
    where = f"{file}:{line}:{column}"
    return ConfigError(f"{where}  {text[0].lower()}{text[1:]}", where=where)


def _env_file(file: Path, tables: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the env file; none when there is no such file."""
    name = _setting(tables, "env_file", environ)
    if not name:
        return {}
    path = file.parent / Path(name).expanduser()
    try:
        return dotenv.parse(path.read_bytes().decode(), file=str(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text, at byte {error.start}", where=str(path)) from None


def _setting(tables: Mapping[str, Any], key: str, environ: Mapping[str, str]) -> str:
    """A text of [supervisor], before the whole is checked; the default when there is none."""
    table = tables.get("supervisor")
    text = expand(table.get(key), environ, (), []) if isinstance(table, Mapping) else None
    return text if isinstance(text, str) else str(getattr(SupervisorSpec(), key))


def _name_of(folder: Path) -> str:
    """The directory's name, made into one that a supervisor may have."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name).strip("-_")[:63]
    return name if re.match(r"[A-Za-z]", name) else f"node-{name}"[:63].rstrip("-")
