"""Agents that talk over NATS without a supervisor: `AgentComms`, the mixin for a class that exists already."""

from .config import NatsConfig
from .mixin import AgentComms
from .peers import Peer

__all__ = ["AgentComms", "NatsConfig", "Peer"]
