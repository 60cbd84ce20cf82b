"""Feature vectors from elsewhere: a Parquet file with a row an image, `image` and `vector`.

    check(path, "panderm", source)            # one line for people; UserError if it doesn't fit
    read(path, "panderm", names)              # float32 [n, width], a row a name

A cell of `image` may be whatever a CSV file may call an image: see `trainables.data._match`. All
vectors are of one length and finite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainables.data._files import some
from trainables.data._match import Match, Names
from trainables.errors import UserError
from trainables.images.cache import Source

IMAGE, VECTOR = "image", "vector"  # the columns


def check(path: Path, name: str, source: Source) -> str:
    """Return what the file holds for these images; UserError, one line, if it doesn't fit them.

    An image without a vector is refused unless damaged images are left out: it may be one.
    """
    given, names = _open(path, name), source.table.names
    rows = given.rows(names)
    lacking = [names[int(at)] for at in np.flatnonzero(rows < 0)]
    if lacking and source.images.params.damaged != "skip":
        raise given.absent(lacking, len(names))
    further = len(given.images) - len(rows) + len(lacking)
    said = [f"{given.values.shape[1]} numbers for each of {len(rows) - len(lacking)} images"]
    said += [f"{further} rows of no image of this data set"] * (further > 0)
    said += [f"{len(lacking)} images without, must be damaged ({some(lacking)})"] * bool(lacking)
    return f"features {name}: {'; '.join(said)}"


def read(path: Path, name: str, names: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors of the images of these names, [n, width]; UserError if one has none."""
    given = _open(path, name)
    rows = given.rows(names)
    if lacking := [names[int(at)] for at in np.flatnonzero(rows < 0)]:
        raise given.absent(lacking, len(names))
    return given.values[rows]


@dataclass(frozen=True)
class Vectors:
    """A file's content. where: the setting and the file, as an error begins."""

    where: str
    images: Sequence[str]
    values: NDArray[np.float32]  # [rows, width]

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of every name, -1 for none; UserError if an image has several."""
        index = Names(names)
        matches = [index.find(cell) for cell in self.images]
        surest = dict[int, int]()
        for match in matches:
            for at in _sole(match):
                surest[at] = max(surest.get(at, 0), match.parts)
        found, twice = dict[int, int](), list[str]()
        for row, match in enumerate(matches):
            for at in _sole(match):
                # test/1.png must not take the vector of train/1.png
                if match.whole or match.parts == surest[at]:
                    twice += [names[at]] if at in found else []
                    found[at] = row
        if twice:
            raise UserError(
                f"{self.where}: must have one row an image, and {len(twice)} rows are of images "
                f"that have one already ({some(twice)}); try keeping one of them"
            )
        return np.array([found.get(at, -1) for at in range(len(names))])

    def absent(self, names: Sequence[str], images: int) -> UserError:
        """Return the error of images without a vector. images: the number of all."""
        return UserError(
            f"{self.where}: must have a vector for each of the {images} images, and {len(names)} "
            f"have none ({some(names)}; the file's: {some(self.images)}); try adding rows for "
            "them, or the names in the data set's table"
        )


def _sole(match: Match) -> Sequence[int]:
    """Return the image that a cell means; none if it may mean several."""
    return match.files if len(match.files) == 1 else ()


def _open(path: Path, name: str) -> Vectors:
    """Read a file whole; UserError if it is none of its kind."""
    where = f"baselines.features.{name}={path}"
    try:
        table = pq.read_table(path, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{where}: must be a Parquet file to read ({reason}); try a path to one, written with "
            "pandas' to_parquet"
        ) from None
    if lacking := {IMAGE, VECTOR} - set(table.column_names):
        raise UserError(
            f"{where}: must have the columns {IMAGE} and {VECTOR}, and has no {min(lacking)} "
            f"({some(table.column_names) or 'none'}); try renaming one"
        )
    images = [str(cell) for cell in table[IMAGE].to_pylist()]
    return Vectors(where, images, _values(where, images, table[VECTOR]))


def _values(where: str, images: Sequence[str], column: Any) -> NDArray[np.float32]:
    """Return the column as a matrix; UserError unless all are finite numbers of one length."""
    kind, known = column.type, pa.types
    lists = known.is_list(kind) or known.is_large_list(kind) or known.is_fixed_size_list(kind)
    if not lists or not (known.is_floating(kind.value_type) or known.is_integer(kind.value_type)):
        raise UserError(
            f"{where}: must have lists of numbers in the column {VECTOR}, and has {kind}; try a "
            "list a row, as array.tolist() gives"
        )
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy()
    width = int(np.bincount(lengths.clip(min=0)).argmax()) if len(lengths) else 0
    if not width:
        raise UserError(f"{where}: must have vectors, and has none; try writing the file again")
    _refuse(where, images, lengths != width, f"all of one length ({width} here)")
    flat = column.combine_chunks().flatten().cast(pa.float32(), safe=False)
    values = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
    _refuse(where, images, ~np.isfinite(values).all(1), "of finite numbers")
    return values


def _refuse(where: str, images: Sequence[str], wrong: NDArray[np.bool_], rule: str) -> None:
    if wrong.any():
        bad = [images[int(row)] for row in np.flatnonzero(wrong)]
        raise UserError(
            f"{where}: must have vectors {rule}, and {len(bad)} of {len(images)} are not "
            f"({some(bad)}); try computing them again"
        )
