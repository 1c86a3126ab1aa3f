"""Every scenario, and the lesson that runs them one after the other: what `make locust` and the image for load start."""

import importlib
import pkgutil
from pathlib import Path

from locust import User

from loadtests.lesson import Lesson

__all__ = ["Lesson"]

for module in pkgutil.iter_modules([str(Path(__file__).parent / "scenarios")]):
    found = vars(importlib.import_module(f"loadtests.scenarios.{module.name}"))
    globals().update({name: each for name, each in found.items() if isinstance(each, type) and issubclass(each, User)})
