"""Who is told that a letter that came over NATS is done with, and how?"""

from ..errors import ActorError
from ..mailbox.codec import decode
from ..mailbox.letter import Letter, wants_answer
from . import handoff, translate
from .post import Post


async def answer(post: Post, letter: Letter, payload: bytes | None, error: ActorError | None) -> bool:
    """Publish what is due: the answer to a request, the completion of a task, the acknowledgement of a completion; whether any was."""
    headers = letter.headers or {}
    read = translate.envelope_of(letter)
    content = None if payload is None else decode(payload)
    if wants_answer(letter):
        if error is None:
            await post.respond(headers["reply"], read, content)
        else:
            await post.refuse(headers["reply"], read, error)
    elif headers.get("kind") == "notice":
        if not handoff.wants_acknowledgement(read):
            return False
        await handoff.acknowledge(post, read)
    elif headers.get("kind") == "direct" and handoff.wants_completion(read):
        await handoff.complete(post, read, content, error)
    else:
        return False
    return True
