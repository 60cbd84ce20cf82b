"""Every value of a composed space, with the file or override that set it last."""

import pytest
import yaml

from search.space import compose
from search.space.compose import composed
from search.space.origins import explained


def origins(*overrides, name="isic3"):
    """(`key: value`, where it comes from); the lines must be the composed YAML."""
    lines = list(explained(name, overrides))
    assert yaml.safe_load("\n".join(lines)) == composed(name, overrides)
    pairs = (line.rsplit("  # ", 1) for line in lines if "  # " in line)
    return {(value.strip(), origin) for value, origin in pairs}


@pytest.mark.parametrize(
    ("overrides", "value", "origin"),
    [
        ([], "max_length: 3", "spaces/isic3.yaml"),
        ([], "seed: 0", "spaces/base.yaml"),
        ([], "optimizer: sgd", "spaces/task/moco.yaml"),
        ([], "val: 0.15", "spaces/base.yaml"),
        (["data=demo"], "val: 0.25", "spaces/data/demo.yaml"),
        ([], "backbone: resnet10", "spaces/profile/cpu.yaml"),
        (["profile=gpu"], "backbone: resnet50", "spaces/profile/gpu.yaml"),
        (["seed=4"], "seed: 4", "seed=4"),
        (["seed=4", "seed=5"], "seed: 5", "seed=5"),
        (["data=cxr_covid"], "image_column: image_id", "spaces/data/cxr_covid.yaml"),
        (["data=cxr_covid"], "csv: labels.csv", "spaces/data/table.yaml"),
        (["modality=xray"], "rotate: 10.0", "spaces/modality/xray.yaml"),
        (["+task@tasks.swav=swav"], "small_crops: 4", "spaces/task/swav.yaml"),
        (["policy=curriculum"], "params: {}", "spaces/policy/curriculum.yaml"),
        (
            ["tasks.odc.params={clusters: 9}"], "clusters: 9", "tasks.odc.params={clusters: 9}",
        ),
        (["tasks.odc.params={clusters: 9}"], "min_cluster: null", "spaces/task/odc.yaml"),
        (["++data.params.n=7", "data=demo"], "n: 7", "++data.params.n=7"),
        (["store='a: b'"], "store: 'a: b'", "store='a: b'"),
    ],
)  # fmt: skip
def test_the_last_one_that_sets_a_value_is_named(overrides, value, origin):
    assert (value, origin) in origins(*overrides)


def test_a_space_over_another_one(tmp_path, monkeypatch):
    for folder in compose.SPACES.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    (tmp_path / "own.yaml").write_text(
        "defaults: [isic3, _self_]\nname: own\nrepeats: 2\nearly_stop: ${repeats}\n"
    )
    monkeypatch.setattr(compose, "SPACES", tmp_path)
    found = origins(name="own")
    own = ["name: own", "repeats: 2", "early_stop: 2.0"]
    assert {(value, "spaces/own.yaml") for value in own} <= found
    assert ("max_length: 3", "spaces/isic3.yaml") in found
    assert ("seed: 0", "spaces/base.yaml") in found


def test_what_nothing_sets_is_the_dataclasss_default():
    overrides = ["~downstream.params.class_balanced", "~downstream.params.head_lr"]
    assert ("params: {}", "default") in origins(*overrides)
