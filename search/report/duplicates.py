"""Near-duplicates across patient groups: counts, a sentence, and `near_duplicates.csv`.

found = count(data)
sentence(found)
write(data, out / "report")
"""

from pathlib import Path
from typing import TYPE_CHECKING

from search.report.table import write_rows
from search.results.records import Duplicates

if TYPE_CHECKING:
    from trainables.images.cache import Prepared

FILE = "near_duplicates.csv"
COLUMNS = ("image_a", "image_b", "group_a", "group_b", "split_a", "split_b", "distance")


def count(data: "Prepared") -> Duplicates:
    """Count the pairs, and those across splits."""
    split = _splits(data)
    crossing = sum(split[pair.a] != split[pair.b] for pair in data.duplicates)
    return Duplicates(len(data.duplicates), crossing, data.merged)


def sentence(found: Duplicates) -> str:
    """Describe the pairs in one sentence."""
    if not found.pairs:
        return "no near-duplicate pairs across patient groups"
    noun = "pairs" if found.pairs > 1 else "pair"
    pairs = f"{found.pairs} near-duplicate {noun} across patient groups"
    if found.merged:
        return f"{pairs}, listed in {FILE}; their groups were merged before the split"
    return (
        f"{pairs} ({found.across_splits} cross a split), listed in {FILE}; merge their groups with "
        "data.merge_duplicates=true"
    )


def write(data: "Prepared", folder: Path) -> None:
    """Write the pairs with image names, patient groups, splits and distance to FILE."""
    split = _splits(data)
    write_rows(folder / FILE, [COLUMNS, *(
        (data.names[p.a], data.names[p.b], p.group_a, p.group_b, split[p.a], split[p.b], p.distance)
        for p in data.duplicates
    )])  # fmt: skip


def _splits(data: "Prepared") -> dict[int, str]:
    return {int(row): part for part, index in data.split.items() for row in index}
