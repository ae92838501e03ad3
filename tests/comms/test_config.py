import pytest

from actorsys.bus.nats_options import NatsOptions
from actorsys.comms import NatsConfig
from actorsys.errors import ConfigError


def test_the_defaults() -> None:
    config = NatsConfig()
    assert (config.nats_url, config.connection_timeout, config.message_timeout) == ("nats://127.0.0.1:4222", 5.0, 30.0)
    assert config.heartbeat_interval == 30.0


def test_the_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://other:4333")
    monkeypatch.setenv("NATS_CONNECTION_TIMEOUT", "500ms")
    monkeypatch.setenv("NATS_MESSAGE_TIMEOUT", "2.5")
    config = NatsConfig()
    assert (config.nats_url, config.connection_timeout, config.message_timeout) == ("nats://other:4333", 0.5, 2.5)
    assert NatsConfig("nats://mine").nats_url == "nats://mine"


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_MESSAGE_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match="NATS_MESSAGE_TIMEOUT: 'soon' is not a duration"):
        NatsConfig()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"nats_url": "http://x"}, "nats.url"),
        ({"connection_timeout": 0.0}, "connection_timeout"),
        ({"heartbeat_interval": -1.0}, "heartbeat_interval"),
        ({"concurrency": 0}, "concurrency"),
        ({"queue_size": 0}, "queue_size"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, object], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        NatsConfig(**changes).connection()  # type: ignore[arg-type]
    assert caught.value.where == where


def test_credentials_and_timers_come_from_the_options_and_are_not_shown() -> None:
    options = NatsOptions(urls=("nats://ignored",), token="geheim")
    config = NatsConfig("nats://a,nats://me:geheim2@b:1", options=options)
    made = config.connection()
    assert made.urls == ("nats://a:4222", "nats://me:geheim2@b:1")
    assert made.token == "geheim"
    assert "geheim" not in repr(config)
