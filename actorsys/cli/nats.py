"""`nats`: where is the NATS server that the supervisor runs, and what opens it?"""

from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from ..bus.nats_options import NatsOptions
from ..errors import Unreachable
from .options import settings, shared
from .output import clean, print_json, print_line


class Where(Struct, frozen=True):
    """What the supervisor leaves in nats.json."""

    urls: tuple[str, ...]
    websocket_urls: tuple[str, ...] = ()
    monitoring_urls: tuple[str, ...] = ()
    token: str = ""

    def with_token(self, urls: tuple[str, ...]) -> str:
        """As NATS_URL and NATS_WEBSOCKET_URL take them."""
        return ",".join(url.replace("://", f"://{self.token}@", 1) for url in urls)

    def options(self) -> NatsOptions:
        return NatsOptions(urls=self.urls, token=self.token).check()


def credentials_file() -> Path:
    from ..config.load import state_dir

    return state_dir(settings().file) / "nats.json"


def embedded() -> Where | None:
    """The server of our supervisor, if it runs one. Raises Unreachable for a file that cannot be used."""
    path = credentials_file()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Where)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unreachable(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreachable(f"{path} is not what a supervisor of this version writes: {error}") from None


@click.command()
@click.option("--show-secrets", is_flag=True, help="Print the token, and URLs with it for NATS_URL and NATS_WEBSOCKET_URL.")
@shared()
def nats(show_secrets: bool) -> None:
    """Say where the NATS server of the supervisor is: its URLs, its monitoring port, the file with its credentials."""
    found = embedded()
    if found is None:
        raise Unreachable(f"no NATS server of a supervisor runs here: there is no {credentials_file()}")
    facts: dict[str, Any] = {
        "urls": found.urls,
        "websocket_urls": found.websocket_urls,
        "monitoring_urls": found.monitoring_urls,
        "credentials_file": str(credentials_file()),
    }
    if show_secrets:
        facts |= {"token": found.token, "nats_url": found.with_token(found.urls)}
        facts |= {"nats_websocket_url": found.with_token(found.websocket_urls)} if found.websocket_urls else {}
    wanted = settings()
    if wanted.output != "table":
        print_json(facts, lines=wanted.output == "jsonl")
        return
    for key, value in facts.items():
        print_line(f"{key:<17} {clean(value if isinstance(value, str) else ' '.join(value) or '-')}")
