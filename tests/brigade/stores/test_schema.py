"""What a database lacks of the code's migrations, found without Alembic."""

from pathlib import Path

import pytest

import service
from brigade.cli.schema import pending, read_scripts
from brigade.stores.schema import Schema

FILES = {
    "links/0001": 'revision = "links_0001"\ndown_revision = None\nbranch_labels = ("links",)',
    "links/0002": 'revision: str = "links_0002"\ndown_revision: str | None = "links_0001"',
    "links/0003": 'revision = "links_0003"\ndown_revision = ("links_0002",)\ndepends_on = "notes"',
    "notes/0001": 'revision = "notes_0001"\ndown_revision = None\nbranch_labels = ("notes",)',
    "notes/shared": '"""No revision."""',
}


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    for name, text in FILES.items():
        feature, _, file = name.partition("/")
        folder = tmp_path / feature / "migrations"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{file}.py").write_text(f"import sqlalchemy\n{text}\n")
    found = Schema()
    found.expect([tmp_path / "links", tmp_path / "notes", tmp_path / "without"])
    return found


@pytest.mark.parametrize(
    ("heads", "lacking"),
    [
        ([], ["links_0001", "links_0002", "links_0003", "notes_0001"]),
        (["links_0002"], ["links_0003", "notes_0001"]),
        (["links_0002", "notes_0001"], ["links_0003"]),
        (["links_0003"], []),  # Alembic leaves out the head that another one depends on
        (["links_0003", "notes_0001", "gone_0007"], []),
        (["links_0009", "notes_0001"], []),  # ahead, as after a rollback of the service
        (["links_0001", "links_extra_of_another_branch", "notes_0001"], []),
    ],
)
def test_a_database_lacks_what_its_heads_do_not_build_on(schema: Schema, heads: list[str], lacking: list[str]) -> None:
    assert schema.lacking(heads) == lacking


@pytest.mark.parametrize("text", ['revision = "links_" + "0004"', "revision = (", "\0"])
def test_nothing_is_expected_where_a_migration_cannot_be_read(schema: Schema, tmp_path: Path, text: str) -> None:
    (tmp_path / "links" / "migrations" / "0004.py").write_text(text)
    schema.expect([tmp_path / "links"])
    assert schema.lacking([]) == []


def test_workers_and_the_command_read_the_same_migrations() -> None:
    features = Path(service.__file__).parent / "features"
    found = Schema()
    found.expect(folder for folder in features.iterdir() if folder.is_dir())
    wanted = [script.revision for script in pending(read_scripts(features), [])]
    assert sorted(found.lacking([])) == sorted(wanted)
    assert wanted
