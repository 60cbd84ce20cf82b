"""The pool in the report: what it held, and what the best chain is worth without it."""

from dataclasses import replace

import pytest

from search.report import pool
from search.report.statistics.scored import Estimate
from search.results.records import Pool, Repeat

HELD = Pool(labelled=80, unlabelled=150, unknown=0, left_out={"of test patients": 10})


@pytest.fixture
def alone(judged):
    """The fresh seeds of scratch, as if they were the best chain's without the pool."""
    row = judged.table.row("scratch")
    seeds = zip(row.fresh_seeds, row.fresh_keys, strict=True)
    known = judged.results[0].score
    return tuple(Repeat(seed, known, key) for seed, key in seeds)


def test_the_control_is_paired_by_seed_with_the_best_chain(judged, alone):
    found = pool.without(alone, judged.table, judged.store)
    best, scratch = judged.table.best, judged.table.row("scratch")
    assert (found.chain, found.seeds) == (best.chain, len(alone))
    assert found.score.value == pytest.approx(scratch.fresh_score, abs=0.01)
    gain = best.fresh_score - scratch.fresh_score
    assert found.gain.value == pytest.approx(gain, abs=0.01)
    assert found.gain.low < gain < found.gain.high
    *_, said = pool.sentences(HELD, found, judged.table)
    assert said.startswith(f"Control: without the pool, {best.chain} has ")
    assert f"points better than that (95 % interval {found.gain.low:.2f} to" in said


def test_without_a_control_or_a_pool_nothing_is_compared(judged, alone):
    assert pool.without((), judged.table, judged.store) is None
    missing = [replace(one, downstream_key="none-0") for one in alone]
    assert pool.without(missing, judged.table, judged.store) is None
    assert list(pool.sentences(None, None, judged.table)) == []
    assert list(pool.sentences(HELD, None, judged.table)) == [
        "Pretext tasks were trained on 230 images: 80 with a label and 150 without; 10 others were "
        "left out, see left_out.csv."
    ]


def test_one_seed_and_unknown_patients_are_said(judged):
    one = pool.WithoutPool("odc", 1, Estimate(70.0, 68.0, 72.0), None)
    said = list(pool.sentences(replace(HELD, unknown=7, left_out={}), one, judged.table))
    assert said[0].endswith("80 with a label and 150 without.")
    assert said[1].startswith("7 images without a label name no patient")
    assert said[2].endswith("has 70.00 %; one seed can't tell whether the pool helps.")
