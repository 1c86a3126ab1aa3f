"""Does it stay as it is? Users come and go in waves of ten minutes, for as long as you let it run.

    locust -f loadtests/scenarios/links.py,loadtests/scenarios/shapes/soak.py --host http://127.0.0.1:8000 --users 100

In the tab "Workers": each wave looks like the one before. Memory that is higher after every wave is a leak; a loop lag
that is higher after every wave is a queue that never empties.
"""

import math

from loadtests.shape import Shape

WAVE_S = 600


class Soak(Shape):
    def share(self, now_s: float, lasts_s: float | None) -> float:  # noqa: ARG002
        return 0.65 - 0.35 * math.cos(2 * math.pi * now_s / WAVE_S)
