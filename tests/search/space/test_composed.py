"""Every space composes to the values it had before it was written over a base."""

import json
from pathlib import Path

import pytest

from search.space import available_spaces
from search.space.compose import composed

GOLDEN = json.loads((Path(__file__).parent / "composed.json").read_text())


@pytest.mark.parametrize("command", GOLDEN)
def test_composed_values_are_the_recorded_ones(command: str) -> None:
    name, *overrides = command.split()
    found, golden = composed(name, overrides), GOLDEN[command]
    assert found == golden
    assert list(found["tasks"]) == list(golden["tasks"])


@pytest.mark.parametrize("name", available_spaces())
def test_every_space_is_recorded_with_two_profiles(name: str) -> None:
    assert {f"{name} profile=cpu", f"{name} profile=gpu"} <= set(GOLDEN)
