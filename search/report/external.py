"""External test sets: the recommended and the starts on images from elsewhere.

    sets = judged(info.external, table, "odc>moco", store)
    write_csv(sets, objective, out / "report" / "external.csv")

Nothing was chosen on these images. Differences are paired, by image and by fresh seed; they include
the noise of training where there are several seeds, and are left out where there are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.report.statistics.scored import Estimate, Keys, noise_of, observe
from search.report.stored import Store
from search.report.table import Images, Table, cells, write_rows
from search.report.verdict_words import gain
from search.results.records import ExternalScore
from trainables.spec import MeasureType


@dataclass(frozen=True)
class Outside:
    """A chain or start on an external set: its mean over seeds.

    ahead: points by which the recommended is better, paired; None if that can't be judged.
    """

    chain: str
    seeds: int
    score: Estimate
    ahead: Estimate | None


@dataclass(frozen=True)
class ExternalSet:
    """An external test set, its size, and who was judged on it, the best first."""

    name: str
    on: Images
    rows: tuple[Outside, ...]


def judged(
    scores: Sequence[ExternalScore], table: Table, recommended: str | None, store: Store
) -> tuple[ExternalSet, ...]:
    """Judge all that has predictions, one external set after the other."""
    sets = []
    for external in dict.fromkeys(one.external for one in scores):
        keys: dict[str, dict[int, str | None]] = {}
        for one in scores:
            if one.external == external:
                keys.setdefault(str(one.chain), {})[one.seed] = one.downstream_key
        if found := _set(external, keys, table, recommended, store):
            sets.append(found)
    return tuple(sets)


def _set(
    external: str, keys: Keys, table: Table, recommended: str | None, store: Store
) -> ExternalSet | None:
    objective = table.objective
    observed = observe(keys, store, "test", objective.name, table.start_names)
    if observed is None:
        return None
    scored = observed.scored(noise_of([observed]))
    rows = []
    for chain, seeds in zip(observed.chains, observed.seeds, strict=True):
        apart = None
        if recommended in observed.chains and chain != recommended:
            apart = scored.difference(str(recommended), chain)
        ahead = gain(table, apart) if apart else None
        rows.append(Outside(chain, len(seeds), scored.estimate(chain), ahead))
    rows.sort(key=lambda row: -objective.merit(row.score.value))
    return ExternalSet(external, observed.on, tuple(rows))


def write_csv(sets: Sequence[ExternalSet], objective: MeasureType, path: Path) -> None:
    """Write a row for every chain and start on every set."""
    header = ["set", "chain", objective.name, "ci_low", "ci_high"]
    header += ["recommended_better_by", "better_low", "better_high", "seeds", "images"]
    write_rows(path, [[*header, "patient_groups"], *(
        [one.name, row.chain, *cells(row.score), *cells(row.ahead), row.seeds,
         one.on.images, one.on.groups]
        for one in sets for row in one.rows
    )])  # fmt: skip
