"""Everything that can go wrong, in one tree. The first question is whose fault it is.

    ActorError
    |- ours to fix: the caller's program or files
    |  |- ConfigError          agents.toml, an option or the environment is wrong        (.where)
    |  |- DefinitionError      an agent class is wrong: duplicate handler, missing type  (.where)
    |  |- BadMessage           a message that no handler fits, or bytes that are none    (.field)
    |  |- GuardError           a Supervisor starts while its own script is being loaded
    |- theirs: the agent that was called
    |  |- RemoteError          its handler raised                                        (.type, .traceback)
    |  |- AgentDown            it ended, or is down and the ask does not wait            (.reason, .may_have_run)
    |  |- UnknownAgent         no such name
    |  |- MailboxFull          it does not keep up
    |  |- AskTimeout           no answer within the time given
    |  |- AskCycle             it waits, through others, for the asker                   (.chain)
    `- the world's: processes, files, network
       |- StartFailed          an agent did not become ready                             (.traceback)
       |- Unreachable          no supervisor, or no NATS, answers
       |- StateError           a state backend refuses, or cannot read or write         (.key, .reason)
       |- StepInDoubt          a step that must not repeat may have happened            (.name)
       |- ModelError           a language model, or the way to it, fails                (.provider, .model, .status)
       |  |- ModelUnavailable     for now: rate limit, overload, timeout, no connection (.retry_after)
       |  |- ModelAuthError       the key is missing or not accepted
       |  |- BadModelCall         this call can never work
       |  `- BadCompletion        the answer is cut off, held back, or not of the form   (.text)
       `- BudgetExceeded       the tokens or the money for this window are spent        (.budget, .resets_in)

Whoever asked an agent whose model failed gets a RemoteError with the class's name as `.type`. Each survives pickle and, as a `messages.Failure`, msgspec. Each says what happened, to whom, and what to do next.
"""

from typing import Any, ClassVar


class ActorError(Exception):
    """Base of all errors of this package. `message` is a full sentence; the named details differ per class."""

    details: ClassVar[tuple[str, ...]] = ()

    def __init__(self, message: str = "", **details: Any) -> None:
        unknown = details.keys() - set(self.details)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no detail {', '.join(sorted(unknown))}")
        super().__init__(message)
        self.message = message
        for name in self.details:
            setattr(self, name, details.get(name))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, {name: getattr(self, name) for name in self.details})


def _rebuild(cls: type[ActorError], message: str, details: dict[str, Any]) -> ActorError:
    return cls(message, **details)


class ConfigError(ActorError):
    """A setting is wrong; `where` is file, line and key as far as known, and the message has one line for each problem."""

    details = ("where",)
    where: str | None


class DefinitionError(ActorError, TypeError):
    """An agent class cannot work as written; raised when the class is made. `where` is file and line."""

    details = ("where",)
    where: str | None


class BadMessage(ActorError):
    """Bytes or values that are no valid message; `field` names the first wrong one where known."""

    details = ("field",)
    field: str | None


class GuardError(ActorError, RuntimeError):
    """A Supervisor was started by a module that is only being imported to find an agent class."""


class RemoteError(ActorError):
    """The handler of the other agent raised. `type` is the class of its exception, `traceback` the text from over there."""

    details = ("type", "traceback")
    type: str | None
    traceback: str | None


class AgentDown(ActorError):
    """The other agent ended, for `reason`. `may_have_run`: whether its handler may have seen the message."""

    details = ("reason", "may_have_run")
    reason: str | None
    may_have_run: bool | None


class UnknownAgent(ActorError, LookupError):
    """No agent has that name, here or anywhere that answers."""


class MailboxFull(ActorError):
    """The mailbox of the other agent has no room and its overflow policy, or our patience, says not to wait."""


class AskTimeout(ActorError, TimeoutError):
    """No answer came in time. The handler may still run or have run."""


class AskCycle(ActorError):
    """The agent asked waits, through others, for the asker; `chain` names them in order."""

    details = ("chain",)
    chain: list[str] | None


class StartFailed(ActorError):
    """An agent could not be started; `traceback` is the text from its process."""

    details = ("traceback",)
    traceback: str | None


class Unreachable(ActorError, ConnectionError):
    """Nobody answers at the other end of a socket: no supervisor, or no NATS server."""


class StateError(ActorError):
    """The backend of an agent's state refused a value, or cannot read or write. `key` names the value where known.

    `reason` is one word for programs. Of a value: encoding, size, refused. It passes: full (the disk), busy, unreachable. It does not:
    io, corrupt, taken (another process has the state now), version. None: anything else.
    """

    details = ("key", "reason")
    key: str | None
    reason: str | None


class StepInDoubt(ActorError):
    """A step that must not repeat was begun by an earlier delivery, which died before its result was stored; `name` is the step's."""

    details = ("name",)
    name: str | None


class ModelError(ActorError):
    """A language model, or the way to it, fails. `status` is the HTTP status where there was an answer."""

    details: ClassVar[tuple[str, ...]] = ("provider", "model", "status")
    provider: str | None
    model: str | None
    status: int | None


class ModelUnavailable(ModelError):
    """It passes: a rate limit, an overload, a timeout, no connection. `retry_after` seconds, if the provider said so."""

    details = (*ModelError.details, "retry_after")
    retry_after: float | None


class ModelAuthError(ModelError):
    """The provider has no key of ours or does not accept it: nothing works until somebody sets that right."""


class BadModelCall(ModelError):
    """The provider refuses this call for what is in it; the same call never works."""


class BadCompletion(ModelError):
    """The model's answer is of no use: cut off, held back, or not of the form asked for. `text` is what there is of it."""

    details = (*ModelError.details, "text")
    text: str | None


class BudgetExceeded(ActorError):
    """The tokens or the money for this window are spent. `budget` names whose; `resets_in` seconds until there is more."""

    details = ("budget", "resets_in")
    budget: str | None
    resets_in: float | None


BY_NAME: dict[str, type[ActorError]] = {
    cls.__name__: cls
    for cls in (
        ActorError, ConfigError, DefinitionError, BadMessage, GuardError, RemoteError, AgentDown, UnknownAgent,
        MailboxFull, AskTimeout, AskCycle, StartFailed, Unreachable, StateError, StepInDoubt,
        ModelError, ModelUnavailable, ModelAuthError, BadModelCall, BadCompletion, BudgetExceeded,
    )
}  # fmt: skip
