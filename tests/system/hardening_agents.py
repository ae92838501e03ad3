"""An agent that does what nobody expects."""

import asyncio
import os

from actorsys import ActorError, Agent, Request, on


class Print(Request[None]):
    line: str


class Raise(Request[None]):
    pass


class SpawnOdd(Request[str]):
    pass


class RunPrograms(Request[list[str]]):
    pass


class Fork(Request[list[int]]):
    """Answered with the descriptors that are other files in the child."""


class Odd(Agent):
    def __init__(self, lingers: bool = False) -> None:
        self.lingers = lingers

    async def on_stop(self, reason: str) -> None:
        if self.lingers:
            await asyncio.Event().wait()

    @on
    async def print(self, msg: Print) -> None:
        print(msg.line, flush=True)
        if self.lingers:
            await self.stop()

    @on
    async def fail(self, msg: Raise) -> None:
        raise FileNotFoundError(
            "no file " + b"\\x80".decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")
        )

    @on
    async def spawn_odd(self, msg: SpawnOdd) -> str:
        try:
            await self.spawn(Odd, name="other", args={"lingers": object()})
        except ActorError as error:
            return str(error)
        return "spawned"

    @on
    async def run_programs(self, msg: RunPrograms) -> list[str]:
        said = []
        for word in "one", "two":
            process = await asyncio.create_subprocess_exec("echo", word, stdout=asyncio.subprocess.PIPE)
            said.append((await process.communicate())[0].decode().strip())
        process = await asyncio.create_subprocess_shell("exec sleep 60")
        process.kill()
        return [*said, str(await process.wait())]

    @on
    def fork(self, msg: Fork) -> list[int]:
        files = [os.open(__file__, os.O_RDONLY) for _ in range(8)]
        before = {fd: os.fstat(fd).st_ino for fd in files}
        reads, writes = os.pipe()
        if (pid := os.fork()) == 0:
            os.write(writes, bytes(fd for fd, inode in before.items() if os.fstat(fd).st_ino != inode))
            os._exit(0)
        os.close(writes)
        assert os.waitpid(pid, 0)[1] == 0
        changed = list(os.read(reads, 99))
        for fd in (reads, *files):
            os.close(fd)
        return changed
