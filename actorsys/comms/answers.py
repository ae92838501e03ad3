"""Who is told that a letter that came over NATS is done with, and how?"""

from ..bus.envelope import Origin
from ..errors import ActorError
from ..mailbox.codec import decode
from ..mailbox.letter import Letter, wants_answer
from . import handoff, translate
from .post import Post


async def answer(post: Post, letter: Letter, payload: bytes | None, error: ActorError | None) -> bool:
    """Publish what is due: the answer to a request, the completion of a task, the acknowledgement of a completion; whether any was."""
    headers = letter.headers or {}
    content = None if payload is None else decode(payload)
    if wants_answer(letter):
        asked = Origin(letter.sender, headers["message_id"], letter.priority)
        if error is None:
            await post.respond(headers["reply"], asked, content)
        else:
            await post.refuse(headers["reply"], asked, error)
        return True
    read = translate.envelope_of(letter)
    if headers.get("kind") == "notice" and handoff.wants_acknowledgement(read):
        await handoff.acknowledge(post, read)
    elif headers.get("kind") == "direct" and handoff.wants_completion(read):
        await handoff.complete(post, read, content, error)
    else:
        return False
    return True
