"""Does it recover? A tenth of the users, then all of them at once, then a tenth again: 30 s each.

    locust -f loadtests/scenarios/links.py,loadtests/scenarios/shapes/spike.py --host http://127.0.0.1:8000 --users 500

In the graphs: the response time may rise in the spike, refusals (503) may come; a few seconds after it both are what
they were before. A service that queues without a bound is still slow when the crowd has gone.
"""

from loadtests.shape import Shape


class Spike(Shape):
    load = "spike"
