from typing import ClassVar

import pytest

from actorsys import Agent, StateError
from actorsys.mailbox.codec import encode
from actorsys.memory.base import Restored
from actorsys.memory.step_rows import VERSION
from actorsys.runtime.versions import bring_up


class Third(Agent):
    state_version: ClassVar[int] = 3
    migrated: ClassVar[list[int]] = []

    def migrate(self, old, version):
        self.migrated.append(version)
        if version == 1:
            old = {"names": [old["name"]]}
        return {"people": old["names"]}


class Forgetful(Agent):
    state_version: ClassVar[int] = 2


@pytest.fixture(autouse=True)
def fresh():
    Third.migrated.clear()


def up(check, durable, cls, values, body):
    version = values.pop(VERSION, None)
    stored = {key: encode(value) for key, value in values.items()}
    data = None if version is None else encode(version)

    async def main(rig):
        await body(rig, bring_up(rig.agent, rig.runtime, data))

    restored = Restored({**stored, VERSION: data} if data else stored)
    check(cls, main, memory=durable, restored=restored, serve=False)


@pytest.mark.parametrize("values", [{"name": "a"}, {"names": ["a"], VERSION: 2}])
def test_an_older_state_is_migrated_in_one_commit(check, durable, values):
    async def body(rig, brought):
        await brought
        assert dict(rig.runtime.state) == {"people": ["a"]}
        ((changes, ids, _),) = durable.commits
        assert ids == ()
        assert changes == {**dict.fromkeys(values.keys() - {VERSION}), "people": encode(["a"]), VERSION: encode(3)}

    up(check, durable, Third, values, body)
    assert len(Third.migrated) == 1


def test_a_new_state_is_marked_and_not_migrated(check, durable):
    async def body(rig, brought):
        await brought
        assert durable.commits[0][0] == {VERSION: encode(3)}
        assert dict(rig.runtime.state) == {}

    up(check, durable, Third, {}, body)
    assert Third.migrated == []


def test_a_state_of_this_version_is_left_alone(check, durable):
    async def body(rig, brought):
        await brought
        assert durable.commits == []

    up(check, durable, Third, {"people": [], VERSION: 3}, body)


@pytest.mark.parametrize("cls", [Third, Agent])
def test_a_newer_state_is_an_error(check, durable, cls):
    async def body(rig, brought):
        with pytest.raises(StateError, match=r"the stored state is of version 4, .*state_version is") as caught:
            await brought
        assert caught.value.reason == "version"

    up(check, durable, cls, {"people": [], VERSION: 4}, body)


def test_a_class_without_migrate_says_what_is_missing(check, durable):
    async def body(rig, brought):
        with pytest.raises(NotImplementedError, match=r"Forgetful.state_version is 2: override migrate\(\)"):
            await brought

    up(check, durable, Forgetful, {"a": 1}, body)


def test_without_a_durable_backend_there_is_nothing_to_migrate(check):
    async def main(rig):
        await bring_up(rig.agent, rig.runtime, None)

    check(Third, main, serve=False)
