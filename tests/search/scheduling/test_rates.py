"""Rates remembered from manifests, and timed in child processes."""

import json
from dataclasses import asdict, replace

import pytest

from search.chains.images import data_spec
from search.chains.node import Node
from search.chains.plan import Plan
from search.scheduling.rates import EVALUATION, Machine, parsed, remembered, subject, timed
from search.scheduling.work import Rate, work
from search.space import load

HERE = Machine("here", threads=1, workers=1, gpu=False)
PLAN = Plan(load("isic3", ["profile=smoke"]), "")
STAGE, PROBE, SCORE = PLAN.graph(Node.parse("odc"))
IMAGES = 1000


def finished(store, spec, seconds, **other):
    """Write the manifest of a stage that trained as planned."""
    steps = work(spec, IMAGES).steps
    result = {"threads": 1, "workers": 1, "images": IMAGES}
    result |= {"steps": steps, "lr_steps": 0} if spec.training else {}
    known = {"host": "here", "device": "cpu", **other}
    result |= {key: known.pop(key) for key in ("threads", "workers") if key in known}
    folder = store / replace(spec, seed=len(list(store.iterdir()))).key()
    folder.mkdir()
    manifest = {"spec": asdict(spec), "result": result, "seconds": seconds, **known}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_specification_survives_its_manifest():
    for spec in (STAGE, PROBE, SCORE):
        assert parsed(json.loads(json.dumps(asdict(spec)))) == spec
    assert parsed({"training": None}) is None


def test_the_median_of_equal_work_is_remembered(tmp_path):
    steps = work(STAGE, IMAGES).steps
    for seconds in (1.0, 2.0, 30.0):
        finished(tmp_path, STAGE, seconds * steps)
    found = remembered(tmp_path, [STAGE, SCORE], HERE)
    assert found == {subject(STAGE): Rate(2.0, EVALUATION * 2.0 / 32, 0.0)}


def test_a_score_and_a_probe_give_back_their_own_seconds(tmp_path):
    finished(tmp_path, SCORE, 40.0)
    finished(tmp_path, PROBE, 3.0)
    found = remembered(tmp_path, [PROBE, SCORE], HERE)
    assert found[subject(SCORE)].seconds(work(SCORE, IMAGES)) == pytest.approx(40.0)
    assert found[subject(PROBE)].seconds(work(PROBE, IMAGES)) == pytest.approx(3.0)
    score = found[subject(SCORE)]
    assert score.evaluated == pytest.approx(EVALUATION * score.step / SCORE.trained.global_batch)


@pytest.mark.parametrize(
    "other",
    [{"host": "there"}, {"device": "NVIDIA"}, {"threads": 2}, {"workers": 2}],
    ids=str,
)
def test_another_machine_says_nothing(tmp_path, other):
    finished(tmp_path, STAGE, 10.0, **other)
    assert remembered(tmp_path, [STAGE], HERE) == {}
    anywhere = replace(HERE, host=None)
    assert bool(remembered(tmp_path, [STAGE], anywhere)) == ("host" in other)


def test_another_profile_says_nothing(tmp_path):
    other = Plan(load("isic3", ["profile=smoke", "profile.image_size=48"]), "")
    finished(tmp_path, other.graph(Node.parse("odc"))[0], 10.0)
    finished(tmp_path, PLAN.graph(Node.parse("moco"))[0], 10.0)
    (tmp_path / "odc-1.part").mkdir()
    (tmp_path / "odc-2").mkdir()
    assert remembered(tmp_path, [STAGE], HERE) == {}
    assert remembered(tmp_path / "no store", [STAGE], HERE) == {}


@pytest.mark.slow
def test_ten_steps_are_timed_and_a_task_that_fails_says_why():
    """Seconds are not judged; the data of a probe is drawn, so it needs no store."""
    wrong = replace(STAGE, params={**STAGE.params, "clusters": 100_000})
    specs = [replace(STAGE, seed=1), PROBE, SCORE, replace(wrong, name="nothing")]
    found = timed(specs, data_spec(PLAN.space), HERE, beside=2)
    stage, probe, score = (found[subject(spec)] for spec in specs[:3])
    assert min(stage.step, stage.evaluated) > 0  # the start is probed
    assert probe.image > 0 == probe.step
    assert min(score.step, score.evaluated) > 0
    assert "nothing" in found[subject(specs[3])]
