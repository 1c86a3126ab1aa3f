"""Runs git for `make new` and `make upgrade`, whatever the shell and its configuration say."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OF_A_REPOSITORY = {
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CEILING_DIRECTORIES",
}  # fmt: skip


class Refusal(Exception):
    """Why nothing was done, in one sentence."""


def git(folder: Path, *arguments: str) -> str:
    """Return what `git` says in `folder`, or raise the refusal that says what it could not do."""
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
        raise Refusal(f"git failed in {folder}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout


def author(folder: Path) -> list[str]:
    """Nothing where git knows one; else the template's, so that a first commit needs no configuration."""
    try:
        for identity in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            git(folder, "var", identity)
    except Refusal:
        return ["-c", "user.name=Brigade", "-c", "user.email=brigade@localhost"]
    return []


def _environment() -> dict[str, str]:
    """Without what a hook, or `git rebase --exec`, says of the repository that it runs in."""
    return {name: value for name, value in os.environ.items() if name not in OF_A_REPOSITORY}
