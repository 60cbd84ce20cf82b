"""The images of a search: checked early, identified by content, decoded when needed.

images = Images(space)
images.check()           # the number to train on; UserError if a task can't be trained on them
images.digest(), images.external_digests()
images.decode(console)   # sets images.data
images.understood        # to show; sizes, modes and what was met once images are decoded
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search.chains.node import Node
from search.chains.plan import Plan, data_spec, external_spec
from search.console.understood import Understood
from search.report import duplicates, prepared
from search.space import Space
from search.store.stage_store import full_disk_explained
from trainables.data._understood import DAMAGED
from trainables.errors import UserError
from trainables.processor import cores

if TYPE_CHECKING:
    from trainables.images.cache import Prepared, Source

SAMPLE = 12  # images decoded for an estimate


class Images:
    """The images of one space, read on demand."""

    data: "Prepared"

    def __init__(self, space: Space) -> None:
        from trainables.images.cache import Source

        root = space.data.root
        self.space, self.cache = space, Path(space.cache)
        self.source = Source(data_spec(space), Path(root) if root else None)
        self.external = {name: _elsewhere(space, name) for name in space.external}

    def check(self) -> int:
        """Return the number of training images; UserError if a task or its settings don't fit."""
        from trainables.preflight import check

        check(Plan(self.space, "").graph(Node(tuple(self.space.tasks))), self.source)
        if self.external:
            from trainables.kinds.external import check_labels, positions
        for name, source in self.external.items():
            mapped = self.space.external[name].classes
            check_labels(source.table.many, self.source.table.many, name)
            positions(source.table.classes, self.source.table.classes, mapped, name)
        return len(self.source.split["train"])

    @property
    def understood(self) -> Understood:
        """What the data set was understood to be, to show; more of it once it is decoded."""
        if not self.decoded:
            source = self.source
            return Understood(source.images.understood(), source.table, source.split, source.leak)
        data = self.data
        found = self.source.images.understood(data.damaged)
        more = data.forms, tuple(self._findings())
        return Understood(found, data, data.split, data.leak, *more)

    @property
    def decoded(self) -> bool:
        return hasattr(self, "data")

    @property
    def left_out(self) -> dict[str, Sequence[str]]:
        """The names of all that is not used, by reason."""
        damaged: dict[str, Sequence[str]] = {DAMAGED: self.data.damaged}
        return self.source.images.notes.names | (damaged if self.data.damaged else {})

    def _findings(self) -> Iterator[str]:
        """Yield what was met while the images were decoded."""
        yield from prepared.findings(self.data.found, len(self.data.labels), self.space.data)
        yield duplicates.sentence(duplicates.count(self.data))

    def digest(self) -> str:
        """Return the digest of all image files and labels; reads every file once."""
        with full_disk_explained(self.cache, "cache"):
            return self.source.digest(self.cache)

    def decoding_seconds(self) -> float:
        """Estimate how long all cores take to decode the images; decodes a few of them."""
        if self.decoded:
            return 0.0
        count = len(self.source.table.names)
        begun = time.perf_counter()
        rows = range(0, count, -(-count // SAMPLE))
        for row in rows:
            with suppress(UserError):  # all damaged images are named together, when decoded
                self.source.images.read(row)
        return (time.perf_counter() - begun) / len(rows) * count / cores()

    def external_digests(self) -> dict[str, str]:
        """Return the digests of the external test sets by name."""
        with full_disk_explained(self.cache, "cache"):
            return {name: source.digest(self.cache) for name, source in self.external.items()}

    def decode(self, console: Console) -> None:
        """Decode missing images with a progress bar."""
        from rich.progress import Progress

        from trainables.images.cache import open_cache

        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("decoding images", total=None)

            def show(done: int, total: int) -> None:
                progress.update(bar, completed=done, total=total)

            with full_disk_explained(self.cache, "cache"):
                folder = self.source.prepare(self.cache, show)
                for source in self.external.values():
                    source.prepare(self.cache, show)
        self.data = open_cache(folder)

    def summary(self) -> Iterator[str]:
        """Yield what a search says of its decoded images."""
        data, understood = self.data, self.understood
        sizes = ", ".join(f"{len(index)} {part}" for part, index in data.split.items())
        yield f"{len(data.labels)} images, {len(data.classes)} classes: {sizes}"
        yield from understood.remarks()
        yield from understood.findings
        for name, source in self.external.items():
            yield f"external test set {name}: {len(source.table.names)} images"


def _elsewhere(space: Space, name: str) -> "Source":
    """Read the tables of an external test set; UserError names it, not the main data set."""
    from trainables.images.cache import Source

    root, own = space.external[name].root, f"external.{name}"
    try:
        return Source(external_spec(space, name), Path(root) if root else None)
    except UserError as error:
        text = re.sub(r"\bdata(?=\.(name|params)\b)", own, str(error))
        text = re.sub(r"--data(?= PATH\b)", f"{own}.root=", text).replace("root= PATH", "root=PATH")
        raise UserError(text.replace("--data", f"{own}.root")) from None
