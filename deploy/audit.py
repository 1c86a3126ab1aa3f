"""Asks who knows of holes about every package that is locked: `make audit`. Exit status 1 if one has any.

PyPI is asked, then OSV. Where neither answers, that is said, and is no finding; with --strict it is exit status 2.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements" / "dev.txt"  # it has all that the other lock files have
SOURCES = {"PyPI": ("-s", "pypi"), "OSV": ("-s", "osv")}


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask whether a locked package has a known hole.")
    parser.add_argument("--strict", action="store_true", help="exit status 2 where nobody could be asked")
    parser.add_argument("--ignore", action="append", default=[], metavar="ID", help="a finding that is known and borne")
    parser.add_argument("--osv-url", metavar="URL", help="ask this mirror of OSV, and nobody else")
    chosen = parser.parse_args()
    sources = {chosen.osv_url: ("-s", "osv", "--osv-url", chosen.osv_url)} if chosen.osv_url else SOURCES
    for name, options in sources.items():
        packages = _ask(*options, *(part for known in chosen.ignore for part in ("--ignore-vuln", known)))
        if any("vulns" in package for package in packages):
            return _report(name, packages)
    print(f"audit: NOT DONE. None of {', '.join(sources)} answers from here, so nothing is known of {LOCK.name}.")
    return 2 if chosen.strict else 0


def _ask(*options: str) -> list[dict[str, Any]]:
    program = Path(sys.executable).with_name("pip-audit")
    what = ["-r", str(LOCK), "--require-hashes", "--disable-pip", "-f", "json", "--progress-spinner", "off"]
    command = [str(program), *what, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return []
    return packages


def _report(source: str, packages: list[dict[str, Any]]) -> int:
    holes = [(package, hole) for package in packages for hole in package.get("vulns", ())]
    for package, hole in holes:
        mended = ", ".join(hole["fix_versions"]) or "no version yet"
        print(f"audit: {package['name']} {package['version']} has {hole['id']}, mended in {mended}")
    for package in packages:
        if "skip_reason" in package:
            print(f"audit: {source} knows nothing of {package['name']}: {package['skip_reason']}")
    print(f"audit: {source} knows of {len(holes)} holes in {sum('vulns' in package for package in packages)} packages.")
    return 1 if holes else 0


sys.exit(main())
