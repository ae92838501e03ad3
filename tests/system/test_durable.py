"""Mail on disk survives the supervisor, and finished steps are not run again."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from durable_agents import ON_DISK, Careless, Line, Lines, Twice, Work, Worker, Writer

from actorsys import ActorError, RemoteError, StateError, Supervisor
from actorsys.mailbox.journal import Journal
from actorsys.testing.waiting import eventually, until

OFTEN = {"max_restarts": 100, "backoff": "1ms"}
KILLS = 4


def acts(folder):
    return [int(line) for line in (folder / "acts").read_text().split()]


@pytest.mark.parametrize("kill_at", range(5))
def test_a_finished_step_is_not_run_again_after_a_kill(run, folder, kill_at):
    async def main():
        async with Supervisor(nats="off") as sup:
            worker = await sup.spawn(Worker, name="worker", memory="sqlite", restart=OFTEN)
            assert await worker.ask(Work(str(folder), kill_at)) == [0, 10, 20, 30, 40]
            assert (await worker.info())["restarts"] == 1
            assert await sup._commands("steps", {"name": "worker"}) == []

    run(main())
    assert acts(folder) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kill_at", range(5))
def test_a_finished_step_is_not_run_again_when_the_supervisor_is_killed_too(run, folder, kill_at):
    program = Path(__file__).parent / "durable_agents.py"
    host = subprocess.Popen([sys.executable, str(program), str(folder), str(kill_at), "work"], stdin=subprocess.DEVNULL)
    try:
        assert host.wait(30) == -9
    finally:
        host.kill()
        host.wait()

    async def main():
        async with Supervisor(state_dir=folder / "state", nats="off") as sup:
            await sup.spawn(Worker, name="worker", memory="sqlite", mailbox=ON_DISK)
            await eventually((folder / "done").exists)
            await eventually(lambda: sup.children()[0]["mailbox"] == 0)

    run(main())
    assert acts(folder) == [0, 1, 2, 3, 4]


def test_a_step_that_was_cut_off_runs_again_if_it_may(run, folder):
    async def main():
        async with Supervisor(nats="off") as sup:
            worker = await sup.spawn(Worker, name="worker", memory="sqlite", restart=OFTEN)
            assert await worker.ask(Work(str(folder), 2, inside=True)) == [0, 10, 20, 30, 40]

    run(main())
    assert acts(folder) == [0, 1, 2, 2, 3, 4]


def test_a_step_in_doubt_is_reported_and_never_repeated(run, folder):
    async def main():
        async with Supervisor(nats="off") as sup:
            worker = await sup.spawn(Worker, name="worker", memory="sqlite", restart=OFTEN)
            found = await worker.ask(Work(str(folder), 2, inside=True, repeatable=False))
            assert found == [0, 10, "in doubt: step 2", 30, 40]

    run(main())
    assert acts(folder) == [0, 1, 2, 3, 4]


def test_steps_need_a_durable_backend_and_a_name_of_their_own(run, folder):
    async def main():
        async with Supervisor(nats="off") as sup:
            worker = await sup.spawn(Worker, name="worker")
            with pytest.raises(StateError, match='memory = "sqlite"'):
                await worker.ask(Work(str(folder), 9))
            careless = await sup.spawn(Careless, name="careless", memory="sqlite")
            with pytest.raises((RemoteError, ActorError), match="called twice"):
                await careless.ask(Twice())

    run(main())


def test_mail_on_disk_survives_kills_of_the_supervisor_once_and_in_order(run, folder):
    """The state of a durable agent shows each accepted number once, whoever was killed between which two writes."""
    state, program = folder / "state", Path(__file__).parent / "durable_agents.py"
    accepted: list[int] = []
    for kill in range(KILLS):
        output = folder / f"accepted-{kill}"
        with open(output, "wb") as file:
            argv = [sys.executable, str(program), str(state), str(kill * 100_000)]
            host = subprocess.Popen(argv, stdout=file, stdin=subprocess.DEVNULL)
        try:
            until(lambda output=output: len(output.read_bytes().splitlines()) > 200)
        finally:
            host.kill()
            host.wait()
        accepted += [int(line) for line in output.read_text().split("\n")[:-1]]

    async def main():
        async with Supervisor(state_dir=state, nats="off") as sup:
            writer = await sup.spawn(Writer, name="writer", memory="sqlite", mailbox=ON_DISK)
            return await writer.ask(Lines(), timeout=60)

    lines = run(main())
    assert lines == sorted(set(lines))
    assert set(accepted) <= set(lines)
    assert len(lines) <= len(accepted) + KILLS  # one each may be accepted without having been printed


def test_mail_on_disk_of_a_stopped_agent_is_there_at_the_next_start(run, folder):
    async def first():
        async with Supervisor(state_dir=folder, nats="off") as sup:
            writer = await sup.spawn(Writer, name="writer", memory="sqlite", mailbox=ON_DISK)
            await writer.stop()
            for number in range(5):
                await writer.tell(Line(number))

    async def second():
        async with Supervisor(state_dir=folder, nats="off") as sup:
            writer = await sup.spawn(Writer, name="writer", memory="sqlite", mailbox=ON_DISK)
            assert await writer.ask(Lines()) == list(range(5))
        with sqlite3.connect(folder / "mail.sqlite") as db:
            assert db.execute("select count(*) from letters").fetchone() == (0,)
        db.close()

    run(first())
    run(second())


def test_a_corrupt_journal_is_set_aside_with_a_message(run, folder, caplog):
    (folder / "mail.sqlite").write_bytes(b"this is no database at all, but long enough to look at" * 100)

    async def main():
        async with Supervisor(state_dir=folder, nats="off") as sup:
            writer = await sup.spawn(Writer, name="writer", memory="sqlite", mailbox=ON_DISK)
            await writer.tell(Line(1))
            assert await writer.ask(Lines()) == [1]

    run(main())
    assert list(folder.glob("mail.sqlite.corrupt-*"))
    assert any("set aside" in record.message and record.levelno == logging.ERROR for record in caplog.records)


def test_a_slow_disk_holds_up_only_who_writes_to_it(run, folder, monkeypatch):
    import threading

    gate = threading.Event()
    write = Journal._write

    def slow(self, batch):
        gate.wait(30)
        write(self, batch)

    async def main():
        async with Supervisor(state_dir=folder, nats="off") as sup:
            durable = await sup.spawn(Writer, name="durable", memory="sqlite", mailbox=ON_DISK)
            other = await sup.spawn(Writer, name="other")
            monkeypatch.setattr(Journal, "_write", slow)
            try:
                telling = asyncio.ensure_future(durable.tell(Line(1)))
                await other.tell(Line(7))
                assert await other.ask(Lines()) == [7]
                assert not telling.done()
            finally:
                gate.set()
            await telling
            await eventually(telling.done)
            assert await durable.ask(Lines()) == [1]

    run(main())
