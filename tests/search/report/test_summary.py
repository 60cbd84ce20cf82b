"""`summary.json`: its keys and their order are an interface."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.cluster.time_ledger import Overhead
from search.report.ledger import FILE
from search.results.records import StoppedChain

KEYS = [
    "headline", "worth_pretraining", "starts", "recommended", "recommended_by", "notes", "planned",
    "best_chain", "best_score", "best_ci", "best_above_scratch", "best_above_imagenet", "scratch",
    "imagenet",
    "gain_over_scratch", "gain_over_imagenet", "gain_over", "test", "test_on", "explained", "space",
    "data",
    "demo", "policy", "profile", "device", "stages_trained", "stages_reused", "stages_pruned",
    "stages_naive", "wall_seconds", "interrupted", "started", "stages_repeats", "near_duplicates",
    "leading_start", "fresh_missing", "stopped", "budget", "overhead", "budget_spent", "incomplete",
    "given_split", "leak", "label_curve", "external", "pool", "without_pool", "overhead_seconds",
    "failed", "pruned", "could_be_best", "cheapest_of_them", "optimism", "controls", "fine_tuning",
    "learning_curves",
    "earlier_test_looks", "sources", "published", "attention_and_score",
    "compared_on", "training_noise", "factors", "correlations", "course", "recall",
    "objective", "measures", "chains",
]  # fmt: skip
NESTED = {
    "gain_over_scratch": ["val", "test"],
    "test_on": ["images", "groups", "rarest"],
    "explained": ["last_task", "label"],
    "near_duplicates": ["pairs", "across_splits", "merged"],
    "compared_on": ["images", "groups", "rarest"],
}
RECORDS = {
    "factors": ["name", "levels", "effect"],
    "correlations": ["measure", "chains", "effect"],
    "course": ["chain", "stages", "stages_alone", "seconds", "missing", "regret"],
    "recall": ["class", "images", "recall"],
    "learning_curves": ["chain", "start", "task", "steps", "auroc"],
    "stopped": ["chain", "reason", "epoch", "epochs", "best"],
    "failed": ["chain", "reason"],
}


def _read(search: Any, out: Path, pictures: bool = False) -> dict[str, Any]:
    search.write(out, pictures)
    return json.loads((out / "report" / "summary.json").read_text())


def test_keys_and_their_order(make_search: Any, tmp_path: Path) -> None:
    stopped = StoppedChain("odc", "out of reach", 3, 12, 55.0)
    search = make_search(stopped=(stopped,)).without("failed", "loss is NaN", "moco>odc")
    made = _read(search, tmp_path)
    assert list(made) == KEYS
    assert {key: list(made[key]) for key in NESTED} == NESTED
    assert {key: list(made[key][0]) for key in RECORDS} == RECORDS
    assert list(made["test"]) == ["odc>moco", "imagenet", "scratch"]
    assert list(made["test"]["scratch"]) == ["value", "low", "high"]
    assert list(made["factors"][0]["levels"][0]) == ["name", "chains", "mean"]
    assert list(made["factors"][0]["effect"]) == ["value", "p_value", "low", "high"]


def test_rows_are_those_of_the_table(written: Any) -> None:
    with (written[0] / "report" / "chains.csv").open() as file:
        columns = file.readline().strip().split(",")
    assert [list(row) for row in written[1]["chains"]] == [columns] * 17


def test_without_a_number_the_keys_stay(search: Any) -> None:
    baselines = search.only("scratch").summary.as_json()
    assert list(baselines) == KEYS
    assert baselines["best_ci"] is None
    assert baselines["course"] == []
    assert (baselines["recommended"], baselines["recommended_by"]) == ("scratch", "selection")
    assert baselines["gain_over_imagenet"] == {"val": None, "test": None}


def test_seconds_by_kind(make_search: Any) -> None:
    overhead = Overhead(*range(1, 1 + len(Overhead.__dataclass_fields__)))
    made = make_search(overhead=overhead).summary.as_json()
    assert made["overhead_seconds"] == overhead.kinds()
    assert list(made["overhead"]) == list(Overhead.__dataclass_fields__)


def test_the_recommended_is_not_the_best_chain_where_a_start_leads(
    led: Any, tmp_path: Path
) -> None:
    made = _read(led, tmp_path)
    assert (made["recommended"], made["recommended_by"]) == ("scratch", "fresh seeds")
    assert (made["best_chain"], made["headline"]) == (
        "odc>moco",
        "No chain was better than scratch",
    )
    assert made["planned"]["split"] == "test"
    assert made["gain_over_scratch"]["test"]["high"] < 0
    assert made["could_be_best"] == ["scratch"]
    again = _read(led, tmp_path)
    assert again["earlier_test_looks"] == made["earlier_test_looks"], "one result, reported twice"
    other = _read(led, tmp_path / "other")
    assert other["earlier_test_looks"] == made["earlier_test_looks"] + 1


def test_without_test_nothing_of_it_is_told_and_no_use_recorded(
    make_search: Any, tmp_path: Path
) -> None:
    made = make_search(scores={"moco": 30.0, "scratch": 36.0})
    made = made.fresh({"moco": (30.0,), "scratch": (36.0,)})
    space = replace(made.plan.space, test=False)
    summary = _read(replace(made, plan=replace(made.plan, space=space)), tmp_path, pictures=True)
    assert (summary["test"], summary["test_on"], summary["earlier_test_looks"]) == ({}, None, None)
    assert summary["planned"]["split"] == "val"
    assert not (made.store.root.parent / FILE).exists()
    assert "test images of" not in (tmp_path / "report" / "index.html").read_text()
    assert _read(made, tmp_path)["earlier_test_looks"] == 0
    assert (made.store.root.parent / FILE).exists()
