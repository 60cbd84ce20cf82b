"""The label curve: scores with fewer labels, fine-tuned and by a linear probe.

    points = curve(info.label_curve, store, objective)
    write_csv(points, objective, out / "report" / "label_curve.csv")

One seed, on validation. The probe is fitted to the same labels on the frozen backbone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.report import stored
from search.report.statistics.scored import Estimate
from search.report.stored import Store
from search.report.table import cells, write_rows
from search.results.records import LabelPoint
from trainables.spec import Measure, MeasureType

PROBE = "linear"


@dataclass(frozen=True)
class Labelled:
    """A chain or start with this fraction of the labels; probe: None where there is none.

    baseline: whether it is a start.
    """

    chain: str
    labels: float
    tuned: Estimate
    probe: Estimate | None
    baseline: bool = False


def curve(
    points: Sequence[LabelPoint], store: Store, objective: MeasureType
) -> tuple[Labelled, ...]:
    """Return the points whose objective is known, in the order given."""
    found = []
    for point in points:
        probe = stored.measures(store, point.probe_key).get(PROBE)
        if tuned := point.score.measures.get(objective.name):
            own, other = _estimate(tuned), _estimate(probe) if probe else None
            found.append(
                Labelled(str(point.chain), point.labels, own, other, point.chain.is_baseline)
            )
    return tuple(found)


def chains(points: Sequence[Labelled]) -> list[str]:
    """Return the chains and starts of the curve, each once, in their order."""
    return list(dict.fromkeys(point.chain for point in points))


def write_csv(points: Sequence[Labelled], objective: MeasureType, path: Path) -> None:
    """Write a row a point, with two decimals and empty cells for no value."""
    header = ["chain", "labels", objective.name, "ci_low", "ci_high"]
    header += ["linear_probe", "probe_ci_low", "probe_ci_high"]
    own = ([p.chain, f"{p.labels:g}", *cells(p.tuned), *cells(p.probe)] for p in points)
    write_rows(path, [header, *own])


def _estimate(measure: Measure) -> Estimate:
    return Estimate(measure.value, measure.low, measure.high)
