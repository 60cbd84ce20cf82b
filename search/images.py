"""The images of a search: checked early, identified by content, decoded when needed.

images = Images(space)
images.check()           # the number to train on; UserError if a task can't be trained on them
images.pool              # those without a label with what pretext tasks train on; None without
images.digests()
images.decode(console)   # sets images.data, and images.regions, their masks
images.understood        # to show; sizes, modes and what was met once images are decoded
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console

from search.chains.chain import Chain
from search.chains.images import data_spec, draws_masks, external_spec, pool_roots, pool_spec
from search.chains.node import Node
from search.chains.plan import Plan
from search.console.understood import Understood
from search.report import duplicates, prepared
from search.space import Space
from search.store.stage_store import full_disk_explained
from trainables.data._understood import DAMAGED
from trainables.durable import file_digest
from trainables.errors import UserError
from trainables.processor import cores

if TYPE_CHECKING:
    from trainables.images.cache import Prepared, Source
    from trainables.images.masks import Masks
    from trainables.images.pool import Pool

SAMPLE = 12  # images decoded for an estimate


class Digests(NamedTuple):
    """What identifies the images, external test sets by name, the pool and the masks, or None."""

    images: str
    external: Mapping[str, str]
    pool: str | None
    masks: str | None


class Images:
    """The images of one space, read on demand."""

    data: "Prepared"
    regions: "Prepared | None"  # the masks; None where a stage draws them
    seen: dict[str, int]  # of an external test set: images like one that is trained on

    def __init__(self, space: Space) -> None:
        from trainables.images.cache import Source

        root = space.data.root
        self.space, self.cache = space, Path(space.cache)
        self.source = Source(data_spec(space), Path(root) if root else None, self.cache)
        self.external = {name: _elsewhere(space, name) for name in space.external}
        self.pool = _pool(space, self.source)
        self.masks = _masks(space, self.source)

    def check(self) -> int:
        """Return the number of training images; UserError if a task or its settings don't fit."""
        from trainables.preflight import check

        count = len(self.source.split["train"])
        plan = Plan(self.space, "", count=count, masks="" if self.masked else None)
        specs = plan.graph(Node(Chain(tuple(self.space.tasks))))
        check(specs, self.source, self.pool, self.masks)
        if self.pool and self.space.controls:
            try:
                check(specs, self.source, masks=self.masks)
            except UserError as error:
                why = "as one control trains the best chain without the pool"
                raise type(error)(f"{error}, or controls=false, {why}") from None
        if self.external:
            from trainables.kinds.external import check_labels, positions
        for name, source in self.external.items():
            mapped = self.space.external[name].classes
            check_labels(source.table.many, self.source.table.many, name)
            positions(source.table.classes, self.source.table.classes, mapped, name)
        return count

    @property
    def understood(self) -> Understood:
        """What the data set was understood to be, to show; more of it once it is decoded."""
        pool, source = self.pool, self.source
        found = source.images.understood(self.data.damaged if self.decoded else ())
        sizes, left = (pool.sizes, pool.left_out) if pool else (None, {})
        if not self.decoded:
            table, split, leak = source.table, source.split, source.leak
            return Understood(found, table, split, leak, pool=sizes, pool_left_out=left)
        data = self.data
        more = data.forms, tuple(self._findings())
        return Understood(found, data, data.split, data.leak, *more, None, sizes, left)

    @property
    def side(self) -> int | None:
        """The shorter side of most files, px; None as long as they are not decoded."""
        return min(self.data.forms.commonest) if self.decoded and self.data.forms else None

    @property
    def masked(self) -> bool:
        """Whether the images have masks, or a stage draws them."""
        return self.masks is not None or draws_masks(self.space)

    @property
    def decoded(self) -> bool:
        return hasattr(self, "data")

    @property
    def left_out(self) -> dict[str, list[str]]:
        """The names of all that is not used, by reason; of the pool, too."""
        found = {why: list(names) for why, names in self.source.images.notes.names.items()}
        if self.data.damaged:
            found[DAMAGED] = list(self.data.damaged)
        for notes in self.pool.notes if self.pool else ():
            for why, names in notes.names.items():
                found[why] = [*found.get(why, ()), *names]
        return found

    def _findings(self) -> Iterator[str]:
        """Yield what was met while the images were decoded."""
        yield from prepared.findings(self.data.found, len(self.data.labels), self.space.data)
        yield from prepared.colourless(self.data.images, self.space.data)
        yield duplicates.sentence(duplicates.count(self.data))
        for name, seen in self.seen.items():
            if seen:
                yield (
                    f"{seen} of the {len(self.external[name].table.names)} images of the external "
                    f"test set {name} have a near-duplicate among those trained on, so its scores "
                    "are too high"
                )

    def digests(self) -> Digests:
        """Return the digests of all image files and labels; reads every file once."""
        cache = self.cache
        with full_disk_explained(cache, "cache"):
            external = {name: source.digest(cache) for name, source in self.external.items()}
            masks = self.masks.digest(cache) if self.masks else None
            if draws_masks(self.space):
                masks = file_digest(Path(str(self.space.data.masks)))[:16]
            pool = self.pool.digest(cache) if self.pool else None
            return Digests(self.source.digest(cache), external, pool, masks)

    def decoding_seconds(self) -> float:
        """Estimate how long all cores take to decode what the cache lacks; decodes a few images."""
        sources = filter(None, (self.source, self.pool, self.masks, *self.external.values()))
        return sum(_decoding_seconds(one) for one in sources if not one.decoded(self.cache))

    def decode(self, console: Console) -> None:
        """Decode missing images with a progress bar."""
        from rich.progress import Progress

        from trainables.images.cache import open_cache

        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("decoding images", total=None)

            def show(done: int, total: int) -> None:
                progress.update(bar, completed=done, total=total)

            with full_disk_explained(self.cache, "cache"):
                self.data = open_cache(self.source.prepare(self.cache, show))
                self.regions = self.masks.opened(self.cache, show) if self.masks else None
                trained = self.pool.opened(self.cache, show) if self.pool else self.data
                tests = {name: one.prepare(self.cache, show) for name, one in self.external.items()}
                self.seen = {name: _seen(open_cache(at), trained) for name, at in tests.items()}

    def summary(self) -> Iterator[str]:
        """Yield what a search says of its decoded images."""
        data, understood = self.data, self.understood
        sizes = ", ".join(f"{len(index)} {part}" for part, index in data.split.items())
        yield f"{len(data.labels)} images, {len(data.classes)} classes: {sizes}"
        yield from understood.remarks()
        yield from understood.findings
        for name, source in self.external.items():
            yield f"external test set {name}: {len(source.table.names)} images"


def _seen(test: "Prepared", trained: "Prepared") -> int:
    """Count the images of an external test set that are near-duplicates of any trained on."""
    from trainables.images.duplicates import like

    own, first = trained.images, len(trained.images)
    rows = trained.split["train"].tolist()
    further = () if trained.pool is None else trained.pool  # whose rows follow
    seen = [own[row] if row < first else further[row - first] for row in rows]
    return len(like(test.images, seen))


def _decoding_seconds(source: "Source") -> float:
    count = len(source.table.names)
    begun = time.perf_counter()
    rows = range(0, count, -(-count // SAMPLE))
    for row in rows:
        with suppress(UserError):  # all damaged images are named together, when decoded
            source.images.read(row)
    return (time.perf_counter() - begun) / len(rows) * count / cores()


def _pool(space: Space, source: "Source") -> "Pool | None":
    """Return the pool, None if there is no image without a label that may join."""
    from trainables.images.pool import Pool

    if space.data.pool:  # a stage makes what pretext tasks see
        return None
    roots = [Path(root) if root else None for root in pool_roots(space)]
    try:
        found = Pool(pool_spec(space), source, roots)
    except UserError as error:
        text = str(error)
        for folder in space.data.unlabelled:
            text = text.replace(f"--data={folder}", f"--data-unlabelled={folder}")
        raise UserError(_renamed(text, "pool")) from None
    return found if found.sizes.unlabelled else None


def _masks(space: Space, source: "Source") -> "Masks | None":
    from trainables.images.masks import masks_of

    place = Path(space.data.masks) if space.data.masks else None
    if place and draws_masks(space):
        from trainables.kinds.drawn_masks import loaded

        loaded(place, space.data.channels)
        return None
    return masks_of(source, place, space.profile.image_size)


def _elsewhere(space: Space, name: str) -> "Source":
    """Read the tables of an external test set; UserError names it, not the main data set."""
    from trainables.images.cache import Source

    root = space.external[name].root
    try:
        return Source(external_spec(space, name), Path(root) if root else None, Path(space.cache))
    except UserError as error:
        raise UserError(_renamed(str(error), f"external.{name}")) from None


def _renamed(text: str, own: str) -> str:
    """Return an error of a data set with the settings of another one, such as `pool`."""
    text = re.sub(r"\bdata(?=\.(name|params)\b)", own, text)
    text = re.sub(r"--data(?= PATH\b)", f"{own}.root=", text).replace("root= PATH", "root=PATH")
    return re.sub(r"--data(?!-)", f"{own}.root", text)
