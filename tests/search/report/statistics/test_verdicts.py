"""Which rows could be the best, and the best chain against the starts on fresh seeds."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score

from search.chains.chain import Chain
from search.chains.node import FRESH
from search.report import rows, stored
from search.report.statistics import verdicts
from search.report.statistics.scored import Observed
from search.report.statistics.verdicts import Recommended
from search.report.table import Images, Row, Table
from search.results.records import ChainResult, Repeat
from tests.measures import BALANCED

ON = Images(400, 200, 20)
STARTS = ("scratch", "imagenet")
ERROR = replace(BALANCED, higher_is_better=False)
WINNER, SECOND = "relative_location>odc>moco", "odc>moco"


class NoStore:
    def path(self, key: str) -> Any:
        raise AssertionError(key)

    def manifest(self, key: str) -> None:
        assert not key


def table(scores: dict[str, list[float]], best: str | None = None, **changes: Any) -> Table:
    """A table of chains with the scores of seeds 0, 1, ..."""
    measure = changes.pop("objective", BALANCED)
    results = []
    for name, values in scores.items():
        first, *others = (measure.score(value, value - 1, value + 1) for value in values)
        again = tuple(Repeat(k, score, "") for k, score in enumerate(others, 1))
        chain = Chain.parse(name, STARTS)
        control = name in changes.get("controls", ())
        results.append(
            ChainResult(chain, "done", first, downstream_key="", repeats=again, control=control)
        )
    return rows.build(results, NoStore(), measure, best)


def observed(scores: dict[str, list[float]], images: float = 1.0, first: int = 0) -> Observed:
    """The scores with resamples whose error is that of the row's images, the same for all seeds."""
    rng = np.random.default_rng(len(scores))
    values = []
    for own in scores.values():
        error = images * rng.normal(size=1000)
        values += [np.concatenate([[one], one + error]) for one in own]
    seeds = tuple(tuple(range(first, first + len(own))) for own in scores.values())
    return Observed(tuple(scores), seeds, np.array(values), ON, frozenset(STARTS))


def judged(scores: dict[str, list[float]], best: str | None = None, **changes: Any) -> Table:
    again = changes.pop("again", None)
    images = changes.pop("images", 1.0)
    fresh = observed(again, images, FRESH) if again else None
    return verdicts.judge(table(scores, best, **changes), observed(scores, images), fresh)


SCORES = {
    "a": [80.0, 82.0, 81.3], "b": [79.2, 80.6, 80.1], "b>a": [66.1, 68.4, 67.0],
    "a>a": [90.0, 92.2, 91.0], "scratch": [50.3, 52.1, 51.0], "imagenet": [80.1, 81.9, 80.8],
}  # fmt: skip


def test_features_from_elsewhere_are_no_measure_of_training() -> None:
    """They score the same with every seed; the noise is that of the rows that are trained."""
    trained = {name: values for name, values in SCORES.items() if name != "scratch"}
    both = trained | {"scratch": [50.0, 50.0, 50.0]}
    plain, seen = table(both), observed(both, images=0.0)
    rows_ = tuple(replace(row, frozen=row.chain == "scratch") for row in plain.rows)
    found = verdicts.judge(replace(plain, rows=rows_), seen, None).training_noise
    alone = verdicts.judge(table(trained), observed(trained, images=0.0), None).training_noise
    assert found == alone != verdicts.judge(plain, seen, None).training_noise
    assert seen.without({"scratch"}).seeds == ((0, 1, 2),) * 5


def test_with_one_seed_nothing_is_compared(search: Any) -> None:
    found = search.table
    assert found.compared_on is not None
    assert (found.training_noise, found.contenders, found.cheapest) == (None, (), None)
    for row in found.scored:
        assert (row.difference, row.difference_low, row.could_be_best) == (None, None, None)
        assert row.ci_low == pytest.approx((row.score or 0) - 1.9)
    scored = verdicts.finalists(found, search.store)
    assert scored is not None
    assert scored.difference("odc>moco", "scratch") is None
    assert scored.estimate("odc>moco").low < scored.estimate("odc>moco").high


def test_the_set_that_could_be_best_has_chains_and_starts_but_no_controls() -> None:
    found = judged(SCORES, controls=("a>a",))
    assert [row.chain for row in found.contenders] == ["a", "imagenet", "b"]
    control = found.row("a>a")
    assert control is not None
    assert (control.could_be_best, control.control) == (None, True)
    assert found.best is not None
    assert found.best.chain == "a", "a control is never the best"
    assert control.difference == pytest.approx(91.0667 - 81.1, abs=1e-3)
    assert found.leading_start is not None
    assert found.leading_start.chain == "imagenet"


def test_differences_are_to_the_chain_that_the_policy_names() -> None:
    found = judged(SCORES, best="b", controls=("a>a",))
    best, other = found.best, found.row("a")
    assert best is not None
    assert other is not None
    assert (best.chain, best.difference, best.difference_low) == ("b", 0, 0)
    assert other.difference == pytest.approx(81.1 - 79.9667, abs=1e-3)
    assert other.difference_low is not None
    assert other.difference_high is not None
    assert other.difference_low < other.difference < other.difference_high


def test_lower_is_better_mirrors_every_verdict() -> None:
    errors = {name: [100 - one for one in own] for name, own in SCORES.items()}
    again = {"a": [78.0, 79.0], "imagenet": [81.0, 80.0]}
    wrong = {name: [100 - one for one in own] for name, own in again.items()}
    some = judged(SCORES, controls=("a>a",), again=again)
    other = judged(errors, controls=("a>a",), again=wrong, objective=ERROR)
    kept = [[row.chain for row in one.contenders] for one in (some, other)]
    assert kept[0] == kept[1]
    assert verdicts.optimism(some) == pytest.approx(81.1 - 78.5)
    assert verdicts.optimism(other) == pytest.approx(81.1 - 78.5)
    expected = Recommended("imagenet", "fresh seeds")
    assert verdicts.recommended(some) == verdicts.recommended(other) == expected
    assert other.leading_start is not None
    assert other.leading_start.chain == "imagenet"


def test_what_all_rows_of_a_seed_share_widens_intervals_and_no_difference() -> None:
    quiet = {"a": [80.1, 80.0, 79.9], "scratch": [70.0, 70.1, 69.8], "b": [75.1, 75.0, 75.2]}
    shared = (-6.0, 0.0, 6.0)
    moved = {name: [o + s for o, s in zip(own, shared, strict=True)] for name, own in quiet.items()}
    still, moving = judged(quiet), judged(moved)
    for name in quiet:
        one, two = still.row(name), moving.row(name)
        assert one is not None
        assert two is not None
        assert _width(two) > 3 * _width(one)
        assert two.difference_low == pytest.approx(one.difference_low)
    assert moving.training_noise == pytest.approx(still.training_noise)


def test_a_row_with_one_seed_takes_the_pooled_noise() -> None:
    scores = {"a": [80.0, 84.0, 81.0], "b": [80.0, 81.0, 86.0], "c": [80.0]}
    found = judged(scores, images=0.1)
    assert found.row("c").difference_low is not None
    one, three = found.row("c"), found.row("b")
    assert one is not None
    assert three is not None
    assert _span(one) > 1.15 * _span(three)


def test_fresh_seeds_fill_their_score_and_its_interval() -> None:
    again = {"a": [78.0, 80.0], "scratch": [50.0, 51.0]}
    found = judged(SCORES, controls=("a>a",), again=again)
    best, start = found.best, found.row("scratch")
    assert best is not None
    assert start is not None
    assert best.fresh_score == 79
    assert start.fresh_score == 50.5
    assert best.fresh_low is not None
    assert best.fresh_high is not None
    assert best.fresh_low < 79 < best.fresh_high
    assert found.row("b").fresh_low is None  # type: ignore[union-attr]


def test_the_planned_comparison_is_on_fresh_seeds() -> None:
    found = judged(SCORES, controls=("a>a",))
    again = {"a": [83.0, 81.0], "scratch": [49.0, 47.0], "imagenet": [81.5, 79.9]}
    known = verdicts.planned_of(found, observed(again, first=FRESH), "test")
    assert known is not None
    assert (known.chain, known.start, known.seeds) == ("a", "imagenet", 2)
    assert (known.chain_score, known.start_score) == pytest.approx((82, 80.7))
    assert known.difference is not None
    assert known.difference.value == pytest.approx(1.3)
    assert known.difference.low < 0 < known.difference.high
    (other,) = known.others
    assert (other.start, other.difference.value) == ("scratch", 34)  # type: ignore[union-attr]
    assert other.difference.low > 30  # type: ignore[union-attr]
    apart = np.abs(np.diff([known.difference.low, known.difference.high]))
    assert other.p_value == pytest.approx(2 * norm.sf(1.3 / (apart / 3.92)), rel=0.3), (
        "34 points are as sure as the planned 1.3: it comes first"
    )
    ahead = again | {"a": [93.0, 91.0]}
    known = verdicts.planned_of(found, observed(ahead, first=FRESH), "test")
    assert known is not None
    assert known.others[0].p_value == 1 / 1001
    nobody = observed({"a": [83.0], "scratch": [49.0]}, first=FRESH)
    assert verdicts.planned_of(found, nobody, "test") is None, "the leading start has none"


def test_one_seed_is_named_and_not_compared() -> None:
    once = {name: own[:1] for name, own in SCORES.items()}
    again = {"a": [78.0], "imagenet": [79.0]}
    found = judged(once, controls=("a>a",), again=again)
    known = verdicts.planned_of(found, observed(again, first=FRESH), "val")
    assert known is not None
    assert (known.chain_score, known.start_score, known.difference) == (78, 79, None)
    assert verdicts.recommended(found) == Recommended("imagenet", "fresh seeds")
    assert found.best.fresh_low is not None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("chain", "start", "name"),
    [([90.0, 91.0, 90.2], [50.0, 51.0, 50.4], "a"), ([80.2, 81.0, 80.9], [80.0, 80.9, 80.4], "s"),
     ([90.0], [50.0], "s"), ([50.0, 51.0, 50.4], [90.0, 91.0, 90.2], "s")],
)  # fmt: skip
def test_without_fresh_seeds_a_chain_must_be_above_the_start_by_its_interval(
    chain: list[float], start: list[float], name: str
) -> None:
    found = verdicts.recommended(judged({"a": chain, "scratch": start}))
    assert found == Recommended({"a": "a", "s": "scratch"}[name], "selection")


def test_what_there_is_is_recommended() -> None:
    assert verdicts.recommended(table({"a": [1.0]})) == Recommended("a", "selection")
    assert verdicts.recommended(table({"scratch": [1.0]})) == Recommended("scratch", "selection")
    assert verdicts.recommended(table({})) is None
    assert verdicts.optimism(table({"a": [1.0]})) is None


def test_nothing_to_compare_is_no_verdict(search: Any) -> None:
    built = rows.build(search.results, search.store, BALANCED)
    bare = Table(tuple(replace(row, downstream_key=None) for row in built.rows), BALANCED)
    assert verdicts.compare(bare, search.store) == bare
    assert verdicts.compare(Table((), BALANCED), search.store) == Table((), BALANCED)
    assert verdicts.planned(bare, search.store, "test") is None
    assert verdicts.finalists(bare, search.store) is None


def test_the_cheapest_that_could_be_best(repeated: Any) -> None:
    kept = tuple(replace(row, could_be_best=True) for row in repeated.table.scored)
    timed = Table(kept, BALANCED)
    assert timed.cheapest is not None
    assert timed.cheapest.chain in ("relative_location", "odc", "moco"), "no start, and a single"
    close = [replace(row, stage_seconds=95.0 if row.chain == "moco" else 100.0) for row in kept]
    assert Table(tuple(close), BALANCED).cheapest == close[0], "a few seconds are no saving"
    untimed = Table(tuple(replace(row, stage_seconds=None) for row in kept), BALANCED)
    assert untimed.cheapest is not None
    assert untimed.cheapest.length == 1, "the fewest stages"


def test_difference_is_the_brute_force_paired_bootstrap(repeated: Any) -> None:
    """Training's part is left out: the brute force has none."""
    measure = BALANCED.name
    keys, starts = verdicts.selection(repeated.table.scored), repeated.table.start_names
    seen = verdicts.observe(keys, repeated.store, "val", measure, starts)
    assert seen is not None
    scored = seen.scored(None)
    a, b = (scored.chains.index(name) for name in (WINNER, SECOND))
    ours, theirs = (_predictions(repeated, name, "val") for name in (WINNER, SECOND))
    groups = ours[0].groups
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rng, drawn = np.random.default_rng(9), []
    for _ in range(200):
        some = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        drawn.append(np.mean([_score(o, some) for o in ours]) - np.mean([
            _score(o, some) for o in theirs]))  # fmt: skip
    apart = scored.images[a] - scored.images[b]
    assert apart.std() == pytest.approx(np.std(drawn), rel=0.15)
    assert apart.mean() == pytest.approx(np.mean(drawn), abs=0.15)


def test_repeated_chains_stand_at_the_mean_of_all_seeds(repeated: Any) -> None:
    found = repeated.table
    assert found.best.chain == WINNER
    assert found.best.score == pytest.approx((75.0 + 74.6 + 75.6) / 3)
    assert found.row("odc>moco").knn == pytest.approx((63.44 + 61.0 + 61.6) / 3)
    assert [len(row.seed_scores) for row in found.scored].count(3) == 5
    effects = np.mean([[75.44, 73.0, 73.6], [75.0, 74.6, 75.6], [72.74, 72.0, 73.2],
                       [49.27, 48.0, 50.1], [73.76, 73.0, 74.0]], axis=0)  # fmt: skip
    least_squares = 63.52 + effects.mean() - effects[0]  # nearly: the chains differ by ten points
    assert found.score("odc") == pytest.approx(least_squares, abs=0.05)
    assert found.training_noise is not None
    assert 0 <= found.training_noise < 0.9


def test_the_store_gives_what_the_verdicts_need(repeated: Any) -> None:
    """Fresh seeds from the store: the repeats of the search, as if no choice had seen them."""
    results = [
        replace(one, fresh=tuple(replace(r, seed=k) for k, r in enumerate(one.repeats)))
        if str(one.chain) in (WINNER, "imagenet", "scratch") else one
        for one in repeated.results
    ]  # fmt: skip
    built = rows.build(results, repeated.store, BALANCED)
    assert built.best is not None
    assert (built.best.fresh_seeds, built.best.fresh_scores) == ((0, 1), (74.6, 75.6))
    found = verdicts.compare(built, repeated.store)
    known = verdicts.planned(found, repeated.store, "test")
    assert known is not None
    assert (known.chain, known.start, known.seeds) == (WINNER, "imagenet", 2)
    assert (known.on.images, known.on.groups) == (1200, 600)
    shown = _predictions(repeated, WINNER, "test")[1:]
    assert known.chain_score == pytest.approx(np.mean([_score(one) for one in shown]))
    scored = verdicts.finalists(found, repeated.store)
    assert scored is not None
    assert set(scored.chains) == {WINNER, "imagenet", "scratch"}
    assert scored.estimate(WINNER).value == pytest.approx(known.chain_score)
    assert scored.difference(WINNER, "never tried") is None
    assert verdicts.recommended(found) == Recommended(WINNER, "fresh seeds")


def _predictions(search: Any, name: str, split: Any) -> list[stored.Predictions]:
    row = search.table.row(name)
    keys = (row.downstream_key, *row.repeat_keys)
    shown = [stored.predictions(search.store, key, split) for key in keys]
    return [one for one in shown if one is not None]


def _score(shown: stored.Predictions, some: Any = slice(None)) -> float:
    return 100 * float(balanced_accuracy_score(shown.labels[some], shown.predicted[some]))


def _width(row: Row) -> float:
    return (row.ci_high or 0) - (row.ci_low or 0)


def _span(row: Row) -> float:
    return (row.difference_high or 0) - (row.difference_low or 0)
