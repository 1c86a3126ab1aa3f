"""The code of the lab's routes, taken from the functions that run, so that the page cannot show anything else."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

NOTES = {"router", "mark", "began_s"}
"""Names in what only serves the page: where the route is, and when it worked."""


def sources(routes: Iterable[BaseRoute]) -> dict[str, list[str]]:
    """Return the lines of each route, by its path under `/lab/`."""
    return {
        route.path.removeprefix("/lab/"): _lines(route.endpoint)
        for route in routes
        if isinstance(route, APIRoute) and "{" not in route.path
    }


def _lines(endpoint: Callable[..., Any]) -> list[str]:
    """The function with one name for all, without its docstring, its answer and `NOTES`, which are not the lesson."""
    function = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(endpoint)))).body[0]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    function.name = "route"
    function.decorator_list = [each for each in function.decorator_list if not _names(each) & NOTES]
    function.body = [
        each
        for each in function.body
        if not (isinstance(each, ast.Return) or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)))
        and not _names(each) & NOTES
    ]
    return ast.unparse(function).splitlines()


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
