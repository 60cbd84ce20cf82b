"""The space of the chest X-ray study: its chains, objective and starts; a replay of 22 chains."""

import json
from pathlib import Path

import pytest

from search.chains.plan import Plan
from search.replay import main
from search.space import check_plugins, load
from trainables.errors import UserError
from trainables.plugins import available

# Four singles, all ordered pairs and six triples, as many as were published; the scores are drawn.
SINGLES = {"relative_location": 77.6, "moco": 78.4, "swav": 77.9, "rotation": 77.3}
PAIRS = [f"{a}>{b}" for a in SINGLES for b in SINGLES if a != b]
TRIPLES = [
    "rotation>swav>moco", "relative_location>swav>moco", "moco>swav>rotation",
    "swav>moco>rotation", "rotation>moco>swav", "swav>rotation>relative_location",
]  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = {**SINGLES, **{one: 78 + k / 10 for k, one in enumerate(PAIRS)}}
    rows |= {one: 80.5 - k / 5 for k, one in enumerate(TRIPLES)}
    lines = [f"{chain},{score:.2f},{score / 2:.1f}," for chain, score in rows.items()]
    starts = ["scratch,75.1,30,baseline", "imagenet,78.0,35,baseline", "The winner,81,,literature"]
    path = tmp_path / "published.csv"
    path.write_text("\n".join(["chain,validation_acc,ail,label", *lines, *starts]))
    return path


def test_its_chains_are_those_of_four_tasks() -> None:
    space = load("cxr4", ["data.root=/data"])
    check_plugins(space)
    assert len(space.chains()) == 64
    assert len(load("cxr4", ["max_length=3"]).chains()) == 40
    assert [*space.tasks] == ["relative_location", "moco", "swav", "rotation"]
    assert (space.lr_policy, space.data.channels) == ("full_range", 1)
    assert space.data.params["appearances"] is False
    assert space.downstream.objective == "balanced_accuracy"
    assert load("cxr4", ["downstream.objective=accuracy"]).downstream.objective == "accuracy"
    assert {"balanced_accuracy", "accuracy", "macro_auroc"} <= {*Plan(space, "").shown}


@pytest.mark.parametrize(
    ("override", "weights", "chains"),
    [
        ("seed=1", None, False),
        ("starts.imagenet=x.safetensors", "x.safetensors", False),
        ("starts.imagenet=timm", "timm", False),
        ("starts.imagenet={weights: x.pt, chains: true}", "x.pt", True),
        ("starts.imagenet.chains=true", None, True),
    ],
)
def test_imagenet_stays_a_baseline_unless_told(
    override: str, weights: str | None, chains: bool
) -> None:
    start = load("cxr4", [override]).starts["imagenet"]
    assert (start.weights, start.chains) == (weights, chains)


def test_a_start_of_a_space_without_a_section_is_as_before() -> None:
    assert load("isic3", ["starts.imagenet=x.pt"]).starts["imagenet"].chains


@pytest.mark.parametrize("policy", available("search.policies"))
def test_every_policy_replays_22_published_chains(
    policy: str, table: Path, capsys: pytest.CaptureFixture
) -> None:
    if policy == "tune":
        policy = "tune:hyperopt"
    assert main(["--space", "cxr4", "--table", str(table), "--policy", policy, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stages_exhaustive"] == 22
    assert found["regret"] == pytest.approx(80.5 - found["best_score"])
    assert found["regret"] < 0.5, "rotation>swav>moco, or one that the noise of scores hides"
    assert found["stages_trained"] <= 22


def test_an_unknown_measure_beside_the_objective() -> None:
    with pytest.raises(UserError, match=r"report\.measures=macro_auc: must be one of"):
        check_plugins(load("cxr4", ["report.measures=[macro_auc]"]))
