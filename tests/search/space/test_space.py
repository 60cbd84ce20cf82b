"""Spaces: what is composed, what decides a key, and what is refused in which words."""

from dataclasses import replace
from itertools import combinations

import pytest

from search.chains.images import data_spec
from search.chains.node import Node
from search.chains.plan import Plan
from search.space import SPACES, available_spaces, check_plugins, hardware, load
from trainables import architectures
from trainables.errors import UserError
from trainables.plugins import available


def test_isic3_is_three_tasks_in_chains_of_up_to_three():
    space = load("isic3")
    assert tuple(space.tasks) == ("relative_location", "moco", "odc")
    assert (space.max_length, space.policy.name, space.data.name) == (3, "curriculum", "isic2019")
    assert all(len(task.lr_range) >= 3 for task in space.tasks.values())


@pytest.mark.parametrize("space", available_spaces())
@pytest.mark.parametrize("profile", ["cpu", "gpu", "demo", "smoke"])
def test_every_space_composes_with_every_profile(space, profile):
    assert load(space, [f"profile={profile}"]).profile.name == profile


def test_gpu_is_the_serious_one():
    profile = load("isic3", ["profile=gpu"]).profile
    assert (profile.backbone, profile.image_size) == ("resnet50", 224)
    assert profile.precision == "bfloat16"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("tasks.moko.lr_range=[1]", "try moco"),
        ("+tasks.moco.params.temprature=1", "try temperature"),
        ("tasks.moco.lr_range=[0.1,0.01]", "must be rates that rise"),
        ("repeats=0", "must be a whole number from 1 to 100"),
        ("tasks.moco.lr_range=[-0.1,0.01]", "each a number from 1e-08 to 100"),
        ("profile.batch=31", "must be a multiple of profile.bn_groups=2, with two images a gro"),
        ("profile.batch=31", "; try 32"),
        ("profile.batch=2", "profile.batch=2: must be a multiple of profile.bn_groups=2, with two"),
        ("profile.downstream_batch=2", "two images a group or more; try 4"),
        (
            "tasks.moco.steps={1000:5000}",
            "tasks.moco.steps: must be left out with profile.steps=2",
        ),
        ("downstream.steps={100:50}", "; try profile.downstream_steps=published"),
        (
            "data.augment.tasks.byol.blur=0",
            "data.augment.tasks=byol: must be one of moco, odc, rel",
        ),
        ("tasks.relative_location.params.border=0.49", "params.border=0.49: must be a number from"),
        ("profile.label_fraction=0", "profile.label_fraction"),
        ("data.val=0.9", "data.val=0.9, data.test=0.15: must be below 1 together"),
        ("profile.precision=float16", "profile.precision"),
        ("policy=tpee", "try tpe"),
        ("modality=xrays", "must be one of dermoscopy, xray; try xray"),
        ("modality@data.augment=xrays", "must be one of dermoscopy, xray; try xray"),
        ("modality@data.augmnt=xray", "try augment"),
        ("modalty=xray", "try modality"),
        ("task@tasks.mocco=moco", "try moco"),
        ("data.augment.vflp=false", "try vflip"),
        ("+data.augment.vflp=false", "try vflip"),
        ("data.augment.tasks.moco.huee=0", "solarise, std, vflip; try hue"),
        ("data.augment.tasks.mcoo.hue=0", "rotation, swav; try moco"),
        ("data.augment.tasks.moco.hue=3", "must be a number from 0 to 0.5"),
        ("data.augment.mean=[0.5]", "must be 3 numbers, one a channel"),
        ("data.augment.std=[0.2,0.2,0.0]", "each a number from 0.001 to 1"),
        ("data.merge_duplicate=true", "try merge_duplicates"),
        ("data.merge_duplicates=perhaps", "data.merge_duplicates"),
    ],
)
def test_what_is_off_is_named_in_one_line(override, said):
    with pytest.raises(UserError) as caught:
        check_plugins(load("isic3", [override]))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_colours_of_grey_images_are_refused():
    grey = ["modality=xray", "data.channels=1"]
    with pytest.raises(
        UserError, match=r"^data\.augment\.hue=0\.1: must be left out with data\.ch"
    ):
        load("isic3", [*grey, "data.augment.hue=0.1"])
    load("isic3", [*grey, "data.augment.hue=0", "data.augment.brightness=0.3"])


def augment(*overrides):
    return load("isic3", overrides).data.augment


def test_a_modality_is_chosen_by_its_name_or_by_the_data_set():
    dermoscopy, xray = augment(), augment("modality=xray")
    assert (dermoscopy["vflip"], dermoscopy["rotate"]) == (True, 180)
    assert not xray["hflip"] | xray["vflip"]
    assert xray["rotate"] == 10
    assert xray["hue"] == xray["saturation"] == xray["grayscale"] == 0
    assert xray["brightness"] > 0
    assert augment("data=cxr_covid") == augment("modality@data.augment=xray") == xray
    assert augment("modality=dermoscopy", "data=cxr_covid") == dermoscopy
    assert augment("modality=xray", "data.augment.hflip=true") == {**xray, "hflip": True}


FORMS = [  # of every kind of setting that README names, one
    ["seed=3"], ["profile=smoke"], ["data=table"], ["modality=xray"], ["+task@tasks.swav=swav"],
    ["~tasks.odc", "max_length=2"], ["starts.imagenet=timm"], ["+starts.other=FILE"],
    ["+starts.further.weights=FILE"], ["+baselines.features.own=FILE.parquet"],
    ["data.augment.tasks.moco.planckian=true"], ["pool.name=folder", "pool.root=x"],
    ["external.other.name=folder", "external.other.root=x"],
]  # fmt: skip


@pytest.mark.parametrize("two", combinations(FORMS, 2), ids=str)
def test_any_two_kinds_of_settings_go_together(two):
    space = load("isic3", [one for form in two for one in form])
    given = ["+starts.other=FILE"] in two, ["+baselines.features.own=FILE.parquet"] in two
    assert ("other" in space.starts, "own" in space.baselines.features) == given


def test_a_wrong_key_of_a_new_name_is_refused_beside_any_other_setting():
    with pytest.raises(UserError, match=r"starts\.further\.weightz: must be one of"):
        load("isic3", ["+starts.further.weightz=FILE", "external.other.name=folder"])


@pytest.mark.parametrize("space", ["cxr4", "lungs"])
def test_a_space_of_x_rays_stays_one_with_a_table_of_your_own(space):
    data = load(space, ["data=table"]).data
    assert (data.name, data.channels) == ("table", 1)
    assert data.augment == augment("modality=xray")


def test_any_augmentation_can_be_changed_for_any_task():
    changed = augment("data.augment.tasks.moco.planckian=true", "data.augment.tasks.odc.hue=0.1")
    tasks = augment()["tasks"]
    moco = {**tasks["moco"], "planckian": True}
    assert changed["tasks"] == {**tasks, "moco": moco, "odc": {"hue": 0.1}}


def test_a_modality_may_set_mean_and_std_and_training_uses_them():
    from trainables.training.loop import context

    plain, own = augment(), augment("data.augment.mean=[0.6,0.5,0.4]", "data.augment.std=[1,1,1]")
    spec = Plan(load("isic3", ["profile=smoke"]), "d").score(Node.parse("scratch"))
    measured = ((0.7, 0.6, 0.5), (0.2, 0.2, 0.2))
    plain, own = (
        replace(spec, training=replace(spec.training, augment=one)) for one in (plain, own)
    )
    assert context(plain, 500, *measured).mean == (0.7, 0.6, 0.5)
    known = context(own, 500, *measured)
    assert (known.mean, known.std) == ((0.6, 0.5, 0.4), (1, 1, 1))


@pytest.mark.parametrize("path", sorted((SPACES / "data").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_data_set_composes(path):
    data = load("isic3", [f"data={path.stem}"]).data
    assert data.name in available("trainables.data")
    assert not data.merge_duplicates


def test_precision_is_decided_by_the_hardware_and_then_part_of_the_key():
    space = load("isic3", ["profile=cpu"])
    assert space.profile.precision == "auto"
    assert hardware.resolve(space, cluster_gpus=1).profile.precision == "bfloat16"
    assert hardware.resolve(space, cluster_gpus=0).profile.precision in ("float32", "bfloat16")


@pytest.mark.parametrize(
    ("backbone", "fastest"),
    [("resnet10", "bfloat16"), ("tf_efficientnet_lite0", "float32"), ("convnext_atto", "bfloat16")],
)
def test_depthwise_networks_train_in_float32_on_a_processor(monkeypatch, backbone, fastest):
    monkeypatch.setattr(architectures, "has_bfloat16", lambda: True)
    space = load("isic3", ["profile=cpu", f"profile.backbone={backbone}"])
    assert hardware.resolve(space, cluster_gpus=0).profile.precision == fastest
    assert hardware.resolve(space, cluster_gpus=1).profile.precision == "bfloat16"


def test_every_task_has_a_file_of_each_kind():
    assert available("trainables.pretext") == tuple(
        sorted(path.stem for path in (SPACES / "task").glob("*.yaml"))
    )
    assert data_spec(load("isic3")).name == "isic2019"


def test_several_labels_are_judged_by_macro_auroc_unless_the_space_names_another():
    many = ["data=table", "data.params.labels=many"]
    assert load("isic3", many).downstream.objective == "macro_auroc"
    assert load("isic3", ["data=table"]).downstream.objective == "balanced_accuracy"
    named = [*many, "downstream.objective=macro_average_precision"]
    assert load("isic3", named).downstream.objective == "macro_average_precision"
    assert load("isic3", many).data.many
    assert not load("isic3", ["data=table"]).data.many
