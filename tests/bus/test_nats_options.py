"""Options that cannot work are refused; secrets never show."""

import importlib.util

import pytest

from actorsys.bus.nats import NatsBus
from actorsys.bus.nats_options import NatsOptions, bare, credentials
from actorsys.errors import ConfigError


def test_several_urls_with_defaults() -> None:
    options = NatsOptions.parse("localhost, nats://10.0.0.2:4333 ,tls://[::1]")
    assert options.urls == ("nats://localhost:4222", "nats://10.0.0.2:4333", "tls://[::1]:4222")


@pytest.mark.parametrize("text", ["", " , ", "http://x", "nats://", "nats://h:port", "nats://h:99999", "nats://[::1"])
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        NatsOptions.parse(text)
    assert caught.value.where == "nats.url"


@pytest.mark.parametrize(
    "options", [{"token": "t", "user": "u", "password": "p"}, {"user": "u"}, {"tls_key": "k"}, {"creds": "c", "nkey_seed": "n"}]
)
def test_options_that_exclude_each_other_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        NatsOptions.parse("localhost", **options)


def test_websocket_and_plain_urls_do_not_mix() -> None:
    with pytest.raises(ConfigError, match="mix"):
        NatsOptions.parse("nats://a, ws://b:80")


def test_a_websocket_url_without_aiohttp_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install \"actorsys\[websocket\]\""):
        NatsBus(NatsOptions(urls=("ws://127.0.0.1:8080",)))


def test_secrets_show_nowhere() -> None:
    secrets = {"token": "s1-token", "password": "s2-pass", "nkey_seed": "SUs3", "creds": "s4-creds"}
    options = NatsOptions(urls=("nats://me:s5%2Furl@h:1", "nats://s6token@h:2"), user="me", **secrets)
    for shown in (repr(options), str(options), f"{options}"):
        assert not any(secret in shown for secret in [*secrets.values(), "s5%2Furl", "s6token"])
    text = options.redact("refused: s1-token s2-pass SUs3 s4-creds s5%2Furl s5/url s6token")
    assert text == "refused: *** *** *** *** *** *** ***"
    for url in ("http://me:secret@host", "nats://me:secret@[::1"):
        with pytest.raises(ConfigError) as caught:
            NatsOptions.parse(url)
        assert "secret" not in str(caught.value)


def test_a_short_secret_does_not_spoil_the_words_around_it() -> None:
    options = NatsOptions.parse("localhost", token="t")
    assert options.redact("unexpected: t, 't' and to") == "unexpected: ***, '***' and to"


def test_credentials_of_a_url() -> None:
    assert credentials("nats://me:a%2Fb@h:1") == {"user": "me", "password": "a/b"}
    assert credentials("nats://token@h:1") == {"token": "token"}
    assert credentials("nats://h:1") == {}
    assert bare("nats://me:pw@h:1") == "nats://h:1"


def test_backoff_grows_to_its_bound_with_jitter() -> None:
    options = NatsOptions.parse("localhost")
    for tries in range(2000):
        longest = min(1.5, 0.1 * 2.0 ** min(tries, 100))
        assert (longest / 2 if tries else 0.0) <= options.backoff(tries) <= longest
        assert options.backoff(tries, was_refused=True) <= 30.0


def test_a_fleet_is_paced() -> None:
    options = NatsOptions.parse("localhost")
    assert options.paced(20).reconnect_max == 1.5  # back within 2 s
    assert options.paced(1000).reconnect_max == 10.0
    assert options.paced(1000).reconnect_wait == 10.0
    assert NatsOptions.parse("localhost", reconnect_max=20.0).paced(1000).reconnect_max == 20.0


def test_a_quiet_fleet_sends_fifteen_pings_a_second_unless_another_interval_was_asked_for() -> None:
    paced = [NatsOptions.parse("localhost").paced(fleet) for fleet in (1, 150, 300, 900, 9000)]
    assert [options.quiet_interval for options in paced] == [0.0, 0.0, 20.0, 40.0, 40.0]
    assert {options.ping_interval for options in paced} == {10.0}
    assert NatsOptions.parse("localhost", ping_interval=2.0).paced(1000).quiet_interval == 0.0


def test_a_fleet_that_was_asked_at_one_moment_does_not_ping_at_one_moment() -> None:
    options = NatsOptions.parse("localhost").paced(900)
    at = sorted(options.until_ping(is_quiet=True) for _ in range(900))
    assert 30.0 <= at[0] < 33.0 < 47.0 < at[-1] <= 50.0  # below the 60 s after which a proxy hangs up
    assert options.until_ping(is_quiet=False) == options.paced(20).until_ping(is_quiet=False) == 10.0
    assert NatsOptions.parse("localhost").until_ping(is_quiet=True) == 10.0


def test_a_fleet_that_lost_its_server_at_one_moment_comes_back_spread_over_seconds() -> None:
    options = NatsOptions.parse("localhost").paced(300)
    at = sorted(options.backoff(0) for _ in range(300))
    assert max(sum(1 for other in at if first <= other <= first + 1.0) for first in at) < 120
    assert at[-1] <= 4.0
