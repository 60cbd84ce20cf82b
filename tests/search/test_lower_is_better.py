"""A search whose objective is an error: from stored results to the report and to a replay."""

import csv
import json
from dataclasses import asdict, replace

import pytest

from search import replay, report
from search.console.live_tree import tree
from search.results.collect import Collector, snapshot
from search.results.status import Progress
from tests.search.report.conftest import _info
from tests.search.scheduling.test_scheduler import scheduler
from trainables.downstream.measures import MEASURES
from trainables.spec import Score

SINGLES = {"relative_location": 60.0, "odc": 50.0, "moco": 40.0, "scratch": 70.0}


def error_of(node) -> float:
    """The later moco comes, the lower the error."""
    tasks = node.chain.tasks or ("scratch",)
    return SINGLES[tasks[-1]] - 2 * len(tasks)


@pytest.fixture
def searched(tmp_path):
    """The curriculum's search by the Brier score, with everything it trained in the store."""
    asked = scheduler(tmp_path, "curriculum", "downstream.objective=brier")
    while (node := asked.next()) is not None:
        commit(asked, node)
        asked.record(node)
    return asked


def commit(asked, node):
    downstream = asked.plan.score(node)
    assert downstream.params["objective"] == "brier"
    value = error_of(node)
    brier = MEASURES["brier"].score(value, value - 1, value + 1)
    score = replace(brier, measures=brier.measures | MEASURES["ece"].score(9.0, 8.0, 10.0).measures)
    probe = Score("linear", {})
    for spec in asked.plan.graph(node):
        with asked.store.lock(spec.key()):
            asked.store.part(spec.key())
            done = {downstream.kind: asdict(score), "probe": asdict(probe)}.get(spec.kind)
            known = {"spec": asdict(spec), "result": {"seconds": 1.0}, "score": done}
            asked.store.commit(spec.key(), known)


def test_policies_maximise_what_is_lowered(searched):
    tried = {str(node.chain) for node in searched.scores}
    assert "relative_location>odc>moco" in tried, "the errors fall, so the singles rise"
    assert "moco>odc" not in tried
    assert str(searched.policy.best()) == "relative_location>odc>moco"
    chains = snapshot(searched).chains
    shown = walk(tree(Progress(chains=chains), [*chains], ("scratch",)))
    (best,) = [str(branch.label) for branch in shown if "★" in str(branch.label)]
    assert best == "✓ moco  34.00 (33.0-35.0)  ★"


def walk(branch):
    yield branch
    for child in branch.children:
        yield from walk(child)


def test_from_the_store_to_the_table(searched, tmp_path):
    results = Collector(searched).results()
    table = report.build(results, searched.store, searched.plan.objective)
    table.write_csv(tmp_path / "chains.csv")
    with (tmp_path / "chains.csv").open() as file:
        rows = {row["chain"]: row for row in csv.DictReader(file)}
    first = next(iter(rows.values()))
    assert list(first)[:7] == [
        "chain", "length", "label", "brier", "ci_low", "ci_high", "delta",
    ]  # fmt: skip
    assert first["chain"] == "relative_location>odc>moco"
    assert (first["brier"], first["ci_low"], first["ci_high"]) == ("34.00", "33.00", "35.00")
    assert (first["delta"], first["label"]) == ("-24.00", "C"), "points over relative_location"
    assert first["above_scratch"] == "yes"
    worst = [row["chain"] for row in rows.values() if row["brier"]][-1]
    assert worst == "scratch"


def test_a_replay_of_that_table_seeks_the_lowest(searched, tmp_path, capsys):
    results = Collector(searched).results()
    report.build(results, searched.store, searched.plan.objective).write_csv(tmp_path / "c.csv")
    table = ["--space", "isic3", "--table", str(tmp_path / "c.csv"), "--json"]
    by_objective = ["--policy", "exhaustive", "downstream.objective=brier"]
    for more in (by_objective, ["--policy", "exhaustive", "--column", "brier"]):
        assert replay.main([*table, *more]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["best_chain"], found["best_score"]) == ("relative_location>odc>moco", 34.0)
        assert found["regret"] == 0


def test_the_summary_and_the_sentences(searched):
    results = Collector(searched).results()
    table = report.build(results, searched.store, searched.plan.objective)
    found = report.summary.build(table, _info(), searched.store)
    plain = found.as_json()
    assert (plain["objective"], plain["best_score"], plain["scratch"]) == ("brier", 34.0, 68.0)
    assert plain["best_above_scratch"] is True
    assert plain["chains"][0]["brier"] == 34.0
    assert plain["measures"].keys() == {"relative_location>odc>moco", "scratch"}
    assert plain["measures"]["scratch"]["ece"] == {
        "value": 9.0, "low": 8.0, "high": 10.0, "unit": "%", "higher_is_better": False,
    }  # fmt: skip
    text = report.words.conclusion(found)
    assert "Brier score (0 to 200) on validation is 34.00 on 1 fresh seed" in text
    assert "lower is better" in text
    assert found.course[-1].regret == 0
    assert min(step.missing for step in found.course) == 0
