"""Agents of the tests, and tools: what they were asked is in a file, so that it is there after any death."""

from pathlib import Path
from typing import Any

from actorsys import Agent, on
from actorsys.agents import Work
from actorsys.testing.waiting import eventually


class Worker(Agent):
    """Writes the task into `file`, and answers with it and the names of its inputs. "hold ..." waits for the file `go`, "fail" raises."""

    def __init__(self, file: str, go: str = "") -> None:
        self.file, self.go = Path(file), Path(go)

    @on
    async def work(self, msg: Work) -> Any:
        with self.file.open("a") as file:
            file.write(msg.task + "\n")
        if msg.task.startswith("fail"):
            raise ValueError(f"cannot {msg.task}")
        if msg.task.startswith("hold"):
            await eventually(self.go.exists, 60)
        return [msg.task, sorted(msg.inputs)]


def look(place: str) -> str:
    """What is at a place?"""
    return f"a lake at {place}"


async def fail(place: str) -> str:
    """Never works."""
    raise LookupError(f"nothing at {place}")


NO_TOOL = 7
