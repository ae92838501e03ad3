"""Can [nats] work on this machine? Which keys exclude each other, and are its files there?"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..bus.nats_creds import is_creds
from ..bus.nats_options import NatsOptions
from ..errors import ConfigError
from ..spec import NatsSpec
from .fit import build
from .problems import Problem, config_error, shown
from .schema import nats_values

URL_NAMES = ("NATS_URL", "NATS_WEBSOCKET_URL")
FILES = ("creds_file", "tls_ca", "tls_cert", "tls_key")
MODES = ("off", "auto", "embedded")


def spec_of(given: str | Mapping[str, Any], environ: Mapping[str, str]) -> NatsSpec:
    """The `nats` argument of a Supervisor: a mode, a URL, or the keys of [nats]; files as seen from the working directory.

    Raises ConfigError with one line for each problem.
    """
    if isinstance(given, str):
        given = {"mode": given} if given in MODES else {"mode": "external", "url": given}
    found: list[Problem] = []
    values = nats_values(given, environ, found)
    found.extend(problems(values, Path(), environ))
    if found:
        raise config_error(found)
    return build(NatsSpec, resolved(values, Path()))


def problems(values: Mapping[str, Any], folder: Path, environ: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with an external server's values, each of which is right by itself; files as seen from `folder`."""
    if values.get("mode", "auto") not in ("external", "auto") or not values.get("url"):
        return
    options = NatsOptions.of(build(NatsSpec, resolved(values, folder)))
    wrong = [(key, text.rstrip(".")) for key, text in options.problems()]
    wrong += [(key, f"{shown(values[key])} {text}") for key in FILES if values.get(key) and (text := _unreadable(options, key))]
    if not wrong:
        try:
            options.tls()
        except ConfigError as error:
            wrong.append(((error.where or "nats.tls_ca").removeprefix("nats."), error.message.rstrip(".")))
    source = next((name for name in URL_NAMES if environ.get(name, "").strip() == values["url"].strip()), "")
    for key, text in wrong:
        yield Problem(("nats", key), f"{text} (it comes from {source} in the environment)" if source and key == "url" else text)


def resolved(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The values with absolute file names, as seen from `folder`."""
    files = {key: str((folder / Path(values[key]).expanduser()).absolute()) for key in FILES if values.get(key)}
    return {**values, **files}


def _unreadable(options: NatsOptions, key: str) -> str | None:
    try:
        text = Path(getattr(options, key)).read_text(errors="replace")
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:  # a zero byte
        return f"is no file name: {error}"
    return "is no creds file: it needs the JWT and the seed of a user" if key == "creds_file" and not is_creds(text) else None
