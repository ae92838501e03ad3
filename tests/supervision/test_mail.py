"""The driver of the switchboard: what it says of what it moves."""

from pathlib import Path

import pytest

from actorsys import clock
from actorsys.mailbox.letter import HOST, TELL, Frame, Letter
from actorsys.mailbox.traffic import Posted
from actorsys.supervision.mail import Mail
from actorsys.units import SECOND_NS


async def commands(do: str, arguments: dict[str, object]) -> None:
    raise AssertionError(f"nothing here is commanded: {do}")


def test_dead_letters_of_one_type_to_one_agent_are_one_line_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [SECOND_NS]
    monkeypatch.setattr(clock, "now_ns", lambda: now[0])
    mail = Mail(commands, 2**20, tmp_path / "journal")

    def post(to: str) -> None:
        frame = Frame(letters=[Letter(TELL, 0, to, "", "shop:Add", b"\x80")])
        mail._is_corked = True  # no loop turns here
        mail.handle(Posted(HOST, frame))

    for _ in range(50):
        post("nobody")
    post("somebody")
    now[0] += SECOND_NS
    post("nobody")
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(":")[1] for text in said] == [
        " Add from the supervisor's process to nobody",
        " Add from the supervisor's process to somebody",
        " Add from the supervisor's process to nobody",
    ]
    assert ["more like this" in text for text in said] == [False, False, True]
    assert said[2].endswith("(49 more like this)")
    assert len(mail.switchboard.dead_letters) == 52
