"""Notes: each case is said with its number, and nothing is said without one."""

from dataclasses import replace
from typing import Any

import pytest

from search.report import more_seeds, notes, stored
from search.report.convergence import Trend
from search.report.notes import Recall
from tests.search.report.conftest import _info
from tests.search.report.made_rows import row, table
from trainables.spec import Measure

FINE = table(
    row("odc>moco", 35.0, seed_scores=(35.0, 36.0), could_be_best=True, recommended=True),
    row("scratch", 31.0, seed_scores=(31.0, 31.5), could_be_best=False),
)


class Store:
    """Steps, or all of a result, by key."""

    def __init__(self, **steps: int | dict[str, float]) -> None:
        self.results = {
            k: one if isinstance(one, dict) else {"steps": one} for k, one in steps.items()
        }

    def path(self, key: str) -> Any:
        raise AssertionError(key)

    def manifest(self, key: str) -> dict[str, Any] | None:
        known = {"spec": {"kind": key.split("-")[0], "inputs": {}}}
        return known | {"result": self.results[key]} if key in self.results else None


def _said(shown: Any = FINE, store: Any = None, **more: Any) -> str:
    info = replace(_info(), **more.pop("info", {}))
    return "\n".join(notes.notes(shown, info, store or Store(), **more))


def test_a_sound_search_has_none() -> None:
    assert _said(recall=[Recall("MEL", 30, 5.0)], trends=[Trend("scratch", 10)]) == ""


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"demo": True}, "DEMONSTRATION images, drawn by a program. Run again with --data PATH."),
        ({"profile": "smoke"}, "settings of profile=smoke. Run again with profile=cpu"),
        ({"profile": "demo"}, "settings of profile=demo."),
    ],
)
def test_numbers_that_mean_nothing(info: dict[str, Any], said: str) -> None:
    text = _said(info=info)
    assert text.startswith("The numbers mean nothing: ")
    assert said in text
    assert notes.mark(replace(_info(), **info)).startswith("the numbers mean nothing")
    assert notes.mark(_info()) == ""


def test_one_seed_names_the_cost_of_more() -> None:
    shown = table(row("a>b", 35.0), row("a", 34.0), row("scratch", 31.0))
    cost = more_seeds.cost(shown, 3)
    # rounds of 2 chains and of 2: a>b and a share their first stage; twice a>b with fresh seeds
    assert (cost.stages, cost.scores) == (2 + 2 + 2 * 2, 2 + 2 + 2 + 2 * 2)
    assert cost.seconds == pytest.approx(8 * 100 + 10 * 50)
    assert "repeats=3 would tell, for about 8 stages and 10 fine-tunings more" in _said(shown)
    assert "21:40 on one worker" in _said(shown)


def test_seeds_of_the_start_alone_compare_nothing_yet() -> None:
    """As after the first night of profile `cpu`: the same command continues."""
    shown = table(row("a", 34.0), row("scratch", 31.0, seed_scores=(31.0, 30.0, 32.0)))
    assert "so nothing is ranked or compared" in _said(shown)
    assert "The same command continues with further seeds." in _said(shown)
    assert "The same command" not in _said(table(row("a", 34.0), row("scratch", 31.0)))


def test_a_probe_above_its_own_network() -> None:
    tuned = {stored.PROBED: Measure(35.0, 33.0, 37.0, "%", True)}
    above = row("odc", 35.0, linear=34.0, knn=41.5, measures=tuned, seed_scores=(35.0, 35.0))
    assert "at most in odc: 41.50 above 35.00" in _said(table(above))
    assert _said(table(replace(above, knn=34.9))) == ""


def test_a_class_that_is_never_recognised() -> None:
    recall = [Recall("MEL", 30, 50.0), Recall("DF", 4, 0.0), Recall("VASC", 6, 0.0)]
    assert "odc>moco recognised no image of DF (4 images) and VASC (6 images)" in (
        _said(recall=recall)
    )


def test_too_few_steps_are_named_by_task() -> None:
    short = table(
        row("odc", 35.0, stage_key="pretext-1", downstream_key="c-1", seed_scores=(1.0, 2.0)),
        row("moco", 34.0, stage_key="pretext-2", downstream_key="c-2", seed_scores=(1.0, 2.0)),
    )
    few = Store(**{"pretext-1": 1999, "pretext-2": 2000, "c-1": 2000, "c-2": 40})
    text = _said(short, few)
    assert "Too short to matter (under 2,000 steps): odc 1,999; raise profile.steps." in text
    assert "(under 2,000 steps): fine-tuning 40; raise profile.downstream_steps." in text
    enough = Store(**{"pretext-1": 2000, "pretext-2": 2000, "c-1": 2000, "c-2": 2000})
    assert _said(short, enough) == ""


@pytest.mark.parametrize(("blind", "said"), [(0.36, True), (0.2, False)])
def test_a_task_that_answers_without_what_it_needs(blind: float, said: bool) -> None:
    known = {"steps": 3000, "chance_level": 0.125, "controlled_accuracy": 0.4}
    shown = table(row("odc", 35.0, stage_key="pretext-1", seed_scores=(1.0, 2.0)))
    text = _said(shown, Store(**{"pretext-1": known | {"control_accuracy": blind}}))
    assert (
        "odc answered 40 % right, and 36 % when it could not know (12 % by guessing)" in text
    ) is said


def test_a_task_that_learnt_nothing_has_nothing_to_explain() -> None:
    known = {"steps": 3000, "chance_level": 0.125, "controlled_accuracy": 0.14}
    shown = table(row("odc", 35.0, stage_key="pretext-1", seed_scores=(1.0, 2.0)))
    assert "could not know" not in _said(
        shown, Store(**{"pretext-1": known | {"control_accuracy": 0.139}})
    )


def test_the_stages_of_a_task_tell_together_what_its_control_explains() -> None:
    shown = table(
        row("odc", 35.0, stage_key="pretext-1", seed_scores=(1.0, 2.0)),
        row("odc>odc", 36.0, stage_key="pretext-2", seed_scores=(1.0, 2.0)),
    )
    known = {"steps": 3000, "chance_level": 0.125, "controlled_accuracy": 0.4}
    first, again = known | {"control_accuracy": 0.25}, known | {"control_accuracy": 0.35}
    both = Store(**{"pretext-1": first, "pretext-2": again})
    assert "odc answered 40 % right, and 30 % when it could not know" in _said(shown, both)
    some = Store(**{"pretext-1": known | {"control_accuracy": 0.2}, "pretext-2": again})
    assert "odc answered 40 % right, and 28 % when it could not know" in _said(shown, some)
    few = Store(**{"pretext-1": known | {"control_accuracy": 0.1}, "pretext-2": again})
    assert "could not know" not in _said(shown, few)


def test_a_fine_tuning_that_still_rises() -> None:
    rising = Trend("scratch", 10, slope=0.3, error=0.05, rises=True)
    assert "scratch still rose at its end: 2.70 points in its last 10 evaluations" in (
        _said(trends=[rising])
    )
