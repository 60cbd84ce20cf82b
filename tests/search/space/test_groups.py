"""Files of a group that give some keys only: the dataclasses and the base give the others."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from search.console.listing import lines
from search.space import Space, available_spaces, check_plugins, compose, load
from search.space.origins import explained
from search.space.schema import TaskChoice
from trainables.bench.recipes import TASK
from trainables.errors import UserError
from trainables.modality import Preset
from trainables.plugins import load as plugin

README = Path(__file__).parents[3] / "README.md"
CT = "hflip: true\nrotate: 5.0\n"
ONE = {  # group -> a file of one key, the override that chooses it
    "task": ("name: swav", "+task@tasks.swav=own"),
    "data": ("name: folder", "data=own"),
    "downstream": ("weight_decay: 0.5", "downstream=own"),
    "modality": ("hflip: true", "modality=own"),
    "policy": ("name: tpe", "policy=own"),
    "profile": ("steps: 7", "profile=own"),
    "runtime": ("workers: 2", "runtime=own"),
}


@pytest.fixture
def spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of spaces/ to add files to."""
    for path in compose.SPACES.rglob("*.yaml"):
        copy = tmp_path / path.relative_to(compose.SPACES)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    monkeypatch.setattr(compose, "SPACES", tmp_path)
    return tmp_path


def shown(*overrides: str) -> dict[str, str]:
    """The origin of each line of `show`."""
    pairs = [line.rsplit("  # ", 1) for line in explained("isic3", overrides)]
    return {pair[0].strip(): pair[1] for pair in pairs if len(pair) == 2}


def refused(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        check_plugins(load("isic3", overrides))
    return str(caught.value)


def test_a_modality_of_two_keys_breaks_nothing(spaces: Path) -> None:
    before = load("isic3")
    (spaces / "modality" / "ct.yaml").write_text(CT)
    assert load("isic3") == before
    assert load("isic3", ["modality=ct"]).data.augment == asdict(Preset(hflip=True, rotate=5))
    own = load("isic3", ["modality=ct", "data.augment.vflip=true"]).data.augment
    assert own == asdict(Preset(hflip=True, vflip=True, rotate=5))
    origins = shown("modality=ct", "data.augment.vflip=true")
    assert origins["rotate: 5.0"] == "spaces/modality/ct.yaml"
    assert origins["vflip: true"] == "data.augment.vflip=true"
    assert origins["blur: 0.0"] == "default"


@pytest.mark.parametrize("group", ONE)
def test_one_key_is_enough(spaces: Path, group: str) -> None:
    text, choice = ONE[group]
    (spaces / group / "own.yaml").write_text(text)
    space = load("isic3", [choice])
    check_plugins(space)
    assert plugin("search.policies", space.policy.name).Params(**space.policy.params)
    assert shown(choice)[text] == f"spaces/{group}/own.yaml"


def test_every_group_is_tried_with_one_key() -> None:
    assert set(ONE) == {path.name for path in compose.SPACES.iterdir() if path.is_dir()}


def own_task(spaces: Path) -> Space:
    (spaces / "task" / "own.yaml").write_text("name: swav")
    return load("isic3", ["+task@tasks.swav=own", "tasks.swav.params.epsilon=0.1"])


def test_what_a_task_leaves_out_is_default_and_can_be_set(spaces: Path) -> None:
    task = own_task(spaces).tasks["swav"]
    assert (task.optimizer, task.weight_decay, task.params) == ("sgd", 1e-4, {"epsilon": 0.1})
    more = ["+task@tasks.swav=own", "tasks.swav.weight_decay=0.5", "tasks.swav.params.crop=[0.1,1]"]
    assert load("isic3", more).tasks["swav"].weight_decay == 0.5
    assert refused("+task@tasks.swav=own", "tasks.swav.weight_decai=0").endswith("weight_decay")
    said = refused("+task@tasks.swav=own", "tasks.swav.params.epsilom=0")
    assert said.startswith("tasks.swav.params.epsilom: must be one of crop, epsilon,")
    assert said.endswith("try epsilon")


@pytest.mark.parametrize(
    ("file", "added", "said"),
    [
        ("isic3.yaml", "max_lenght: 3", "max_lenght: must be one of .*; try max_length"),
        ("base.yaml", "repeat: 3", "repeat: must be one of .*; try repeats"),
        ("data/isic2019.yaml", "chanels: 3", "data.chanels: must be one of .*; try channels"),
        ("modality/dermoscopy.yaml", "rotat: 5", "data.augment.rotat: must .*; try rotate"),
        ("policy/curriculum.yaml", "parms: {}", "policy.parms: must be one of .*; try params"),
        ("profile/cpu.yaml", "step: 5", "profile.step: must be one of .*; try steps"),
        ("runtime/local.yaml", "worker: 1", "runtime.worker: must be one of .*; try workers"),
        ("task/moco.yaml", "lr_rang: [1]", "tasks.moco.lr_rang: must .*; try lr_range"),
        (
            "task/odc.yaml",
            "version: '2'",
            "tasks.odc.version: must be one of lr_range, lr_range_later, name, .*",
        ),
    ],
)
def test_an_unknown_key_is_named_in_whichever_file(
    spaces: Path, file: str, added: str, said: str
) -> None:
    with (spaces / file).open("a") as text:
        text.write(f"\n{added}\n")
    with pytest.raises(UserError, match=f"^{said}$"):
        load("isic3")


def test_a_misspelt_key_is_named_before_the_one_it_leaves_out(spaces: Path) -> None:
    (spaces / "policy" / "own.yaml").write_text("nam: tpe")
    assert refused("policy=own") == "policy.nam: must be one of name, params; try name"


def test_a_misspelt_parameter_of_a_task_is_named(spaces: Path) -> None:
    (spaces / "task" / "own.yaml").write_text("name: swav\nparams: {crops: [0.1, 1.0]}\n")
    said = refused("+task@tasks.swav=own")
    assert said.startswith("tasks.swav.params.crops: must be one of crop,")
    assert said.endswith("try crop")


def test_the_base_is_no_space() -> None:
    assert "base" not in available_spaces()
    assert not any(line.startswith("  base ") for line in lines())
    with pytest.raises(UserError, match=r"^--space=base: must be one of cxr4, isic3"):
        load("base")


def test_spaces_are_short() -> None:
    for name in available_spaces():
        text = (compose.SPACES / f"{name}.yaml").read_text()
        assert len([line for line in text.splitlines() if line.strip(" #")]) <= 15


def test_readmes_own_space_composes(spaces: Path) -> None:
    text = README.read_text().partition("### Your own space\n")[2].partition("\n### ")[0]
    block = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    own = yaml.safe_load(block)
    (spaces / f"{own['name']}.yaml").write_text(block)
    assert len(block.splitlines()) <= 15
    space = load(own["name"])
    check_plugins(space)
    assert (space.data.name, space.data.augment["hflip"]) == ("table", False)
    assert load(own["name"], ["data=demo", "profile=smoke"]).data.name == "demo"


def test_the_benchmark_fills_in_a_task_as_a_space_does() -> None:
    """It imports nothing of the search, so the values stand there again."""
    in_a_space = asdict(TaskChoice("swav"))
    assert {**TASK, "name": "swav", "lr_range": tuple(TASK["lr_range"])} == in_a_space
