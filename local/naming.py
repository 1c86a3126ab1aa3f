"""Checks the name of a new project, and writes it into the template's text."""

import keyword
import re
import sys
from importlib.util import find_spec

from local.git import ROOT, Refusal

PARTS = {"service", "tests", "conftest", "loadtests", "deploy", "docs", "requirements", "brigade", "local"}
IMPORTED = {
    "attr", "boolean", "cyclonedx", "dateutil", "dotenv", "engineio", "google", "graphql", "importlinter", "markdown_it",
    "mpl_toolkits", "mypyc", "opentelemetry", "packageurl", "packaging_legacy_version", "pkg_resources", "py", "pylab",
    "pytest_locust", "rpds", "ruamel", "setuptools", "socketio", "uv", "websocket", "xdist", "yaml", "zmq", "zope",
    "zxingcpp",
}  # fmt: skip
"""Packages that the project uses and that are not imported by the name of their distribution."""


def check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise Refusal(
            f"NAME is the name of a Python package, such as orders: small letters, digits and _, not {name!r}."
        )
    taken = PARTS | IMPORTED | {"build", "dist", "reports"}  # git ignores the last three, and make clean deletes them
    locked = {line.partition("==")[0].partition("[")[0].replace("-", "_") for line in _locks()}
    if name in taken | locked | sys.stdlib_module_names or find_spec(name):
        raise Refusal(f"NAME cannot be {name}: Python or a package that the project uses has that name.")


def _locks() -> list[str]:
    files = (ROOT / "requirements").glob("*.txt")
    return [line for file in files for line in file.read_text("utf-8").splitlines() if line[:1].isalpha()]


def renamed(text: str, name: str) -> str:
    """Rename the package `service`, and what is called Brigade because the template is."""
    text = text.replace("COPY service/ service/", f"COPY {name}/ {name}/").replace("!service\n", f"!{name}\n")
    text = re.sub(r"(-m,? |from |import )service\b(?!:)", rf"\1{name}", text)
    text = re.sub(r'(?<!=)"service(?=["./])(?!": |", "(?:inspect|ls))', f'"{name}', text)
    text = re.sub(r"\bservice(?=[./](?:main|settings|features|__main__|\*\*)|/ )", name, text)
    text = text.replace("${IMAGE:-brigade}", f"${{IMAGE:-{name}}}").replace('name = "brigade"', f'name = "{name}"')
    text = text.replace('title="Brigade"', f'title="{title_of(name)}"')
    imports = rf"(?:^from (?:brigade|local|{name})\b[^(\n]*\n)+"
    return re.sub(imports, lambda block: "".join(sorted(block[0].splitlines(True), key=_module)), text, flags=re.M)


def _module(line: str) -> str:
    return line.split()[1]


def title_of(name: str) -> str:
    return name.replace("_", " ").capitalize()
