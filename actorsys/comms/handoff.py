"""Is this work, or news about work? Handing a task over, and the two notices that follow.

    record           agents.handoff.{from}.to.{to}    the handoff envelope
    task             agents.direct.{to}               the same envelope, priority 1
    completion       agents.direct.{from}             a response (or an error) to it, `metadata.notice` = "completion"
    acknowledgement  agents.direct.{to}               a response to the completion, `metadata.notice` = "acknowledgement"

A direct message gets a completion when its `metadata.notify` is true. A task that finds nobody is followed on the record's subject
by an error envelope in reply to it. On `agents.direct.*` a response or an error is always a notice and never work, so that no
notice can set off another task; an acknowledgement is answered by nothing.
"""

import logging
from typing import Any

from ..bus import envelope, stamp, subjects
from ..bus.envelope import Envelope
from ..errors import ActorError
from .post import Post

log = logging.getLogger("actorsys.comms")

NOTICE = "notice"
COMPLETION, ACKNOWLEDGEMENT = "completion", "acknowledgement"


def is_notice(read: Envelope) -> bool:
    """Whether a direct message tells of work that is done."""
    return read.message_type in ("response", "error") or read.metadata.get(NOTICE) in (COMPLETION, ACKNOWLEDGEMENT)


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
    to = subject_of(task.from_agent)
    if error is None:
        await post.respond(to, task, result, metadata={NOTICE: COMPLETION})
    else:
        await post.refuse(to, task, error, metadata={NOTICE: COMPLETION})


async def acknowledge(post: Post, completion: Envelope) -> None:
    """Tell who has done a task that we know."""
    await post.respond(subject_of(completion.from_agent), completion, None, metadata={NOTICE: ACKNOWLEDGEMENT})


def record(sender: str, to: str, content: Any, metadata: dict[str, Any] | None) -> Envelope:
    """The envelope of a handoff: the record of it and the task."""
    return envelope.handoff(sender, to, content, stamp.fresh(), metadata=metadata)


async def publish_record(post: Post, handed: Envelope) -> None:
    assert handed.to_agent is not None
    await post.bus.publish(subjects.handoff(handed.from_agent, handed.to_agent), envelope.encode(handed))


async def publish_failure(post: Post, handed: Envelope, error: ActorError) -> None:
    """Say beside the record that the task did not get there."""
    assert handed.to_agent is not None
    await post.refuse(subjects.handoff(handed.from_agent, handed.to_agent), handed, error)
