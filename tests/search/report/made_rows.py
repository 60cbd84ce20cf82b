"""Rows of the table from a few numbers, for tests of sentences; a plan of another objective."""

from typing import Any

from search.chains.plan import Plan
from search.report.table import Row, Table
from search.space.schema import Space
from tests.measures import BALANCED
from trainables.spec import MeasureType

STARTS = ("scratch", "imagenet", "radimagenet")


def row(chain: str, score: float | None, **columns: Any) -> Row:
    """A scored chain that trains 100 s a stage."""
    length = 0 if chain in STARTS else chain.count(">") + 1
    known: dict[str, Any] = {
        "label": "", "delta": None, "above_scratch": None, "above_imagenet": None,
        "linear": None, "knn": None, "lrs": "", "downstream_lr": "", "status": "done", "reason": "",
        "stage_key": None, "downstream_key": None, "length": length,
        "train_seconds": 50.0 + 100.0 * length, "stage_seconds": 100.0 * length,
        "ci_low": None if score is None else score - 2,
        "ci_high": None if score is None else score + 2,
        "seed_scores": () if score is None else (score,),
    }  # fmt: skip
    return Row(chain=chain, score=score, **known | columns)


def table(*rows: Row, **more: Any) -> Table:
    return Table(rows, BALANCED, **more)


class Judged:
    """The plan whose keys are in the store, with another space and objective."""

    def __init__(self, space: Space, objective: MeasureType, plan: Plan) -> None:
        self.space, self.objective, self._plan = space, objective, plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plan, name)
