"""Plans: the recorded keys, what enters the key of a stage and of a score, and what does not."""

import subprocess
import sys
from dataclasses import replace

import pytest

from search.chains import plan as plan_module
from search.chains.chain import Chain
from search.chains.node import Node
from search.chains.plan import Plan
from search.space import load
from trainables.plugins import load as plugin
from trainables.plugins import version
from trainables.schema import read
from trainables.spec import digest

IDENTITY = "ae608009d6e56287"
PRECISION = "profile.precision=float32"  # else the processor decides
GOLDEN = {  # digests of `recorded`
    "smoke": "e001da5d0d553f2c", "gpu": "9b07b119a38a5298", "xray": "5011eaa89d2a8551",
    "demo": "ca038139b804cf1f",
}  # fmt: skip
GROUPS = {
    "smoke": ["profile=smoke"],
    "gpu": ["profile=gpu"],
    "xray": ["profile=smoke", "modality=xray", "data=cxr_covid", "max_length=1",
             *(f"+task@tasks.{name}={name}" for name in ("byol", "swav", "rotation"))],
    "demo": ["profile=smoke", "data=demo"],
}  # fmt: skip


def planned() -> Plan:
    space = load("isic3", ["profile=cpu", PRECISION])
    return Plan(space, "0123456789abcdef", {"imagenet": "fedcba9876543210"})


def planned_keys(text: str) -> list[str]:
    plan, node = planned(), Node.parse(text)
    return [spec.key() for spec in plan.graph(node)]


def recorded(group: str) -> dict[str, list[str]]:
    """The keys of all that is done for each chain and start."""
    space = load("isic3", GROUPS[group])
    plan = Plan(space, "0123456789abcdef", {"imagenet": "fedcba9876543210"})
    nodes = [*map(Node, space.chains()), *plan.baselines()]
    return {str(p): [spec.key() for spec in plan.graph(p)] for p in nodes}


@pytest.mark.parametrize("group", GROUPS)
def test_keys_are_the_recorded_ones(group: str) -> None:
    assert digest(recorded(group)) == GOLDEN[group]


def test_the_journals_identity_is_the_recorded_one() -> None:
    assert digest(planned().identity()) == IDENTITY


@pytest.mark.parametrize(("labels", "steps"), [(0.01, 2500), (None, 5780), (1.0, 13362)])
def test_a_fine_tuning_is_as_long_as_its_labelled_images_need(labels, steps) -> None:
    """2,500 steps up to 5,000 images, 17,500 for 25,000, between them by the logarithms."""
    space = load("isic3", ["profile=gpu", "profile.label_fraction=0.5"])
    made = Plan(space, "d", count=20_000)
    assert made.score(replace(Node.parse("moco"), labels=labels)).trained.steps == steps


@pytest.mark.parametrize(
    ("plugin", "changed"),
    [
        (("trainables.pretext", "moco"), [False, True, True, True]),
        (("trainables.kinds", "pretext"), [True, True, True, True]),
        (("trainables.kinds", "classify"), [False, False, False, True]),
        (("trainables.kinds", "probe"), [False, False, True, False]),
    ],
)
def test_a_new_version_of_the_code_is_another_key(
    monkeypatch, plugin: tuple[str, str], changed: list[bool]
) -> None:
    before = planned_keys("odc>moco")
    monkeypatch.setattr(
        plan_module, "version", lambda *which: "9" if which == plugin else version(*which)
    )
    after = planned_keys("odc>moco")
    assert [a != b for a, b in zip(before, after, strict=True)] == changed
    assert digest(planned().identity()) != IDENTITY


def test_planning_loads_no_torch() -> None:
    code = (
        "import sys; from search.chains.node import Node; from search.chains.plan import Plan\n"
        "from search.space import load\n"
        f"plan = Plan(load('isic3', ['profile=cpu', '{PRECISION}']), 'd')\n"
        "plan.stages(Node.parse('odc>moco')), plan.score(Node.parse('odc>moco')).key()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stdout + done.stderr


def plan(*overrides, digest="d"):
    return Plan(load("isic3", ["profile=smoke", *overrides]), digest)


def keys(*overrides, digest="d"):
    made = plan(*overrides, digest=digest)
    return [spec.key() for spec in made.stages(Node.parse("odc>moco"))]


@pytest.mark.parametrize(
    "override",
    ["seed=1", "profile.steps=5", "profile.batch=64", "tasks.odc.lr_range=[0.01]",
     "tasks.odc.weight_decay=0.5", "data.augment.blur=0.1",
     "modality=xray", "data.merge_duplicates=true",
     "profile.bn_groups=4", "profile.lr_steps=2", "profile.image_size=48"],
)  # fmt: skip
def test_what_decides_a_result_changes_the_key_and_every_key_below(override):
    assert not set(keys()) & set(keys(override))


@pytest.mark.parametrize(
    "override",
    ["runtime.workers=2", "runtime.log_every=1", "store=/elsewhere", "policy=exhaustive",
     "data.root=/elsewhere", "max_length=2", "tasks.relative_location.lr_range=[0.5]",
     "profile.downstream_steps=3"],
)  # fmt: skip
def test_what_does_not_decide_it_leaves_the_keys(override):
    assert keys() == keys(override)


def test_other_images_are_other_stages():
    assert not set(keys()) & set(keys(digest="e"))


def test_a_child_changes_with_its_parent_only_from_there_on():
    changed = keys("tasks.moco.weight_decay=0.5")
    assert changed[0] == keys()[0]
    assert changed[1] != keys()[1]


def test_baselines_start_from_no_stage_and_imagenet_needs_weights():
    without = plan()
    assert [str(p) for p in without.baselines()] == ["scratch"]
    made = replace(without, weights={"imagenet": "w"})
    assert [str(p) for p in made.baselines()] == ["scratch", "imagenet"]
    scratch, imagenet = (made.score(p) for p in made.baselines())
    assert scratch.inputs == {}
    (start, *_) = made.graph(Node(Chain((), "imagenet")))
    assert (start.kind, start.name, start.params["sha256"]) == ("start", "imagenet", "w")
    assert imagenet.inputs == {"backbone": start.key()}
    assert made.places(start) == {}


def test_a_window_narrows_the_rates_of_its_task():
    made = plan("tasks.odc.lr_range=[0.1,0.2,0.3]", "tasks.odc.lr_range_later=[0.01,0.02,0.03]")
    odc, moco = made.stages(Node.parse("odc[low]>moco"))
    assert odc.training.lr.range == (0.1, 0.2)
    assert moco.training.lr.range == made.space.tasks["moco"].lr_range_later
    _, later = made.stages(Node.parse("moco>odc[low]"))
    assert later.training.lr.range == (0.01, 0.02)


def test_a_range_grows_where_a_trial_is_long_enough_and_no_neighbour_is_left_out():
    def grown(*more, node="odc"):
        return plan("profile.steps=3000", *more).stages(Node.parse(node))[0].trained.lr.grow

    assert grown("profile.lr_steps=null") == 2
    assert grown("profile.lr_steps=300") == 2, "a tenth"
    assert grown("profile.lr_steps=299") == 0
    assert grown("profile.steps=9000", "profile.lr_steps=500") == 2
    assert grown("profile.steps=9000", "profile.lr_steps=499") == 0
    assert grown("profile.steps=600", "profile.lr_steps=199") == 0
    assert grown("profile.lr_steps=null", node="odc[low]") == 0
    assert grown("profile.lr_steps=null", "lr_policy=full_range") == 0, "as published"
    assert grown("profile.lr_steps=null", "tasks.odc.lr_range=[0.1]") == 0


def test_a_repeat_has_its_own_seed_on_the_same_split_and_rates():
    made = plan()
    first, again = (
        made.stages(Node.parse("odc>moco")),
        made.stages(Node.parse("odc>moco#2")),
    )
    assert [spec.seed for spec in (*first, *again)] == [0, 0, 2, 2]
    assert [spec.data for spec in first] == [spec.data for spec in again]
    assert first[1].training == again[1].training
    assert again[1].inputs["backbone"] == again[0].key() != first[0].key()
    score = made.score(Node.parse("odc>moco#2"))
    assert (score.seed, score.data["images"].spec.seed) == (2, 0)
    assert score.inputs == {"backbone": again[1].key()}
    assert made.stages(Node.parse("odc#2")) == again[:1]


@pytest.mark.parametrize(
    "override",
    ["repeats=3", "controls=true", "label_curve=true", "test=false", "profile.repeats=2"],
)
def test_what_decides_no_result_leaves_the_search_the_same(override):
    assert plan(override).identity() == plan().identity()


def test_a_repeated_task_goes_on_from_its_first_stage():
    made = plan()
    first, again = made.stages(Node.parse("moco>moco"))
    assert made.stages(Node.parse("moco")) == (first,)
    later = replace(first.training.lr, range=made.space.tasks["moco"].lr_range_later)
    training = replace(first.training, lr=later)
    assert again == replace(first, inputs={"backbone": first.key()}, training=training)
    assert made.score(Node.parse("moco>moco")).inputs == {"backbone": again.key()}


def test_other_numbers_of_labels_have_as_many_steps():
    made = plan("profile.label_fraction=0.2", "profile.downstream_steps=30")
    node = Node.parse("odc>moco#1000")
    usual = made.score(node)
    for labels in (0.01, 0.1, 1.0):
        score = made.score(replace(node, labels=labels))
        assert score.trained == replace(usual.trained, fraction=labels)
        assert (score.seed, score.inputs) == (usual.seed, usual.inputs)
        assert made.probe(replace(node, labels=labels)).params["fraction"] == labels
    assert made.score(replace(node, labels=0.2)).key() == usual.key()
    curve = made.probe(replace(node, labels=0.2)).params
    assert curve == {
        **made.probe(node).params,
        "on": "val",
        "objective": made.space.downstream.objective,
    }


def test_titles_of_measures_are_for_people():
    made = plan()
    assert made.title("macro_auroc", "%") == "macro AUROC, %"
    assert made.title("sensitivity/MEL", "%") == "sensitivity, %, MEL"
    assert made.title("spread", "") == "spread"


def test_a_data_set_that_a_stage_makes_is_the_input_of_every_pretext_stage():
    made = plan("+data.pool={kind: probe}")  # any kind: a plan runs nothing
    pool, odc, moco, _, score = made.graph(Node.parse("odc>moco"))
    assert pool.data.keys() == {"images"}
    assert odc.inputs == {"pool": pool.key()}
    assert moco.inputs == {"pool": pool.key(), "backbone": odc.key()}
    assert odc.data == moco.data == {}
    assert score.inputs == {"backbone": moco.key()}
    assert score.data.keys() == {"images"}


def grown(*more: str, features: bool = False) -> Plan:
    """A plan whose chains grow from ImageNet's weights, too."""
    given = [PRECISION, "profile=smoke", "starts.imagenet=weights.pth", *more]
    given += ["baselines.features={panderm: vectors.parquet}"] * features
    known = {"panderm": "a" * 16} if features else {}
    return Plan(load("isic3", given), "d", {"imagenet": "fedcba9876543210"}, features=known)


def test_a_chain_begins_with_its_starts_weights_and_later_rates() -> None:
    plan, (scratch, chain) = grown(), map(Node.parse, ("odc>moco", "imagenet:odc>moco"))
    start, first, second, probe, score = plan.graph(chain)
    assert (start.kind, start.name) == ("start", "imagenet")
    assert first.inputs == {"backbone": start.key()}
    assert second.inputs == {"backbone": first.key()}
    assert probe.inputs == score.inputs == {"backbone": second.key()}
    assert first.trained.lr.range == plan.space.tasks["odc"].lr_range_later
    assert score.trained.lr == plan.score(scratch).trained.lr
    assert score.trained.lr.range == plan.space.downstream.lr_range_later
    fresh = plan.score(Node.parse("scratch")).trained.lr
    assert fresh.range == plan.space.downstream.lr_range
    assert plan.stages(scratch)[0].inputs == {}
    assert {str(chain) for chain in plan.space.chains()} >= {"odc", "imagenet:odc"}
    assert len(plan.space.chains()) == 2 * 15


def test_what_is_trained_is_the_starts_own() -> None:
    plan = grown("starts.imagenet={weights: x, trainable: 'last_blocks=2'}")
    for node, wanted in (("imagenet:odc", "last_blocks=2"), ("odc", "all")):
        known = [s.trained.trainable for s in plan.graph(Node.parse(node)) if s.training]
        assert known == [wanted] * 2
    assert plan.score(Node(Chain((), "imagenet"))).trained.trainable == "last_blocks=2"
    (usual,) = grown().stages(Node.parse("imagenet:odc"))
    assert usual.key() not in {spec.key() for spec in plan.stages(Node.parse("imagenet:odc"))}


def test_a_window_is_of_the_lower_rates() -> None:
    (stage,) = grown().stages(Node.parse("imagenet:odc[low]"))
    (whole,) = grown().stages(Node.parse("imagenet:odc"))
    assert stage.trained.lr.range == whole.trained.lr.range[: len(stage.trained.lr.range)]
    assert 0 < len(stage.trained.lr.range) < len(whole.trained.lr.range)


def test_frozen_probes_of_several_baselines_come_first() -> None:
    plan = grown(features=True)
    assert [str(p) for p in plan.frozen()] == [
        "scratch!frozen",
        "imagenet!frozen",
        "panderm!frozen",
    ]
    for frozen, start in zip(plan.frozen(), plan.baselines(), strict=True):
        assert plan.score(frozen) == plan.graph(frozen)[-1] == plan.probe(start)
    assert planned().frozen() != ()
    assert Plan(load("isic3", [PRECISION]), "d").frozen() == (), "it comes first by itself"
    assert grown("probe=false").frozen() == ()


def test_features_are_a_baseline_without_a_network() -> None:
    plan, node = grown(features=True), Node(Chain((), "panderm"))
    probe, score = plan.graph(node)
    for spec in (probe, score):
        read(plugin("trainables.kinds", "features").Params, spec.params)
        assert (spec.kind, spec.name, spec.inputs, spec.training) == (
            "features",
            "panderm",
            {},
            None,
        )
        assert plan.places(spec)["features"] == "vectors.parquet"
    assert (probe.params["on"], score.params["on"]) == ("train", None)
    assert score.params["objective"] == "balanced_accuracy"
    assert plan.score(node.again(1)).seed == score.seed + 1
    few = plan.probe(replace(node, labels=0.1))
    assert few
    assert (few.params["on"], few.params["fraction"]) == ("val", 0.1)


def test_where_chains_begin_is_another_journal() -> None:
    chosen = "starts.imagenet.chains=false"
    every = [grown(chosen), grown(), grown("max_starts=1"), grown(features=True)]
    every.append(grown("starts.scratch={chains: false}"))
    assert len({digest(plan.identity()) for plan in every}) == len(every)
