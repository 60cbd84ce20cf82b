"""Sources (hospitals, cameras): the score within each, and what a source alone gives away.

    found = build(table, ["odc>moco", "scratch"], store)
    found.given_away.value, found.chance_level      # mean recall of the class, from the source

If the source predicts the class, a network may recognise the camera instead of the disease. Only
validation images; intervals are of the choice of images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search.report import stored
from search.report.statistics.scored import Estimate, Observed
from search.report.stored import Predictions, Store
from search.report.table import Images, Row, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

FOLDS = 5
FAR = 10.0  # points above the chance level from which a source gives the class away
Shown = Mapping[int, Predictions]  # by seed


@dataclass(frozen=True)
class Within:
    """One source: its validation images, and each row's score on them; None if undefined there."""

    source: str
    on: Images
    scores: Mapping[str, Estimate | None]


@dataclass(frozen=True)
class Sources:
    """The sources, the largest first.

    given_away: mean recall over the classes, in percent, of the class that is guessed from the
    source alone, for images of other patient groups; None where an image may have several labels.
    chance_level: the same without knowing it.
    far: whether it is so far above that the source gives the class away. alone: classes with all
    their images in one of several sources, with that source.
    """

    within: tuple[Within, ...]
    given_away: Estimate | None
    chance_level: float | None
    far: bool
    alone: tuple[tuple[str, str], ...] = ()


def build(table: Table, chains: Sequence[str], store: Store) -> Sources | None:
    """Judge these rows within each source; None where images have no source."""
    import numpy as np

    rows = [row for chain in chains if (row := table.row(chain))]
    shown = {row.chain: seeds for row in rows if (seeds := _predictions(row, store))}
    first = next((one for seeds in shown.values() for one in seeds.values()), None)
    if first is None or first.sources is None:
        return None
    names, counts = np.unique(first.sources, return_counts=True)
    within = [_within(str(names[k]), shown, table) for k in np.argsort(-counts, kind="stable")]
    if first.many:
        return Sources(tuple(within), None, None, False)
    found = given_away(first.labels, first.sources, first.groups)
    level = 100 / len(np.unique(first.labels))
    far = found.value - level >= FAR and found.low > level
    return Sources(tuple(within), found, level, far, tuple(_alone(first)))


def _alone(said: Predictions) -> Iterator[tuple[str, str]]:
    """Yield each class whose images all come from one of several sources, with the source."""
    import numpy as np

    assert said.sources is not None
    if len(np.unique(said.sources)) > 1:
        for k, name in enumerate(said.classes):
            own = np.unique(said.sources[said.having(k)])
            if len(own) == 1:
                yield name, str(own[0])


def _predictions(row: Row, store: Store) -> Shown:
    """Return the predictions on validation by seed: of fresh seeds, else of those that chose."""
    keys: tuple[str | None, ...] = row.fresh_keys or (row.downstream_key, *row.repeat_keys)
    found = {seed: stored.predictions(store, key, "val") for seed, key in enumerate(keys)}
    return {seed: one for seed, one in found.items() if one and one.sources is not None}


def _within(source: str, shown: Mapping[str, Shown], table: Table) -> Within:
    import numpy as np

    scores: dict[str, Estimate | None] = {}
    for chain, seeds in shown.items():
        values = []
        for one in seeds.values():
            own = one.at(np.asarray(one.sources) == source)
            resamples = own.resamples()
            values.append(own.values(resamples, table.objective.name))
        on = Images(len(own.groups), resamples.groups, own.rarest)
        observed = Observed((chain,), (tuple(seeds),), np.stack(values), on)
        known = bool(np.isfinite(observed.values).all())
        scores[chain] = _bounded(observed.scored(None).estimate(chain), table) if known else None
    return Within(source, on, scores)


def _bounded(found: Estimate, table: Table) -> Estimate:
    """Return an interval within 0 to 100 %: that of few images is widened."""
    if table.objective.unit != "%":
        return found
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 100.0))


def given_away(labels: "Ints", sources: "NDArray[np.str_]", groups: "NDArray[np.str_]") -> Estimate:
    """Return the mean recall of the class guessed from the source, cross-validated, in percent.

    The guess is the class in which the source is most frequent, so that rare classes count as much
    as others. Folds keep patient groups together.
    """
    import numpy as np

    from search.report.statistics.scored import estimate
    from trainables.downstream.measures import Judged
    from trainables.downstream.metrics import GroupBootstrap

    _, member = np.unique(groups, return_inverse=True)
    _, source = np.unique(sources, return_inverse=True)
    _, label = np.unique(labels, return_inverse=True)
    fold = np.random.default_rng(0).permutation(member.max() + 1)[member] % FOLDS
    guess = np.zeros_like(label)
    for k in range(FOLDS):
        known, asked = fold != k, fold == k
        counts = np.zeros((label.max() + 1, source.max() + 1))
        np.add.at(counts, (label[known], source[known]), 1)
        likely = (counts + 1) / (counts.sum(1, keepdims=True) + counts.shape[1])
        guess[asked] = likely[:, source[asked]].argmax(0)
    classes = int(label.max()) + 1
    judged = Judged(GroupBootstrap(label, groups, classes), np.eye(classes)[guess])
    recall = judged.values("sensitivity").mean(1)
    return estimate(recall[0], recall[1:])


def warning(found: Sources | None) -> tuple[str, ...]:
    """Return the note that the source gives the class away; () if it does not."""
    return (sentence(found),) if found and found.far else ()


def sentence(found: Sources) -> str:
    """Describe whether the source gives the class away."""
    own = found.given_away
    if own is None:
        return "What the source alone tells is not judged where an image may have several labels."
    said = (
        f"The source alone tells the class with a mean recall of {own.value:.1f} % "
        f"({own.low:.1f} to {own.high:.1f}), where guessing has {found.chance_level:.1f} %."
    )
    for source in dict.fromkeys(source for _, source in found.alone):
        some = ", ".join(label for label, where in found.alone if where == source)
        said = f"All validation images of {some} come from {source}. {said}"
    if found.far:
        return (
            f"{said} A network can score well by recognising the hospital or camera instead of the "
            "disease, and fail elsewhere: believe the scores within each source, and an external "
            "test set."
        )
    return f"{said} So it gives little away."
