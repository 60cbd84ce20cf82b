"""`images.html`: what a data set was understood to be, with three images of every class.

    path = write(understood, data, title, out / "report")

The images are what the network sees before augmentation, read from the cache: training images
only, so that no choice is made by test images. The page stays in the report's folder; see
`tracking.sharing`.
"""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search.console.understood import Understood, in_pool, in_words
from search.report import prepared
from search.report.page import IMAGES, page
from search.space.schema import Data

if TYPE_CHECKING:
    from trainables.images.cache import Prepared

EACH = 3  # of a class
SIDE = 160  # px at most


class Thumbnail(NamedTuple):
    """An image as PNG in base64, with its name."""

    name: str
    png: str


def write(found: Understood, data: "Prepared", settings: Data, folder: Path) -> Path:
    """Write the page to a folder and return its path."""
    given = values(found, data, settings)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / IMAGES
    path.write_text(page.environment().get_template(IMAGES).render(given), encoding="utf-8")
    return path


def values(found: Understood, data: "Prepared", settings: Data) -> dict[str, object]:
    """Return all that the template needs."""
    return {
        "found": found,
        "in_pool": in_pool,
        "data": data,
        "forms": in_words(data.forms) if data.forms else "",
        "prepared": prepared.words(settings, data.images.shape[1]),
        "heads": ["class", "#images", "#patient|groups", *(f"#{part}" for part in found.split)],
        "thumbnails": dict(thumbnails(data)),
    }


def thumbnails(data: "Prepared") -> Iterator[tuple[str, list[Thumbnail]]]:
    """Yield every class with the first, the middle and the last of its training images."""
    train = data.split["train"]
    for at, label in enumerate(data.classes):
        rows = train[data.having(at)[train]]
        ends = np.linspace(0, len(rows) - 1, min(EACH, len(rows))).round().astype(int)
        yield label, [Thumbnail(data.names[i], _png(data.images[i])) for i in rows[ends]]


def _png(square: NDArray[np.uint8]) -> str:
    """Return [side, side, channels] as PNG in base64, made smaller if it is large."""
    image, file = Image.fromarray(square[..., 0] if square.shape[2] == 1 else square), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
