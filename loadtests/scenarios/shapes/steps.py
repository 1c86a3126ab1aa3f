"""Where does it stop to scale? Ten equal steps of 20 s (or of the run time), up to the number of users asked for.

    locust -f loadtests/scenarios/links.py,loadtests/scenarios/shapes/steps.py --host http://127.0.0.1:8000 --users 500

In the graphs: as long as requests per second make the same steps there is room; where the response time steps up
instead, the service is full, and the step before that is what it can do.
"""

from loadtests.shape import Shape


class Steps(Shape):
    load = "steps"
