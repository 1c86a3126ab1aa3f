"""docs/engine.md names every public name, and its examples make a feature that works."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import brigade
from brigade import Brigade, hot
from brigade.testing import CreateApp

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs" / "engine.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def test_the_page_has_every_public_name_and_no_other() -> None:
    headings = " ".join(re.findall(r"^### (.*)$", PAGE, re.M))
    named = {re.match(r"\w+", name)[0] for name in re.findall(r"`([^`]+)`", headings)}  # type: ignore[index]
    assert named == set(brigade.__all__)
    assert all(hasattr(brigade, name) for name in named)
    assert set(hot.__all__) <= set(dir(hot))


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
    for path, answer in {"/orders/today": "soup", "/orders/stock": 42, "/orders/menu": ["soup"]}.items():
        assert (await client.get(path)).json() == answer
    documented = (await client.get("/openapi.json")).json()["paths"]
    assert "urn:problem:kitchen-closed" in str(documented["/orders/menu"])
    assert feature["settings"].greeting == "Hello"
