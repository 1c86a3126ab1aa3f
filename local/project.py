"""`make new` and `make upgrade`: a project of one's own from this template, and later its engine from a newer template.

The standard library alone. A project is the template's files with another name, without what only the template needs.
"""

import hashlib
import io
import keyword
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = re.compile(
    r"proof/|docs/(decisions|pictures)/|docs/(concurrency|hot-path)\.md|\.(ci|devcontainer)/|"
    r"service/features/(links|sheets)/|deploy/kubernetes/(base|components/service-monitor)/jobs\.yaml|loadtests/scenarios/(links|drawing|streams|jobs)\.py|"
    r"tests/(?!conftest\.py|service/(notes/|test_features))|README|CHANGELOG|CONTRIBUTING|SECURITY|AGENTS"
)
ENGINE = ("brigade", "local")
"""Folders that an upgrade replaces."""
IMPORTED = {
    "attr", "boolean", "cyclonedx", "dateutil", "dotenv", "engineio", "google", "graphql", "importlinter", "markdown_it",
    "mpl_toolkits", "mypyc", "opentelemetry", "packageurl", "packaging_legacy_version", "pkg_resources", "py", "pylab",
    "pytest_locust", "rpds", "ruamel", "setuptools", "socketio", "uv", "websocket", "xdist", "yaml", "zmq", "zope",
    "zxingcpp",
}  # fmt: skip
"""Packages that the project uses and that are not imported by the name of their distribution."""
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".txt", ".sh", ".env", ".service", ".socket", ".conf", ".json", ""}
SEGNO = re.compile(r"^segno==.*\n(?:    .*\n)+", re.M)
EDITS = [
    ("pyproject.toml", r'^    "(idna|segno)>=.*\n', ""),
    ("pyproject.toml", r', "proof(\.\*\*)?"', ""),
    ("pyproject.toml", r",proof}", "}"),
    ("pyproject.toml", r'\[\[tool\.importlinter\.contracts\]\]\nname = "Load tests and the proof.*?\n\n', ""),
    (".github/workflows/test.yml", r"sudo env .* bash \.ci/run$", "make lint audit test"),
    ("Makefile", r"^(prove|bench|chaos|docs|new):.*\n(\t.*\n)+\n", ""),
    ("Makefile", r"^# These take .*\nLEFT_OUT.*\n", ""),
    ("Makefile", r"; BRIGADE_E2E=1 for [^;]*|\$\(LEFT_OUT\) ", ""),
    ("requirements/[a-z]*.txt", SEGNO.pattern, ""),
    ("service/main.py", r"\blinks, ", ""),
    ("service/features/notes/__init__.py", r"^# .*\n# .*\nneeded = .*$", 'needed = needs("postgres")'),
    ("service/main.py", r", (links|sheets)\b", ""),
    ("docker-compose.yml", r"^  jobs: #.*\n(    .*\n)+\n", ""),
    ("deploy/compose.*.yml", r"^  jobs:\n(    .*\n)+\n", ""),
    ("deploy/kubernetes/base/kustomization.yaml", r"^  - jobs\.yaml\n", ""),
    ("deploy/kubernetes/components/service-monitor/kustomization.yaml", r", jobs\.yaml", ""),
    ("deploy/kubernetes/base/network.yaml", r"^---\n(?:(?!---).*\n){3}  name: jobs\n(?:(?!---).*\n)+", ""),
    ("deploy/kubernetes/base/network.yaml", r"\[api, jobs, migrate\]", "[api, migrate]"),
    ("service/settings.py", r"(?s)\nfrom pydantic import AnyHttpUrl\n(.*Settings\):\n).*", r"\1    pass\n"),
    (".env.example", r"^#[^\n]*\n# PUBLIC_URL=\n", ""),
    ("docker-compose.yml", r"^  PUBLIC_URL:.*\n", ""),
    ("deploy/compose.production.yml", r"^ *PUBLIC_URL:.*\n", ""),
    ("docs/settings.md", r"^\| `PUBLIC_URL`.*\n", ""),
    ("docs/*.md", r"^!\[[^\]]*\]\(pictures/[^)]*\)\n\n?", ""),
    (
        "docs/*.md",
        r"\[([^\]]*)\]\((?:\.\./)?(decisions/|concurrency|hot-path|CHANGELOG|README|pictures/)[^)]*\)",
        r"\1",
    ),
]
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

OF_A_REPOSITORY = {
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CEILING_DIRECTORIES",
}  # fmt: skip


class Refusal(Exception):
    """Why nothing was done, in one sentence."""


def check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise Refusal(
            f"NAME is the name of a Python package, such as orders: small letters, digits and _, not {name!r}."
        )
    taken = {"service", "tests", "conftest", "loadtests", "deploy", "docs", "requirements", *ENGINE, *IMPORTED}
    taken |= {"build", "dist", "reports"}  # git ignores these folders, and make clean deletes them
    locked = {line.partition("==")[0].partition("[")[0].replace("-", "_") for line in _locks()}
    if name in taken | locked | sys.stdlib_module_names or find_spec(name):
        raise Refusal(f"NAME cannot be {name}: Python or a package that the project uses has that name.")


def _locks() -> list[str]:
    files = (ROOT / "requirements").glob("*.txt")
    return [line for file in files for line in file.read_text("utf-8").splitlines() if line[:1].isalpha()]


def make_files(name: str, folder: Path) -> None:
    """Write the template's files into `folder`, as those of a project called `name`."""
    listed = _git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for path in filter(None, listed.split("\0")):
        if LEFT_OUT.match(path) or not (ROOT / path).is_file():
            continue
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target)
    for files, pattern, replacement in EDITS:
        for file in folder.glob(files):
            text = re.sub(pattern, replacement, file.read_text("utf-8"), flags=re.M | re.S * ("Load" in pattern))
            file.write_text(text, "utf-8")
    (folder / "service").rename(folder / name)
    (folder / "tests" / "service").rename(folder / "tests" / name)
    for file in folder.rglob("*"):
        inside = file.relative_to(folder).parts
        if file.is_file() and file.suffix in TEXT and inside[0] not in {*ENGINE, "requirements"}:
            file.write_text(_named(file.read_text("utf-8"), name), "utf-8")


def _named(text: str, name: str) -> str:
    """Rename the package `service`, and what is called Brigade because the template is."""
    text = text.replace("COPY service/ service/", f"COPY {name}/ {name}/").replace("!service\n", f"!{name}\n")
    text = re.sub(r"(-m,? |from |import )service\b(?!:)", rf"\1{name}", text)
    text = re.sub(r'(?<!=)"service(?=["./])(?!": |", "(?:inspect|ls))', f'"{name}', text)
    text = re.sub(r"\bservice(?=[./](?:main|settings|features|__main__|\*\*)|/ )", name, text)
    text = text.replace("${IMAGE:-brigade}", f"${{IMAGE:-{name}}}").replace('name = "brigade"', f'name = "{name}"')
    text = text.replace('title="Brigade"', f'title="{_title(name)}"')
    imports = rf"(?:^from (?:brigade|local|{name})\b[^(\n]*\n)+"
    return re.sub(imports, lambda block: "".join(sorted(block[0].splitlines(True), key=_module)), text, flags=re.M)


def _module(line: str) -> str:
    return line.split()[1]


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


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
    (folder / "README.md").write_text(README.format(name=name, title=_title(name)))
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n- The project.\n")
    (folder / ".env").write_text(DOTENV.format(project=_compose_project(name, folder)))
    _git(folder, "init", "-q", "-b", "main", "--template=")
    _git(folder, "-c", "core.excludesFile=", "add", "-A")
    _git(folder, *_author(folder), "commit", "-q", "--no-verify", "--no-gpg-sign", "-m", f"Start {name}")


def _compose_project(name: str, folder: Path) -> str:
    """Compose would take the folder's name, which a folder elsewhere may have too."""
    return f"{name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:6]}"


def upgrade(directory: str) -> None:
    """Run by the newer template, for the project in `directory`."""
    folder = Path(directory).absolute()
    if _git(folder, "status", "--porcelain"):
        raise Refusal(
            "There are changes that are not committed: commit them, so that git can show what the upgrade does."
        )
    if folder == ROOT:
        raise Refusal("FROM is this project: name a newer clone of the template.")
    name = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["tool"]["brigade"]["package"]
    with tempfile.TemporaryDirectory() as scratch:
        newer = Path(scratch) / name
        make_files(name, newer)
        for part in ENGINE:
            shutil.rmtree(folder / part)
            shutil.copytree(newer / part, folder / part)
        shutil.copytree(newer / "docs", folder / "docs", dirs_exist_ok=True)
        differing = [path for path in _yours(newer) if _differs(folder / path, newer / path)]
    print("brigade/, local/ and the pages of docs/ are those of the newer template; git diff shows the change.")
    if differing:
        print("These are yours, and the newer template has others. Look at what it changed:")
        print("".join(f"  {path}\n" for path in differing), end="")
    if _git(folder, "status", "--porcelain", "brigade/pyproject.toml"):
        print("The engine has other dependencies: run make lock.")


def _yours(newer: Path) -> list[str]:
    parts = ["deploy", "requirements", "Dockerfile", "docker-compose.yml", "Makefile", "pyproject.toml", ".env.example"]
    parts += ["tests/conftest.py", ".dockerignore", ".github"]
    files = [file for part in parts for file in [newer / part, *sorted((newer / part).rglob("*"))] if file.is_file()]
    return [str(file.relative_to(newer)) for file in files]


def _differs(own: Path, other: Path) -> bool:
    return not own.is_file() or own.read_bytes() != other.read_bytes()


def _author(folder: Path) -> list[str]:
    """Nothing where git knows one; else the template's, so that a first commit needs no configuration."""
    asked = ["git", "config", "user.email"]
    known = subprocess.run(asked, cwd=folder, env=_environment(), capture_output=True, check=False)
    return [] if known.returncode == 0 else ["-c", "user.name=Brigade", "-c", "user.email=brigade@localhost"]


def _environment() -> dict[str, str]:
    """Without what a hook, or `git rebase --exec`, says of the repository that it runs in."""
    return {name: value for name, value in os.environ.items() if name not in OF_A_REPOSITORY}


def _git(folder: Path, *arguments: str) -> str:
    try:
        command = ["git", *arguments]
        done = subprocess.run(
            command,
            cwd=folder,
            env=_environment(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise Refusal("git is missing: install it.") from None
    if done.returncode != 0:
        raise Refusal(f"git {arguments[0]} failed in {folder}: {done.stderr.strip()}")
    return done.stdout


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
