"""Pin every dependency in pyproject.toml at the newest version that resolves.

    uv run python tests/pins.py && uv run pytest

Covers transitive dependencies, extras and groups, on every platform and Python that the project
names, with one version each. Names and versions only: no lock file, address or hash is needed.
"""

import re
import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
PINS = re.compile(r"^((?:build-)?constraint-dependencies) = \[\n.*?^\]\n", re.DOTALL | re.MULTILINE)
BUILD = "setuptools"  # builds the packages that come without a wheel


def newest(project: str) -> list[str]:
    """`name==version` of everything that the project, whose pins are left out, can need."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(PINS.sub("", project))
        command = ["uv", "lock", "--fork-strategy", "fewest", "--directory", folder]
        subprocess.run(command, check=True)
        packages = tomllib.loads(Path(folder, "uv.lock").read_text())["package"]
    return [f"{one['name']}=={one['version']}" for one in packages if "registry" in one["source"]]


def written(project: str, pins: Sequence[str]) -> str:
    """The project's text with these pins in place of those that it has."""
    build = [pin for pin in pins if pin.startswith(f"{BUILD}==")]
    lists = {"constraint-dependencies": pins, "build-constraint-dependencies": build}
    return PINS.sub(lambda found: _list(found[1], lists[found[1]]), project)


def _list(name: str, pins: Sequence[str]) -> str:
    return f"{name} = [\n" + "".join(f'    "{pin}",\n' for pin in pins) + "]\n"


if __name__ == "__main__":
    text = PROJECT.read_text()
    PROJECT.write_text(written(text, newest(text)))
