"""What the worker tells the application about its own life. Written by the worker class, read by `ops`."""

from dataclasses import dataclass


@dataclass
class Lifecycle:
    draining: bool = False
    """The worker has been told to stop: no new connections, and `/readyz` says so."""
    connections: int = 0
    """Client connections that are open now, idle ones included."""


lifecycle = Lifecycle()
"""Of this process; there is one worker in it."""
