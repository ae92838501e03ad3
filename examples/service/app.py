"""A web service with agents in it: the supervisor comes and goes with the application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agents import Question, Story, Storyteller
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from actorsys import ActorError, AskTimeout, MailboxFull, Supervisor


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with Supervisor(name="service") as sup:
        await sup.spawn(Storyteller, name="storyteller", concurrency=8)
        yield {"sup": sup}  # what request.state has
    # Here all agents are gone.


async def ask(request: Request) -> Response:
    agent = request.state.sup.agent("storyteller")
    return JSONResponse({"answer": await agent.ask(Question(request.query_params.get("text", "Hello.")), timeout=30.0)})


async def story(request: Request) -> Response:
    agent = request.state.sup.agent("storyteller")
    # A reader that leaves closes the stream, and that stops the agent's handler.
    return StreamingResponse(agent.stream(Story(request.query_params.get("about", "a fox"))), media_type="text/plain")


async def agents(request: Request) -> Response:
    return JSONResponse([{key: row[key] for key in ("name", "state", "pid", "restarts")} for row in request.state.sup.children()])


async def failed(request: Request, error: Exception) -> Response:
    """The agent's trouble as a status: busy, too slow, or its own."""
    status = 503 if isinstance(error, MailboxFull) else 504 if isinstance(error, AskTimeout) else 502
    return JSONResponse({"error": str(error)}, status_code=status)


app = Starlette(
    routes=[Route("/ask", ask), Route("/story", story), Route("/agents", agents)],
    lifespan=lifespan,
    exception_handlers={ActorError: failed},
)
