"""`make new` and `make upgrade`: a project of one's own from this template, and later its engine from a newer template.

The standard library alone. A project is the template's files with another name, without what only the template needs.
"""

import hashlib
import io
import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run by its path, in a project that has another `local`

from local.git import ROOT, Refusal, author, git  # noqa: E402 - needs the path above
from local.naming import check_name, title_of  # noqa: E402
from local.template import ENGINE, make_files  # noqa: E402

README = """# {title}

A service on [Brigade](brigade/)'s engine: FastAPI on every core.

```sh
make run     # serve on 127.0.0.1:8000, with a Postgres and a Valkey of its own
make test    # the tests, against real servers
```

`{name}/` is yours: a feature is a folder in `{name}/features` and a word in `{name}/main.py`; `notes` is one to copy.
`brigade/` and `local/` are not: `make upgrade FROM=<a newer clone of Brigade>` replaces them. `docs/` explains them;
where a page names `make prove`, `make bench`, `make chaos` or `proof`, that is run in a clone of Brigade.
"""
DOTENV = """# Variables of .env.example, for this checkout alone; git ignores this file.
# Docker knows the containers and volumes of this checkout by this name. One in a folder of the same name needs another.
COMPOSE_PROJECT_NAME={project}
"""


def new(name: str, directory: str) -> None:
    if not (name and directory):
        raise Refusal("Say which: make new NAME=orders DIR=../orders")
    check_name(name)
    folder = Path(directory).expanduser().resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refusal(f"DIR {folder} exists and is not empty: name another.")
    if folder.is_relative_to(ROOT):
        raise Refusal(f"DIR {folder} lies in the template: name one beside it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fill(name, folder)
    except BaseException:  # also Ctrl-C: the next try wants an empty folder
        shutil.rmtree(folder, ignore_errors=True)
        raise
    print(f"{folder} is ready: cd there, then make run or make test.")


def _fill(name: str, folder: Path) -> None:
    make_files(name, folder)
    (folder / "README.md").write_text(README.format(name=name, title=title_of(name)))
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n- The project.\n")
    (folder / ".env").write_text(DOTENV.format(project=_compose_project(name, folder)))
    git(folder, "init", "-q", "-b", "main", "--template=")
    git(folder, "-c", "core.excludesFile=", "add", "-A")
    without_hooks = ("-c", f"core.hooksPath={os.devnull}")
    git(folder, *author(folder), *without_hooks, "commit", "-q", "--no-gpg-sign", "-m", f"Start {name}")


def _compose_project(name: str, folder: Path) -> str:
    """Compose would take the folder's name, which a folder elsewhere may have too."""
    return f"{name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:6]}"


def upgrade(directory: str) -> None:
    """Run by the newer template, for the project in `directory`."""
    folder = Path(directory).absolute()
    if git(folder, "status", "--porcelain"):
        raise Refusal(
            "There are changes that are not committed: commit them, so that git can show what the upgrade does."
        )
    if folder == ROOT:
        raise Refusal("FROM is this project: name a newer clone of the template.")
    if not (ROOT / "service").is_dir():
        raise Refusal("FROM is a project that was made from the template: name a clone of the template itself.")
    name = (
        tomllib.loads((folder / "pyproject.toml").read_text("utf-8")).get("tool", {}).get("brigade", {}).get("package")
    )
    if not name:
        raise Refusal("pyproject.toml must name the service's package: package = ... below [tool.brigade].")
    with tempfile.TemporaryDirectory() as scratch:
        newer = Path(scratch) / name
        make_files(name, newer)
        for part in ENGINE:
            shutil.rmtree(folder / part, ignore_errors=True)
            shutil.copytree(newer / part, folder / part)
        shutil.copytree(newer / "docs", folder / "docs", dirs_exist_ok=True)
        differing = [path for path in _yours(newer) if _differs(folder / path, newer / path)]
    print("brigade/, local/ and the pages of docs/ are those of the newer template; git diff shows the change.")
    if differing:
        print("These are yours, and the newer template has others. Look at what it changed:")
        print("".join(f"  {path}\n" for path in differing), end="")
    if git(folder, "status", "--porcelain", "brigade/pyproject.toml"):
        print("The engine has other dependencies: run make lock.")


def _yours(newer: Path) -> list[str]:
    parts = ["deploy", "requirements", "Dockerfile", "docker-compose.yml", "Makefile", "pyproject.toml", ".env.example"]
    parts += ["tests/conftest.py", ".dockerignore", ".github"]
    files = [file for part in parts for file in [newer / part, *sorted((newer / part).rglob("*"))] if file.is_file()]
    return [str(file.relative_to(newer)) for file in files]


def _differs(own: Path, other: Path) -> bool:
    return not own.is_file() or own.read_bytes() != other.read_bytes()


if __name__ == "__main__":
    os.umask(0o022)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the folder's name may be of any letters
    try:
        if sys.argv[1] == "new":
            new(*sys.argv[2:])
        else:
            upgrade(*sys.argv[2:])
    except (Refusal, OSError) as reason:
        sys.exit(str(reason))
    except KeyboardInterrupt:
        sys.exit(130)
