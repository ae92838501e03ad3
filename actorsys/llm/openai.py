"""OpenAI, and every server that speaks its API: LM Studio, vLLM and the like."""

from types import ModuleType
from typing import Any, Literal

from .sdk import SdkProvider
from .wire import Wire
from .wire_chat import Chat
from .wire_responses import Responses

Api = Literal["chat", "responses"]

_URL = "https://api.openai.com/v1"


class OpenAIProvider(SdkProvider):
    """`api` is "chat", which every compatible server has, or "responses"."""

    def __init__(self, base_url: str = "", key: str = "", api: Api = "chat") -> None:
        wire: Wire = Responses() if api == "responses" else Chat(is_openai=not base_url)
        super().__init__("openai", wire, _URL, base_url=base_url, key=key, variable="OPENAI_API_KEY", sdk=_sdk, make=_make)


def _sdk() -> ModuleType:
    import openai

    return openai


def _make(url: str, key: str, http_client: Any) -> Any:
    return _sdk().AsyncOpenAI(api_key=key, base_url=url, max_retries=0, http_client=http_client)


def __before_fork__() -> None:  # noqa: N807 - what the zygote calls when it has loaded this
    """Load what agents share."""
    OpenAIProvider("http://nobody").warm()
