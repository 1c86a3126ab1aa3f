import httpx
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.drives("notes")]


async def test_a_note_is_created_read_and_deleted(client: httpx.AsyncClient) -> None:
    created = await client.post("/notes", json={"text": "Buy milk."})
    assert created.status_code == 201
    at = created.headers["location"]
    assert (await client.get(at)).json() == created.json()
    assert (await client.delete(at)).status_code == 204
    assert (await client.get(at)).json()["type"] == "urn:problem:note-not-found"
    assert (await client.delete(at)).status_code == 404


async def test_pages_follow_each_other(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await client.post("/notes", json={"text": str(number)})
    texts: list[str] = []
    after: int | None = 0
    while after is not None:
        page = (await client.get("/notes", params={"after": after, "limit": 2})).json()
        texts += [note["text"] for note in page["items"]]
        after = page["next"]
    assert texts == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": "a\0"}, {"text": "a", "more": 1}, {"text": 1}])
async def test_what_is_no_note_is_refused(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await client.post("/notes", json=body)).status_code == 422


@pytest.mark.parametrize("variables", [{"API_KEYS": "team:opensesame"}])
async def test_writing_takes_a_key_where_there_are_keys(client: httpx.AsyncClient) -> None:
    wrong: dict[str, str] = {"Authorization": "Bearer of-a-proxy"}
    for headers in ({}, wrong, {"X-API-Key": ""}, wrong | {"X-API-Key": "guess"}):
        assert (await client.post("/notes", json={"text": "a"}, headers=headers)).status_code == 401
    bearer = {"Authorization": "Bearer opensesame"}
    for headers in (
        bearer,
        {"X-API-Key": "opensesame"},
        wrong | {"X-API-Key": "opensesame"},
        bearer | {"X-API-Key": ""},
    ):
        assert (await client.post("/notes", json={"text": "a"}, headers=headers)).status_code == 201
