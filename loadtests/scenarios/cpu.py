"""Where should CPU work run, and what does another worker add to it? Name one class, and Ping beside it:

    locust -f loadtests/scenarios/cpu.py InLane Ping --host http://127.0.0.1:8000 --users 8 --ms 50

A full lane answers 503 and means it: that is no failure here.
"""

from typing import ClassVar

from locust import constant, task

from loadtests.visitor import Ping, Visitor

__all__ = ["InLane", "InProcess", "InThreadpool", "OnLoop", "Ping"]

OK_OR_FULL = (200, 503)


class Computing(Visitor):
    abstract = True
    place: ClassVar[str]
    crowd = 8
    ms = 20
    wait_time = constant(0)

    @task
    def spin(self) -> None:
        path = f"/lab/cpu/{self.place}"
        self.ask(f"{path}?ms={self.milliseconds()}", name=path, expect=OK_OR_FULL)


class OnLoop(Computing):
    """What does computing on the event loop do to the others?

    Each of 8 users asks for 20 ms of computing, done in an `async def` route. Look for a CPU near 100 % of one core for
    each worker, and for a ping that waits behind the computing of all the others. Another worker on another core doubles
    the answers a second: that is parallelism.
    """

    does = "computing on the event loop"
    place = "on-loop"


class InThreadpool(Computing):
    """Is plain `def`, which runs in a pool of threads, the answer for computing?

    The same 20 ms of computing, in a `def` route. Look for as many answers a second as on the loop, because one process
    computes on one core at a time, and for a ping that is better and still slow: the threads take the interpreter away
    from the event loop again and again.
    """

    does = "computing in the thread pool"
    place = "in-threadpool"


class InLane(Computing):
    """Where should computing run?

    The same 20 ms of computing, in the CPU lane: one thread, a bounded queue, and a short turn. Look for as many answers a
    second as before, and for a ping of a few milliseconds beside them. A full lane answers 503 at once, which is no failure
    here. More answers a second need more workers, on more cores.
    """

    does = "computing in the CPU lane"
    place = "in-lane"


class InProcess(Computing):
    """What does a process of its own for computing change?

    The same 20 ms of computing, in another process than the worker's. Look for a ping that does not notice it at all.
    """

    does = "computing in another process"
    place = "in-process"
