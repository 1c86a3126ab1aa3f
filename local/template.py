"""The files of a project: the template's with another name, without what only the template needs."""

import re
import shutil
from pathlib import Path

from local.git import ROOT, git
from local.naming import renamed

LEFT_OUT = re.compile(
    r"proof/|docs/(decisions|pictures)/|docs/(concurrency|hot-path)\.md|\.(ci|devcontainer)/|"
    r"service/features/(links|sheets)/|deploy/kubernetes/(base|components/service-monitor)/jobs\.yaml|loadtests/scenarios/(links|drawing|streams|jobs)\.py|"
    r"tests/(?!conftest\.py|service/(notes/|test_features))|README|CHANGELOG|CONTRIBUTING|SECURITY|AGENTS"
)
ENGINE = ("brigade", "local")
"""Folders that an upgrade replaces."""
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
    ("service/settings.py", r"(?s)\nfrom pydantic import AnyHttpUrl[^\n]*\n(.*Settings\):\n).*", r"\1    pass\n"),
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


def make_files(name: str, folder: Path) -> None:
    """Write the template's files into `folder`, as those of a project called `name`."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
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
            file.write_text(renamed(file.read_text("utf-8"), name), "utf-8")
