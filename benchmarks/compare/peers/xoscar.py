"""xoscar: a pool of one process per actor, on uvloop, messages pickled; the pool looks after its processes twice a second."""

import asyncio
import os
import signal
import socket
from importlib.metadata import version
from time import perf_counter

import xoscar
from loops import FAN, Tally, Told, echoed_async, in_turn_async, outstanding_async, told_async
from messages import Job, Question, question


class Worker(xoscar.Actor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def question(self, message: Question) -> int:
        return message.id

    async def job(self, message: Job) -> None:
        self.count += 1

    async def counted(self) -> int:
        count, self.count = self.count, 0
        return count

    async def large(self, data: bytes) -> bytes:
        return data

    async def pid(self) -> int:
        return os.getpid()

    async def around(self, other: "xoscar.ActorRef[Worker]", seconds: float) -> list[int]:
        return await in_turn_async(other.question, seconds)


class Peer:
    async def start(self) -> str:
        self.pools: list[xoscar.MainActorPoolType] = []
        self.workers = await self._pool(FAN)
        return version("xoscar")

    async def _pool(self, processes: int) -> list["xoscar.ActorRef[Worker]"]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        pool = await xoscar.create_actor_pool(address, n_process=processes, use_uvloop=True, auto_recover="actor")
        self.pools.append(pool)
        return [await xoscar.create_actor(Worker, uid=f"worker at {where}", address=where) for where in pool.sub_processes]

    async def ask(self, seconds: float) -> list[int]:
        return await in_turn_async(self.workers[0].question, seconds)

    async def asks(self, seconds: float) -> Tally:
        return await outstanding_async(self.workers[0].question, seconds)

    async def tells(self, to: int, seconds: float) -> Told:
        workers = self.workers[:to]

        async def counted() -> int:
            return sum([await worker.counted() for worker in workers])

        return await told_async([worker.job.tell for worker in workers], counted, seconds)

    async def between(self, seconds: float) -> list[int]:
        return list(await self.workers[0].around(self.workers[1], seconds))

    async def echo(self, seconds: float) -> Tally:
        return await echoed_async(self.workers[0].large, seconds)

    async def spawn(self, count: int) -> float:
        start = perf_counter()
        await asyncio.gather(*(worker.question(question(0)) for worker in await self._pool(count)))
        return perf_counter() - start

    async def kill(self) -> float:
        first = self.workers[0]
        old = await first.pid()
        start = perf_counter()
        os.kill(old, signal.SIGKILL)
        while True:
            try:
                async with asyncio.timeout(5):
                    if await first.pid() != old:
                        return perf_counter() - start
            except (OSError, EOFError, TimeoutError, xoscar.errors.XoscarError):
                pass  # it is down: ask again
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        for pool in self.pools:
            await pool.stop()
