"""The agent without a trade."""

import asyncio

import pytest

from actorsys import Get, Store, Supervisor


@pytest.mark.slow
def test_it_gives_back_what_it_is_sent_and_keeps_what_it_is_told():
    async def main():
        async with Supervisor() as sup:
            agent = await sup.spawn("generic", name="generic")
            assert await agent.ask({"some": ["thing"]}) == {"some": ["thing"]}
            assert await agent.ask("hello") == "hello"
            await agent.ask(Store("colour", "red"))
            assert await agent.ask(Get("colour")) == "red"
            assert await agent.state() == {"messages": 2, "last_message": "hello", "colour": "red"}

    asyncio.run(main())
