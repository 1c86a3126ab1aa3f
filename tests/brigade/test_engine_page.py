"""docs/engine.md names every public name, and its examples make a feature that works."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import brigade
from brigade import Brigade, hot, stores, tasks
from brigade.testing import CreateApp

pytestmark = pytest.mark.anyio

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "engine.md").read_text()
HOT_PAGE = (DOCS / "hot-path.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def test_the_page_has_every_public_name_and_no_other() -> None:
    headings = " ".join(re.findall(r"^### (.*)$", PAGE, re.M))
    named = {re.match(r"\w+", name)[0] for name in re.findall(r"`([^`]+)`", headings)}  # type: ignore[index]
    assert named == {*brigade.__all__, *tasks.__all__, *stores.__all__}
    for module in (brigade, tasks, stores, hot):
        assert all(hasattr(module, name) for name in module.__all__)


def test_the_page_of_the_hot_path_has_every_name_of_it() -> None:
    code = " ".join(re.findall(r"`[^`\n]+`|^from brigade\.hot import .*$", HOT_PAGE, re.M))
    assert [name for name in hot.__all__ if not re.search(rf"\b{name}\b", code)] == []


@pytest.fixture(scope="module")
def feature() -> dict[str, Any]:
    """The examples, in their order, as one module."""
    names: dict[str, Any] = {"__name__": "orders"}
    for example in EXAMPLES:
        exec(compile(example, "docs/engine.md", "exec", dont_inherit=True), names)
    return names


@pytest.fixture
def create_app(feature: dict[str, Any], create_app: CreateApp) -> CreateApp:
    def create() -> Brigade:
        module = SimpleNamespace(router=feature["router"], needed=feature["needed"])
        return Brigade(brigade.load_settings(feature["OrderSettings"]), features=[module])

    create.__module__ = create_app.__module__
    return create


async def test_the_examples_work(client: httpx.AsyncClient, feature: dict[str, Any]) -> None:
    created = await client.post("/orders", json={"dish": "soup"})
    assert (created.status_code, created.headers["location"]) == (201, "http://service.example/orders/1")
    assert (await client.post("/orders", json={"dish": "unicorn"})).json()["type"] == "urn:problem:out-of-stock"
    closed = await client.get("/orders/menu", params={"hour": 4})
    assert (closed.status_code, closed.headers["retry-after"]) == (503, "3600")
    assert (await client.get("/orders/count")).json() == 6
    assert (await client.get("/orders/bill")).json() == sum(range(1000))
    assert (await client.put("/orders/photo", content=bytes(2_000_000))).json() == 2_000_000
    assert (await client.post("/orders/serve")).status_code == 204
    assert (await client.get("/orders/number")).json() == 7
    assert (await client.get("/orders/shelf")).json() == {"soup": 10}
    for path, answer in {"/orders/today": "soup", "/orders/stock": 42, "/orders/menu": ["soup"]}.items():
        assert (await client.get(path)).json() == answer
    documented = (await client.get("/openapi.json")).json()["paths"]
    assert "urn:problem:kitchen-closed" in str(documented["/orders/menu"])
    assert feature["settings"].greeting == "Hello"
