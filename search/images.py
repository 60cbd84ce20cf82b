"""The images of a search: checked at once, named by their content, decoded when they are needed.

images = Images(space)
images.check()           # UserError for what cannot be trained on them; how many to train on
images.digest()
images.decode(console)   # images.data from here on
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search.chains.chain import SCRATCH
from search.chains.node import Proposal
from search.chains.plan import Plan, data_spec
from search.console.printable import line
from search.report import duplicates
from search.space import Space
from search.store.stage_store import full_disk_explained

if TYPE_CHECKING:
    from trainables.images.cache import Prepared


class Images:
    """Of one space; nothing is read before it is asked for."""

    data: "Prepared"

    def __init__(self, space: Space) -> None:
        from trainables.images.cache import Source

        root = space.data.root
        self.space, self.cache = space, Path(space.cache)
        self.source = Source(data_spec(space), Path(root) if root else None)

    def check(self) -> int:
        """Refuse what doesn't fit the images, before one is decoded; images to train on."""
        from trainables.preflight import check

        plan = Plan(self.space, data_digest="")
        stages = plan.stages(Proposal(tuple(self.space.tasks)))
        split = self.source.split
        check([*stages, plan.downstream(Proposal((SCRATCH,)))], self.source.table, split)
        return len(split["train"])

    def digest(self) -> str:
        """What decides the content; every file is read for it, once."""
        with full_disk_explained(self.cache, "cache"):
            return self.source.digest(self.cache)

    def decode(self, console: Console) -> None:
        """Decode what is not decoded, with a progress bar, and say what there is; once."""
        if hasattr(self, "data"):
            return
        from rich.progress import Progress

        from trainables.images.cache import open_cache

        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("decoding images", total=None)

            def show(done: int, total: int) -> None:
                progress.update(bar, completed=done, total=total)

            with full_disk_explained(self.cache, "cache"):
                folder = self.source.prepare(self.cache, show)
        self.data = data = open_cache(folder)
        sizes = ", ".join(f"{len(index)} {part}" for part, index in data.split.items())
        said = f"{len(data.labels)} images, {len(data.classes)} classes: {sizes}"
        console.print(line(said))
        console.print(line(duplicates.sentence(duplicates.count(data))))
