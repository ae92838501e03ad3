import asyncio

from actorsys.mailbox.codec import encode
from actorsys.memory.in_memory import InMemory


def test_it_is_not_durable_and_a_new_one_knows_nothing():
    async def main():
        memory = InMemory()
        await memory.open("run")
        await memory.commit({"a": encode(1)}, ("run.1",), b"frame")
        assert not memory.is_durable
        assert await InMemory().list_keys() == []
        assert (await memory.open("run")).values == {}

    asyncio.run(main())
