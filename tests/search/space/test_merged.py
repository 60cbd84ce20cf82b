"""Values that a merge of files gets wrong: tables of lengths, recipes for another backbone."""

import pytest

from search.space import compose, load
from search.space.origins import explained
from trainables.architectures import TRANSFORMER
from trainables.errors import UserError

VIT = "profile.backbone=vit_tiny_patch16_224"


def test_a_table_of_lengths_is_the_one_given_and_no_union():
    own = ["tasks.moco.steps={1000: 2500}", "downstream.steps={100: 3000}"]
    space = load("isic3", [*own, "profile.steps=published", "profile.downstream_steps=published"])
    assert (space.tasks["moco"].steps, space.downstream.steps) == ({1000: 2500}, {100: 3000})
    assert space.tasks["odc"].steps == load("isic3").tasks["odc"].steps
    lengths = ["profile.steps={1000: 2000}", "profile.steps={5000: 3000}"]
    assert load("isic3", lengths[1:]).profile.steps == {5000: 3000}
    assert load("isic3", lengths).profile.steps == {5000: 3000}, "the last one"


def test_one_number_of_a_table_can_be_changed():
    known = load("isic3").tasks["moco"].steps
    found = load("isic3", ["tasks.moco.steps.5000=7000", "profile=gpu"]).tasks["moco"].steps
    assert found == known | {5000: 7000}


def test_a_spaces_own_table_replaces_the_tasks(tmp_path, monkeypatch):
    spaces = tmp_path / "spaces"
    spaces.mkdir()
    for one in compose.SPACES.iterdir():
        (spaces / one.name).symlink_to(one)
    own = "defaults:\n  - isic3\n  - _self_\nname: mine\ntasks:\n  moco:\n    steps: {1000: 2500}\n"
    (spaces / "mine.yaml").write_text(own)
    monkeypatch.setattr(compose, "SPACES", spaces)
    assert load("mine").tasks["moco"].steps == {1000: 2500}
    assert load("mine", ["tasks.moco.steps={5: 6}", "profile=gpu"]).tasks["moco"].steps == {5: 6}


@pytest.mark.parametrize(
    ("given", "value"),
    [("lr_range=[0.0005]", (0.0005,)), ("lr_range_later=null", None), ("weight_decay=0", 0)],
)
def test_a_value_that_is_given_stays_with_a_transformer(given, value):
    space = load("isic3", [VIT, f"tasks.moco.{given}"])
    moco, odc = space.tasks["moco"], space.tasks["odc"]
    assert getattr(moco, given.partition("=")[0]) == value
    assert (moco.optimizer, odc.lr_range) == ("adamw", TRANSFORMER.rates)


def test_an_optimiser_that_is_given_keeps_its_own_rates():
    usual, space = load("isic3"), load("isic3", [VIT, "tasks.moco.optimizer=sgd"])
    assert space.tasks["moco"] == usual.tasks["moco"]
    assert space.downstream.lr_range == TRANSFORMER.downstream_rates


def test_what_is_no_section_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"^tasks\.moco=3: must be"):
        load("isic3", [VIT, "tasks.moco=3"])


def test_what_a_transformer_changes_is_explained():
    lines = [*explained("isic3", [VIT, "tasks.moco.weight_decay=0.1"])]
    origin = "# vit_tiny_patch16_224 is a transformer"
    assert sum(origin in line for line in lines) == 4 * 4 - 1
    assert any("weight_decay: 0.1 " in line and "# tasks.moco.weight" in line for line in lines)
