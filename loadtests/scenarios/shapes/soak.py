"""Does it stay as it is? Users come and go in waves of ten minutes, for as long as you let it run.

    locust -f loadtests/scenarios/links.py,loadtests/scenarios/shapes/soak.py --host http://127.0.0.1:8000 --users 100

In the tab "Service": each wave looks like the one before. Memory that is higher after every wave is a leak; a loop lag
that is higher after every wave is a queue that never empties.
"""

from loadtests.shape import Shape


class Soak(Shape):
    load = "soak"
