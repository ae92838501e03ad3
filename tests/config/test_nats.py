"""Logins and files of [nats]: what excludes what, what is missing, and where that stands in the file."""

import pytest

from actorsys.config.load import load
from actorsys.errors import ConfigError

SEED = "SU" + 56 * "A"
CREDS = f"""-----BEGIN NATS USER JWT-----
e30.eyJleHAiOjB9.c2ln
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{SEED}
------END USER NKEY SEED------
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("NATS_URL", "NATS_WEBSOCKET_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def read(tmp_path):
    """The [nats] of a file with these lines in that table."""

    def read(*lines):
        file = tmp_path / "agents.toml"
        file.write_text("\n".join(["[nats]", *lines, ""]))
        return load(file).nats

    return read


@pytest.fixture
def wrong(read, tmp_path):
    """The problems of such a file, one line each, without its name."""

    def wrong(*lines):
        with pytest.raises(ConfigError) as caught:
            read(*lines)
        return caught.value.message.replace(f"{tmp_path}/agents.toml:", "").splitlines()

    return wrong


URL = 'url = "nats://h"'


def test_files_are_seen_from_the_file_and_secrets_come_from_the_environment(read, tmp_path, monkeypatch):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/me.creds").write_text(CREDS)
    assert read(URL, 'creds_file = "keys/me.creds"').creds_file == str(tmp_path / "keys/me.creds")
    monkeypatch.setenv("NATS_TOKEN", "geheim")
    found = read(URL, 'token = "${NATS_TOKEN}"', 'ping_interval = "2s"', 'outbox_bytes = "1MiB"')
    assert (found.token, found.ping_interval, found.outbox_bytes) == ("geheim", 2.0, 2**20)
    assert "geheim" not in repr(found)


def test_ways_to_log_in_exclude_each_other_and_all_is_said_at_once(wrong):
    assert wrong(
        URL, 'token = "geheim1"', 'user = "me"', 'tls_key = "none.pem"', 'nkey_seed = "geheim2"', 'tls_ca = "no/ca.pem"'
    ) == [
        "4:1  nats.user: token and user are both set; one way to log in is enough",
        "4:1  nats.user: user and password go together; one of them is missing",
        "5:1  nats.tls_key: tls_key is set without tls_cert",
        '5:1  nats.tls_key: "none.pem" cannot be read: No such file or directory',
        "6:1  nats.nkey_seed: token and nkey_seed are both set; one way to log in is enough",
        "6:1  nats.nkey_seed: is not the seed of a user's NKey: SU and 56 more letters and digits",
        '7:1  nats.tls_ca: "no/ca.pem" cannot be read: No such file or directory',
    ]


def test_a_login_in_the_url_excludes_a_key_or_creds(wrong):
    text = "nkey_seed is set, and a URL has a login, too; one way to log in is enough"
    assert wrong('url = "nats://geheim@h"', f'nkey_seed = "{SEED}"') == [f"3:1  nats.nkey_seed: {text}"]


def test_urls_that_cannot_be_used_together_or_at_all(wrong, monkeypatch):
    assert wrong('url = "nats://h,ws://h"') == ["2:1  nats.url: the NATS URLs mix nats:// and ws://; one connection uses either"]
    monkeypatch.setenv("NATS_URL", "http://me:geheim@h")
    assert wrong('mode = "external"') == [
        "1:1  nats.url: 'http://***@h' is no NATS URL; write nats://HOST:PORT, or tls://, ws://, wss:// (it comes from NATS_URL in the environment)"
    ]


def test_files_that_are_there_but_wrong(wrong, tmp_path):
    (tmp_path / "me.creds").write_text("geheim")
    (tmp_path / "ca.pem").write_text("geheim")
    assert wrong(URL, 'creds_file = "me.creds"') == [
        '3:1  nats.creds_file: "me.creds" is no creds file: it needs the JWT and the seed of a user'
    ]
    (line,) = wrong(URL, 'tls_ca = "ca.pem"')
    assert line.startswith("3:1  nats.tls_ca: the TLS files (")
    assert wrong(URL, 'tls_ca = "."') == ['3:1  nats.tls_ca: "." cannot be read: Is a directory']


def test_what_no_server_of_ours_needs_is_not_looked_for(read):
    assert read('mode = "off"', 'creds_file = "none.creds"').mode == "off"
    assert read('url = "${NATS_URL:-}"', 'creds_file = "none.creds"').url == ""  # auto: the embedded one
