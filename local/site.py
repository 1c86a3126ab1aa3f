"""`make docs`: the pages of docs/ as a site that needs no network, with a reference of the engine from its docstrings."""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from local.places import ROOT

DOCS = ROOT / "docs"
BUILD = ROOT / "build" / "docs"
PAGES = BUILD / "pages"
SITE = ROOT / "reports" / "docs"

PARTS = {
    "Develop": [
        "first-feature",
        "engine",
        "concurrency",
        "lab",
        "locust",
        "outgoing",
        "streams",
        "jobs",
        "hot-path",
        "migrations",
        "stores",
        "servers",
        "why-gunicorn",
    ],
    "Operate": ["deploy", "platforms", "settings", "sizing", "scaling", "reliability", "security", "runbook", "logs"],
    "Look up": ["glossary", "proof", "changelog", "contributing"],
}
"""Parts of the site, and the pages of each in the order in which they help."""

OF_THE_ROOT = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "reporting.md"}
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#]*)(#[^)]*)?\)")

WORKER_FROM_DISK = "javascripts/iframe-worker.js"
"""Takes the place of the script of this name, which the plugin `offline` would have each page load from another host."""
FROM_DISK = """if (location.protocol === "file:") {
  const address = URL.createObjectURL(new Blob([%s], { type: "text/javascript" }));
  window.Worker = class extends Worker { constructor() { super(address); } };
}
"""
"""A page that is opened from disk may not begin a worker from a file, but may from its own text."""

REFERENCE = {"docstring_style": "google", "show_source": False, "show_submodules": True, "members_order": "source"}


def build(*, record: bool) -> int:
    if record:
        subprocess.run([sys.executable, "-m", "proof.recording"], cwd=ROOT, check=False)  # it says why it cannot
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(DOCS, PAGES)
    for source, name in OF_THE_ROOT.items():
        if not (ROOT / source).exists():
            continue
        (PAGES / name).write_text((ROOT / source).read_text("utf-8").replace("(docs/", "("), "utf-8")
    _add_report()
    _add_recording()
    for page in PAGES.rglob("*.md"):
        page.write_text(_without_links_outside(page), "utf-8")
    navigation = [{"Home": "index.md"}, *_parts(), {"Decisions": _decisions()}, {"Reference": _reference()}]
    (BUILD / "mkdocs.yml").write_text(json.dumps(_configuration(navigation), indent=1), "utf-8")  # JSON is YAML
    made = subprocess.run([Path(sys.executable).with_name("zensical"), "build", "--strict"], cwd=BUILD, check=False)
    if made.returncode == 0:
        _add_worker()
        shutil.rmtree(SITE, ignore_errors=True)
        shutil.copytree(BUILD / "site", SITE)
        print(f"Read it: open {(SITE / 'index.html').relative_to(ROOT)} in a browser.")
    return made.returncode


def _add_report() -> None:
    """Add a page that leads to the report of `make prove`, or says how to have one."""
    report = ROOT / "reports" / "proof.html"
    words = "Run `make prove`, which measures on this machine, and then `make docs` again."
    if report.exists():
        shutil.copy(report, PAGES / "measured.html")
        words = "[What `make prove` measured on this machine](measured.html)"
    (PAGES / "proof.md").write_text(f"# What was measured\n\n{words}\n", "utf-8")


def _add_recording() -> None:
    """Add the last recording of the lab's tour, if there is one, and lead to it from the page about the lab."""
    recorded, page = ROOT / "reports" / "lab.html", PAGES / "lab.md"
    if recorded.exists():
        shutil.copy(recorded, PAGES / "lab-recorded.html")
        page.write_text(
            page.read_text("utf-8").replace("`reports/lab.html`", "[the recorded lab](lab-recorded.html)"), "utf-8"
        )


def _add_worker() -> None:
    """Add the worker of the search for a browser that opens the files themselves."""
    (worker,) = (BUILD / "site" / "assets" / "javascripts" / "workers").glob("search.*.js")
    path = BUILD / "site" / WORKER_FROM_DISK
    path.parent.mkdir(exist_ok=True)
    path.write_text(FROM_DISK % json.dumps(worker.read_text("utf-8")), "utf-8")


def _without_links_outside(page: Path) -> str:
    """The site has no files of the repository but these pages: name the others."""

    def name(link: re.Match[str]) -> str:
        words, path, _ = link.groups()
        if path in OF_THE_ROOT:
            return f"[{words}]({'../' * (len(page.relative_to(PAGES).parts) - 1)}{OF_THE_ROOT[path]})"
        if (PAGES / path).exists():
            return link[0]
        return words if path in words else f"{words} (`{path}`)"

    return OUTSIDE.sub(name, page.read_text("utf-8"))


def _parts() -> list[dict[str, list[str]]]:
    placed = {f"{name}.md" for names in PARTS.values() for name in names}
    lost = {page.name for page in DOCS.glob("*.md")} - placed - {"index.md"}
    if lost:
        sys.exit(f"No part of the site has docs/{', docs/'.join(sorted(lost))}: name it in PARTS of local/site.py.")
    kept = {page.name for page in PAGES.glob("*.md")}  # a project made by make new has fewer
    return [{part: [f"{name}.md" for name in names if f"{name}.md" in kept]} for part, names in PARTS.items()]


def _decisions() -> list[str]:
    return [f"decisions/{page.name}" for page in sorted((DOCS / "decisions").glob("*.md"))]


def _reference() -> list[dict[str, str]]:
    """A page for the public names, and one for each part of the engine."""
    (PAGES / "reference").mkdir()
    names = ["brigade", *(f"brigade.{name}" for name in _parts_of_engine())]
    for name in names:
        options = "" if name != "brigade" else "    options:\n      show_submodules: false\n"
        (PAGES / "reference" / f"{name}.md").write_text(f"# {name}\n\n::: {name}\n{options}", "utf-8")
    return [{name: f"reference/{name}.md"} for name in names]


def _parts_of_engine() -> list[str]:
    engine = ROOT / "brigade"
    packages = {path.parent.name for path in engine.glob("*/__init__.py")}
    return sorted(packages | {path.stem for path in engine.glob("*.py")} - {"__init__"})


def _configuration(navigation: list[object]) -> dict[str, object]:
    python = {"paths": [str(ROOT)], "options": REFERENCE}
    return {
        "site_name": "Brigade",
        "docs_dir": "pages",
        "site_dir": "site",
        "use_directory_urls": False,
        "theme": {"font": False, "palette": _palette(), "features": ["navigation.tabs", "content.code.copy"]},
        "plugins": ["search", "offline", {"mkdocstrings": {"handlers": {"python": python}}}],
        "markdown_extensions": ["tables", "admonition", {"toc": {"permalink": True}}, "pymdownx.superfences"],
        "extra": {"polyfills": [WORKER_FROM_DISK]},
        "nav": navigation,
    }


def _palette() -> list[dict[str, object]]:
    return [
        {
            "media": f"(prefers-color-scheme: {scheme})",
            "scheme": name,
            "toggle": {"icon": f"lucide/{icon}", "name": f"Switch to {other}"},
        }
        for scheme, name, icon, other in (("light", "default", "sun", "dark"), ("dark", "slate", "moon", "light"))
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make docs", description="Make the pages of docs/ a site in reports/docs.")
    parser.add_argument("--record", action="store_true", help="take the tour of the lab for it, with a chromium")
    sys.exit(build(record=parser.parse_args().record))
