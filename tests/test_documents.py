"""What the files beside the code promise: pins, README's tree, changelog and citation."""

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import tests.pins

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads(tests.pins.PROJECT.read_text())
PINS = [Requirement(pin) for pin in PROJECT["tool"]["uv"]["constraint-dependencies"]]
TREE = README.partition("<!-- tree -->\n")[2].partition("<!-- /tree -->")[0]


def needed() -> dict[str, str]:
    """Version of every installed distribution that the project and its tests need."""
    found: dict[str, str] = {}
    wanted = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    waiting, seen = [Requirement(one) for one in wanted], set()
    while waiting:
        one = waiting.pop()
        if str(one) not in seen:
            seen.add(str(one))
            installed = metadata.distribution(one.name)
            found[re.sub(r"[-_.]+", "-", one.name).lower()] = installed.version
            waiting += _required(installed, {"", *one.extras})
    return found


def _required(installed: metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    for one in map(Requirement, installed.requires or []):
        if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in extras):
            yield one


def test_every_dependency_is_pinned_at_the_version_that_is_installed():
    pins = {pin.name: pin.specifier for pin in PINS}
    installed = needed()
    assert len(installed) > 100
    assert {n: v for n, v in installed.items() if n not in pins or v not in pins[n]} == {}


def test_pins_are_exact_and_name_no_address():
    assert [str(pin) for pin in PINS if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", str(pin))] == []
    assert len({pin.name for pin in PINS}) == len(PINS)
    assert not re.search(r"://\S|\[\[?tool\.uv\.(index|sources)", tests.pins.PROJECT.read_text())


def test_new_pins_take_the_place_of_the_old_ones():
    text = tests.pins.PROJECT.read_text()
    made = tests.pins.written(text, ["a-package==2.1", "setuptools==99"])
    uv = tomllib.loads(made)["tool"]["uv"]
    assert uv["constraint-dependencies"] == ["a-package==2.1", "setuptools==99"]
    assert uv["build-constraint-dependencies"] == ["setuptools==99"]
    assert tests.pins.written(made, [str(pin) for pin in PINS]) == text


def tree() -> Iterator[str]:
    """Paths in README's tree, folders with a slash at their end."""
    above: list[str] = []
    for line in TREE.splitlines():
        name, words = line.split(maxsplit=1)
        depth = (len(line) - len(line.lstrip()) - 4) // 2
        above = [*above[:depth], name]
        assert words, line
        yield "".join(above)


@pytest.mark.parametrize("package", ["search", "trainables"])
def test_readmes_tree_names_every_module_and_no_other(package):
    files = [
        path for path in (ROOT / package).rglob("*") if path.suffix in {".py", ".txt", ".html"}
    ]
    modules = {str(path.relative_to(ROOT)) for path in files if path.name != "__init__.py"}
    folders = {f"{path.parent.relative_to(ROOT)}/" for path in files}
    listed = [path for path in tree() if path.startswith(f"{package}/")]
    assert len(listed) == len(set(listed))
    assert set(listed) == modules | folders


def test_readmes_tree_names_the_folders_of_spaces_and_what_lies_beside():
    others = {path for path in tree() if not path.startswith(("search/", "trainables/"))}
    assert {path for path in others if not (ROOT / path).exists()} == set()
    spaces = {f"spaces/{path.name}/" for path in (ROOT / "spaces").iterdir() if path.is_dir()}
    assert {path for path in others if path.count("/") == 2} == spaces


def test_the_flow_names_the_folders_in_the_order_of_the_tree():
    flow = README.partition("## How it works\n")[2].partition("<!-- tree -->")[0]
    folders = [path.split("/")[1] for path in tree() if re.fullmatch(r"search/\w+/", path)]
    assert [name for name in re.findall(r"`(\w+)/`", flow) if name in folders] == folders
    assert len(re.findall(r"\.(?=\s)", re.sub(r"^\d+\.", "", flow, flags=re.MULTILINE))) <= 10


def test_the_changelog_is_kept_in_its_form():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    assert versions[1][0] == PROJECT["project"]["version"]
    assert all(date for _, date in versions[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
    assert len(re.findall(r"^## ", text, re.MULTILINE)) == len(versions)


def test_the_citation_has_what_the_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["authors"] == [{"name": "The ssl-curriculum-search maintainers"}]
    assert (citation["version"], citation["license"]) == (
        PROJECT["project"]["version"], PROJECT["project"]["license"],
    )  # fmt: skip
