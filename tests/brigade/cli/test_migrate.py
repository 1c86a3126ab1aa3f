import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from brigade.cli.migrate import LOCK
from brigade.cli.schema import pending, read_scripts
from local.servers import Postgres
from proof.chaos.proxy import Proxy
from tests.brigade.cli.conftest import ROOT, Command, Run, add_migration, query

CREATE = "op.execute('CREATE TABLE {} (id bigint PRIMARY KEY, note text)')"


def heads(url: str) -> list[str]:
    return sorted(row["version_num"] for row in query(url, "SELECT version_num FROM alembic_version"))


def test_every_feature_of_this_service_has_a_branch_of_its_own() -> None:
    scripts = read_scripts(ROOT / "service" / "features")
    assert [script.revision for script in pending(scripts, scripts.get_heads())] == []


def test_migrate_applies_each_branch_once(run: Run, code: Path, empty_database: str) -> None:
    add_migration(code, "alpha", 1, CREATE.format("alpha"))
    add_migration(code, "alpha", 2, "op.execute('CREATE INDEX ON alpha (note)')")
    add_migration(code, "beta", 1, CREATE.format("beta"))
    check = run("migrate", "--check", code=code, DATABASE_URL=empty_database)
    assert check.returncode == 1
    assert "pending alpha_0002: Step 2 of alpha." in check.stdout
    first = run("migrate", code=code, DATABASE_URL=empty_database)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("applied ") == 3
    assert heads(empty_database) == ["alpha_0002", "beta_0001"]
    assert run("migrate", code=code, DATABASE_URL=empty_database).stdout == "The schema is up to date.\n"
    assert run("migrate", "--check", code=code, DATABASE_URL=empty_database).returncode == 0


def test_eight_at_once_on_an_empty_database_all_succeed(command: Command, code: Path, empty_database: str) -> None:
    add_migration(code, "alpha", 1, CREATE.format("alpha") + "\nop.execute('SELECT pg_sleep(0.5)')")
    add_migration(code, "beta", 1, CREATE.format("beta"))
    processes = [command("migrate", code=code, DATABASE_URL=empty_database) for _ in range(8)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, outputs
    assert sum(out.count("applied ") for out, _ in outputs) == 2


def test_index_built_concurrently_is_not_held_up_by_those_who_wait(
    command: Command, code: Path, empty_database: str
) -> None:
    add_migration(code, "alpha", 1, CREATE.format("alpha") + "\nop.execute('SELECT pg_sleep(1)')")
    add_migration(
        code,
        "alpha",
        2,
        """
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY alpha_note ON alpha (note)")
        """,
    )
    processes = [command("migrate", code=code, DATABASE_URL=empty_database) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, outputs


def test_failed_migration_leaves_what_was_applied_and_nothing_of_itself(
    run: Run, code: Path, empty_database: str
) -> None:
    add_migration(code, "alpha", 1, CREATE.format("alpha"))
    broken = add_migration(code, "alpha", 2, CREATE.format("half") + "\n" + CREATE.format("alpha"))
    done = run("migrate", code=code, DATABASE_URL=empty_database)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "alpha_0002" in done.stderr
    assert str(broken) in done.stderr
    assert 'relation "alpha" already exists' in done.stderr
    assert heads(empty_database) == ["alpha_0001"]
    assert query(empty_database, "SELECT to_regclass('half') AS half")[0]["half"] is None


def test_deleted_feature_leaves_its_tables_and_the_others_go_on(run: Run, code: Path, empty_database: str) -> None:
    add_migration(code, "alpha", 1, CREATE.format("alpha"))
    add_migration(code, "beta", 1, CREATE.format("beta"))
    assert run("migrate", code=code, DATABASE_URL=empty_database).returncode == 0
    shutil.rmtree(code / "service/features/beta")
    add_migration(code, "alpha", 2, CREATE.format("more"))
    done = run("migrate", code=code, DATABASE_URL=empty_database)
    assert done.returncode == 0, done.stderr
    assert heads(empty_database) == ["alpha_0002", "beta_0001"]
    assert query(empty_database, "SELECT * FROM beta") == []


def test_database_ahead_of_the_code_is_left_alone(run: Run, code: Path, empty_database: str) -> None:
    """As after a rollback of the service: its schema is the newer one's."""
    add_migration(code, "alpha", 1, CREATE.format("alpha"))
    newest = add_migration(code, "alpha", 2, CREATE.format("more"))
    assert run("migrate", code=code, DATABASE_URL=empty_database).returncode == 0
    newest.unlink()
    done = run("migrate", code=code, DATABASE_URL=empty_database)
    assert (done.returncode, done.stdout) == (0, "The schema is up to date.\n")
    assert heads(empty_database) == ["alpha_0002"]


@pytest.mark.parametrize(("old", "new"), [("('alpha',)", "('beta',)"), ("'alpha_0001'", "'3f2a'")])
def test_migration_that_does_not_say_whose_it_is_is_refused(
    run: Run, code: Path, empty_database: str, old: str, new: str
) -> None:
    path = add_migration(code, "alpha", 1, CREATE.format("alpha"))
    path.write_text(path.read_text().replace(old, new))
    done = run("migrate", code=code, DATABASE_URL=empty_database)
    assert done.returncode == 1
    assert done.stderr.startswith(f"service: {path}: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("'alpha_0002'", "'alpha_0003'", "alpha_0003 is present more than once"),
        ("= 'alpha_0001'", "= 'alpha_0003'", "Cycle"),
        ("= 'alpha_0001'", "= 'alpha_0009'", "alpha_0009"),
        ("revision = 'alpha_0002'", "", "alpha_0002"),
        ("down_revision = 'alpha_0001'", "", "down_revision"),
        ("def upgrade", "def update", "upgrade()"),
    ],
)
def test_migrations_without_an_order_are_refused_before_anything_is_applied(
    run: Run, code: Path, empty_database: str, old: str, new: str, named: str
) -> None:
    for number in (1, 2, 3):
        path = add_migration(code, "alpha", number, CREATE.format(f"alpha_{number}"))
        path.write_text(path.read_text().replace(old, new) if number == 2 else path.read_text())
    done = run("migrate", code=code, DATABASE_URL=empty_database)
    assert done.returncode == 1
    assert done.stderr.startswith("service: ")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
    assert "applied" not in done.stdout


def test_copy_without_features_has_nothing_to_apply(run: Run, code: Path, empty_database: str) -> None:
    assert run("migrate", code=code, DATABASE_URL=empty_database).stdout == "The schema is up to date.\n"


@pytest.mark.anyio
async def test_migrate_waits_for_its_turn_under_its_own_name(command: Command, code: Path, empty_database: str) -> None:
    other = await asyncpg.connect(empty_database)
    try:
        await other.execute(f"SELECT pg_advisory_lock({LOCK})")
        process = command("migrate", code=code, DATABASE_URL=empty_database)
        assert process.stderr is not None
        assert process.stderr.readline() == "waiting for another migration to end ...\n"
        names = await other.fetch("SELECT application_name FROM pg_stat_activity WHERE datname = current_database()")
        assert "service.migrate" in [row["application_name"] for row in names]
        assert process.poll() is None
    finally:
        await other.close()
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.anyio
async def test_migrate_is_more_patient_with_a_server_than_a_start_is(
    command: Command, code: Path, empty_database: str
) -> None:
    there, _, name = empty_database.rpartition("/")
    proxy = Proxy(int(there.rpartition(":")[2]))
    await proxy.open()
    try:
        proxy.refuse()
        late = f"{there.rpartition(':')[0]}:{proxy.port}/{name}"
        processes = [command(verb, code=code, DATABASE_URL=late) for verb in ("migrate", "run")]
        assert await asyncio.to_thread(processes[1].wait) == 2  # it goes on without Postgres, and misses REDIS_URL
        await asyncio.sleep(2)  # whoever was as patient has given up by now
        await proxy.open()
        assert await asyncio.to_thread(processes[0].wait) == 0
    finally:
        await proxy.close()


@pytest.mark.anyio
async def test_migration_gives_up_a_lock_it_cannot_have(command: Command, code: Path, empty_database: str) -> None:
    """Else every later query on the table would wait behind it."""
    add_migration(code, "alpha", 1, "op.execute('ALTER TABLE busy ADD COLUMN note text')")
    other = await asyncpg.connect(empty_database)
    try:
        await other.execute("CREATE TABLE busy (id bigint)")
        async with other.transaction():
            await other.execute("LOCK TABLE busy IN ACCESS SHARE MODE")
            process = command("migrate", code=code, DATABASE_URL=empty_database)
            _, err = process.communicate(timeout=30)
    finally:
        await other.close()
    assert process.returncode == 1
    assert "lock timeout" in err
    assert "Traceback" not in err


def test_migrate_waits_for_a_server_that_is_starting(
    command: Command, code: Path, empty_database: str, postgres: Postgres
) -> None:
    add_migration(code, "alpha", 1, CREATE.format("alpha"))
    postgres.stop()
    try:
        process = command("migrate", code=code, DATABASE_URL=empty_database)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("waiting for Postgres at 127.0.0.1:")
    finally:
        postgres.start()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "applied alpha_0001" in out


def test_revision_that_is_too_long_is_refused_before_anything_is_applied(
    run: Run, code: Path, empty_database: str
) -> None:
    add_migration(code, "alpha", 1, CREATE.format("alpha"))
    long = add_migration(code, "alpha", 2, CREATE.format("more"))
    long.write_text(long.read_text().replace("'alpha_0002'", f"'alpha_{'x' * 27}'"))
    done = run("migrate", code=code, DATABASE_URL=empty_database)
    assert done.returncode == 1
    assert "revision" in done.stderr
    assert "32" in done.stderr
    assert done.stderr.count("\n") == 1
    assert query(empty_database, "SELECT to_regclass('alpha') AS alpha")[0]["alpha"] is None
    long.write_text(long.read_text().replace("x" * 27, "x" * 26))
    assert run("migrate", code=code, DATABASE_URL=empty_database).returncode == 0


def test_password_of_any_characters_migrates_and_is_shown_nowhere(
    run: Run, code: Path, empty_database: str, postgres: Postgres
) -> None:
    add_migration(code, "alpha", 1, CREATE.format("alpha"))
    query(postgres.url, "CREATE ROLE odd LOGIN SUPERUSER PASSWORD 'p%@/#: w'")
    url = f"postgresql://odd:p%25%40%2F%23%3A%20w@{empty_database.rpartition('@')[2]}"
    done = [run(*command, code=code, DATABASE_URL=url) for command in (["migrate"], ["migrate", "--check"], ["doctor"])]
    assert [each.returncode for each in done[:2]] == [0, 0], done
    assert "p%@/#: w" not in str(done)
    assert "p%25" not in str(done)


def test_rehearsal_is_refused_while_a_migration_is_pending(run: Run, code: Path, empty_database: str) -> None:
    add_migration(code, "alpha", 1, CREATE.format("alpha"))
    done = run("rehearse", code=code, DATABASE_URL=empty_database, REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "alpha_0001" in done.stderr
    assert done.stderr.count("\n") == 1
