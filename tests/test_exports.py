"""The public surface of `actorsys` is this list; a change here is a change for users and goes to CHANGELOG.md."""

import inspect
import subprocess
import sys

import pytest

import actorsys
from actorsys import errors

PUBLIC = {
    "Agent", "Event", "Failure", "Message", "Down", "Ref", "Request", "Supervisor", "on", "run",
    "Store", "Get", "Delete", "Clear", "List",
    "ActorError", "AgentDown", "AskCycle", "AskTimeout", "BadMessage", "ConfigError", "DefinitionError", "GuardError",
    "MailboxFull", "RemoteError", "StartFailed", "StateError", "StepInDoubt", "UnknownAgent", "Unreachable",
    "ModelError", "ModelUnavailable", "ModelAuthError", "BadModelCall", "BadCompletion", "BudgetExceeded",
}  # fmt: skip


def test_the_public_names_are_the_documented_ones() -> None:
    assert set(actorsys.__all__) == PUBLIC
    assert len(actorsys.__all__) == len(PUBLIC)


def test_every_error_is_public() -> None:
    assert set(errors.BY_NAME) <= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_can_be_imported_and_is_described(name: str) -> None:
    value = getattr(actorsys, name)
    assert inspect.getdoc(value)
    assert value.__module__.startswith("actorsys.")


def test_dir_lists_the_public_names() -> None:
    assert set(dir(actorsys)) >= PUBLIC


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'actorsys' has no attribute 'Supervisr'"):
        actorsys.Supervisr  # noqa: B018 - the access is the test


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert actorsys.__version__ == version("actorsys")


@pytest.mark.slow
def test_the_module_runs_as_the_command() -> None:
    run = subprocess.run([sys.executable, "-m", "actorsys", "--help"], capture_output=True, text=True, check=True)
    assert "supervise" in run.stdout
