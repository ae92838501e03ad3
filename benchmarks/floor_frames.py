"""The floor `frames` of floors.py: our own runtime, pipe and codec, and a hub that keeps nothing."""

import asyncio
import multiprocessing
import os

import msgspec
from agents import Sender, Sink, TellAround

import actorsys
from actorsys.mailbox.codec import decode, encode
from actorsys.mailbox.letter import ASK, Frame, Letter, Ready, Stop
from actorsys.mailbox.pipe import Pipe
from actorsys.messages import class_path, type_id
from actorsys.runtime import child
from actorsys.spec import Assignment

ASKED = 2**62  # the number of the one ask


def frames(messages: int) -> float:
    """Messages a second, counted where they arrive."""
    ends, pids = [], []
    for name, cls in (("sender", Sender), ("sink", Sink)):
        ours, theirs = multiprocessing.Pipe()
        born = Assignment(name=f"{name}/0", shown=name, type=class_path(cls), args={}, incarnation=1, run="floor")
        pid = os.fork()
        if pid == 0:
            ours.close()
            for end in ends:
                end.close()
            os._exit(child.main(msgspec.msgpack.encode(born), theirs))
        theirs.close()
        ends.append(ours)
        pids.append(pid)

    async def hub() -> tuple[int, int]:
        answered: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        waiting = {"sender", "sink"}
        payload = encode(TellAround("sink", messages))

        def passed_on(batch: list[Frame], name: str, to: str) -> None:
            for frame in batch:
                if any(isinstance(note, Ready) for note in frame.notes):
                    waiting.discard(name)
                    if not waiting:
                        letter = Letter(ASK, ASKED, "sender", "$host", type_id(TellAround), payload)
                        pipes["sender"].send(Frame([], [letter]))
                if frame.number:
                    pipes[name].send(Frame([frame.number]))
                if frame.letters and frame.letters[0].id == ASKED:
                    answered.set_result(decode(frame.letters[0].payload, tuple[int, int]))
                elif frame.letters:
                    pipes[to].send(Frame([], frame.letters))

        pipes = {
            name: Pipe(end, lambda batch, name=name, to=to: passed_on(batch, name, to), lambda error: None)
            for name, to, end in (("sender", "sink", ends[0]), ("sink", "sender", ends[1]))
        }
        result = await answered
        for pipe in pipes.values():
            pipe.send(Frame([], [], [Stop()]))
        for pid in pids:
            await asyncio.to_thread(os.waitpid, pid, 0)
        for pipe in pipes.values():
            pipe.close()
        return result

    counted, ns = actorsys.run(hub())
    if counted != messages:
        raise AssertionError(f"{counted} of {messages} messages arrived")
    return round(messages / ns * 1e9)
