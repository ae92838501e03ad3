"""Bare nats-py between processes through a nats-server on loopback: typed msgpack payloads, and nobody who keeps or restarts anything.

python -m peers.nats URL NAME    one worker, until the end of its input
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import msgspec
import nats
from loops import FAN, Tally, Told, echoed_async, in_turn_async, outstanding_async, told_async
from messages import Job, Question
from nats.aio.client import Client
from nats.aio.msg import Msg

import actorsys
from actorsys.testing.nats import run_server

ENCODE = msgspec.msgpack.Encoder().encode
QUESTION, JOB = msgspec.msgpack.Decoder(Question).decode, msgspec.msgpack.Decoder(Job).decode
LONG = 30.0
FLUSHED = 512  # tells between two flushes: the server drops whoever has too much waiting


def asking(client: Client, name: str) -> Callable[[Question], Awaitable[int]]:
    async def ask(message: Question) -> int:
        return int((await client.request(f"{name}.question", ENCODE(message), timeout=LONG)).data)

    return ask


async def work(url: str, name: str) -> None:
    client, count = await nats.connect(url), 0

    async def take(message: Msg) -> None:
        nonlocal count
        match message.subject.partition(".")[2]:
            case "question":
                await client.publish(message.reply, b"%d" % QUESTION(message.data).id)
            case "job":
                JOB(message.data)
                count += 1
            case "count":
                await client.publish(message.reply, b"%d" % count)
                count = 0
            case "large":
                await client.publish(message.reply, message.data)

    async def around(message: Msg) -> None:
        taken = await in_turn_async(asking(client, "worker-1"), float(message.data))
        await client.publish(message.reply, ENCODE(taken))

    await client.subscribe(f"{name}.*", cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.subscribe(f"around.{name}", cb=around)
    await client.flush()
    print("ready", flush=True)
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    await stdin.read()
    await client.close()


class Peer:
    async def start(self) -> str:
        self.stack = AsyncExitStack()
        server = await self.stack.enter_async_context(run_server(Path(os.environ["TMPDIR"])))
        url = server.url.replace("://", f"://{server.info.token}@")
        self.workers: list[Process] = []
        for number in range(FAN):
            arguments = (sys.executable, "-m", "peers.nats", url, f"worker-{number}")
            self.workers.append(await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE))
        for worker in self.workers:
            assert worker.stdout is not None
            await worker.stdout.readline()
        self.client = await nats.connect(url)
        return version("nats-py")

    async def ask(self, seconds: float) -> list[int]:
        return await in_turn_async(asking(self.client, "worker-0"), seconds)

    async def asks(self, seconds: float) -> Tally:
        return await outstanding_async(asking(self.client, "worker-0"), seconds)

    async def tells(self, to: int, seconds: float) -> Told:
        names = [f"worker-{number}" for number in range(to)]

        def telling(name: str) -> Callable[[Job], Awaitable[None]]:
            async def tell(message: Job) -> None:
                await self.client.publish(f"{name}.job", ENCODE(message))
                if message.id % FLUSHED == 0:
                    await self.client.flush()

            return tell

        async def counted() -> int:
            return sum([int((await self.client.request(f"{name}.count", timeout=LONG)).data) for name in names])

        return await told_async([telling(name) for name in names], counted, seconds)

    async def between(self, seconds: float) -> list[int]:
        answer = await self.client.request("around.worker-0", str(seconds).encode(), timeout=seconds + LONG)
        return msgspec.msgpack.decode(answer.data, type=list[int])

    async def echo(self, seconds: float) -> Tally:
        async def echo(data: bytes) -> bytes:
            return (await self.client.request("worker-0.large", data, timeout=LONG)).data

        return await echoed_async(echo, seconds)

    async def stop(self) -> None:
        await self.client.close()
        for worker in self.workers:
            worker.kill()
            await worker.wait()
        await self.stack.aclose()


if __name__ == "__main__":
    actorsys.run(work(*sys.argv[1:]))
