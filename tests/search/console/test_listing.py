"""What `list` says of each file, found without importing a plug-in."""

import sys

import pytest

from search.console.listing import KINDS, lines, opened
from search.space import compose
from search.store.stage_store import StageStore
from trainables.errors import UserError
from trainables.plugins import available


@pytest.fixture
def spaces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compose, "SPACES", tmp_path / "spaces")
    (tmp_path / "spaces" / "policy").mkdir(parents=True)
    return tmp_path / "spaces"


def test_every_kind_has_its_title_and_all_its_files():
    said = list(lines())
    assert [line for line in said if not line.startswith(" ")] == [*KINDS, "stores"]
    named = {line.split()[0] for line in said if line.startswith(" ")}
    assert {*available("trainables.pretext"), *available("trainables.data")} <= named
    assert {*available("search.policies"), "isic3", "smoke", "xray"} <= named
    assert all(len(line.split()) > 1 for line in said if line.startswith(" "))


def test_the_first_comment_line_else_the_docstring_else_the_name(spaces):
    (spaces / "a.yaml").write_text("# First.\n# Second.\nname: a\n")
    (spaces / "b.yaml").write_text("name: b  # no heading\n")
    (spaces / "policy" / "tpe.yaml").write_text("name: tpe\n")
    said = [line.rstrip() for line in lines()]
    assert said[1:3] == ["  a                   First.", "  b"]
    sys.modules.pop("search.policies.tpe", None)
    assert any(line.startswith("  tpe                 Optuna's TPE") for line in lines())
    assert "search.policies.tpe" not in sys.modules


def test_stores_are_those_that_spaces_name_and_those_given(spaces, tmp_path):
    for name in ("a", "b"):
        (spaces / f"{name}.yaml").write_text(f"name: {name}\nstore: one\n")
    (spaces / "broken.yaml").write_text("a: [\n")
    (spaces / "none.yaml").write_text("store: nowhere\n")
    StageStore("one")
    StageStore("two")
    assert list(lines(["two", "one"]))[-3:] == [
        "stores", "  one                 0 finished stages",
        "  two                 0 finished stages",
    ]  # fmt: skip
    assert not (tmp_path / "nowhere").exists()


def test_no_store_is_opened_where_there_is_none(tmp_path):
    with pytest.raises(UserError, match="must be a store"):
        opened(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
