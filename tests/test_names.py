"""A name is a name: none leads out of the folder in which it is looked up."""

from pathlib import Path

import pytest

from search import space
from trainables import plugins
from trainables.errors import UserError

OUT = ["../errors", "..", ".", "", "/etc/passwd", "a/../../b", "__init__", "_files", "os", "x\0y"]


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("package", ["trainables.data", "trainables.pretext", "search.policies"])
def test_plugins(package: str, name: str) -> None:
    with pytest.raises(UserError, match="must be one of"):
        plugins.load(package, name)


@pytest.mark.parametrize("name", [*OUT, "task/moco", "../spaces/isic3"])
def test_spaces(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="must be one of"):
        space.load(name)
