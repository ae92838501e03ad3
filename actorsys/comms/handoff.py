"""Is this work, or news about work? Handing a task over, and the two notices that follow.

    record           agents.handoff.{from}.to.{to}    the handoff envelope
    task             agents.direct.{to}               the same envelope, priority 1
    completion       agents.direct.{from}             a response (or an error) to it, `metadata.notice` = "completion"
    acknowledgement  agents.direct.{to}               a response to the completion, `metadata.notice` = "acknowledgement"

A direct message gets a completion when its `metadata.notify` is true. A task that finds nobody is followed on the record's subject
by an error envelope in reply to it. On `agents.direct.*` a response or an error is always a notice and never work, so that no
notice can set off another task; an acknowledgement is answered by nothing. A third notice, "cancel", is a message in reply to a
request: nobody waits for its answer any more.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import structs

from ..bus import envelope, stamp, subjects
from ..bus.envelope import Envelope, Stamp
from ..errors import ActorError, AskTimeout
from .post import Post

NOTICE = "notice"
COMPLETION, ACKNOWLEDGEMENT, CANCEL = "completion", "acknowledgement", "cancel"


def is_notice(read: Envelope) -> bool:
    """Whether a direct message is news of work, done or wanted no more."""
    return read.message_type in ("response", "error") or read.metadata.get(NOTICE) in (COMPLETION, ACKNOWLEDGEMENT, CANCEL)


def is_cancel(read: Envelope) -> bool:
    """Whether the sender of the request that it replies to waits no more."""
    return read.metadata.get(NOTICE) == CANCEL


def with_outcome(notice: Envelope) -> Envelope:
    """A notice as `on_completed` sees it."""
    outcome = "failed" if notice.message_type == "error" else "done"
    return structs.replace(notice, metadata={**notice.metadata, "outcome": outcome})


def wants_completion(read: Envelope) -> bool:
    """Whether its sender is told when the work is done."""
    return not is_notice(read) and (read.message_type == "handoff" or bool(read.metadata.get("notify")))


def wants_acknowledgement(read: Envelope) -> bool:
    return is_notice(read) and read.metadata.get(NOTICE) == COMPLETION


def subject_of(sender: str) -> str:
    """Where notices for the sender of an envelope go; names on the wire are checked, so there is one."""
    return subjects.direct(sender)


async def complete(post: Post, task: Envelope, result: Any, error: BaseException | None) -> None:
    """Tell the sender of a task that it is done, or why it is not."""
    to, about = subject_of(task.from_agent), {NOTICE: COMPLETION}
    insist = "node" in task.metadata  # it has a supervisor, which sees to it that somebody listens again
    if error is None:
        await post.respond(to, task, result, metadata=about, insist=insist)
    else:
        await post.refuse(to, task, error, metadata=about, insist=insist)


async def acknowledge(post: Post, completion: Envelope) -> None:
    """Tell who has done a task that we know."""
    await post.respond(subject_of(completion.from_agent), completion, None, metadata={NOTICE: ACKNOWLEDGEMENT})


def cancel(asked: Envelope) -> Envelope:
    """Says that nobody waits for the answer to a request any more."""
    assert asked.to_agent is not None
    to, about = asked.to_agent, {NOTICE: CANCEL}
    return envelope.message(asked.from_agent, to, None, stamp.fresh(), metadata=about, in_reply_to=asked.message_id, priority=1)


def record(sender: str, to: str, content: Any, made: Stamp, *, metadata: dict[str, Any] | None) -> Envelope:
    """The envelope of a handoff: the record of it and the task."""
    return envelope.handoff(sender, to, content, made, metadata=metadata)


async def hand_over(post: Post, handed: Envelope, deliver: Callable[[Envelope], Awaitable[object]]) -> str:
    """Publish the record, `deliver` the task, and say beside the record when nobody takes it; the id of the task."""
    assert handed.to_agent is not None
    subject = subjects.handoff(handed.from_agent, handed.to_agent)
    await post.bus.publish(subject, envelope.encode(handed))
    try:
        await deliver(handed)
    except AskTimeout:  # it may have been taken all the same: the record must not say that it was not
        raise
    except ActorError as error:
        await post.refuse(subject, handed, error)
        raise
    return handed.message_id
