"""The images of a space as specifications: its own, external test sets, the pool. Pure."""

from dataclasses import replace
from pathlib import Path

from search.space import Space
from trainables.spec import DataSpec, FurtherData
from trainables.storage import SEGMENTER


def data_spec(space: Space) -> DataSpec:
    data = space.data
    return DataSpec(
        name=data.name,
        params=data.params,
        size=space.profile.cache_size,
        channels=data.channels,
        val=data.val,
        test=data.test,
        seed=space.seed,
        merge_duplicates=data.merge_duplicates,
        fit=data.fit,
        trim=data.trim,
        window=data.window,
    )


def external_spec(space: Space, name: str) -> DataSpec:
    """Return the images of an external test set, decoded as the data set's own."""
    chosen, own = space.external[name], data_spec(space)
    return replace(
        own, name=chosen.name, params=chosen.params, val=0.0, test=1.0, merge_duplicates=False
    )


def masks_spec(space: Space) -> DataSpec:
    """Return the masks of the data set's images, at the side that networks see."""
    return replace(data_spec(space), masks=True, size=space.profile.image_size)


def draws_masks(space: Space) -> bool:
    """Return whether a segmenter's file stands for the masks: a stage draws them."""
    return (space.data.masks or "").endswith(Path(SEGMENTER).suffix)


def pool_spec(space: Space) -> DataSpec:
    """Return the pool: the data set's images, and those of further data sets."""
    pattern = space.data.params.get("group_pattern")
    folder = FurtherData("folder", {"group_pattern": pattern} if pattern else {})
    further = [folder] * len(space.data.unlabelled)
    if space.pool:
        further.append(FurtherData(space.pool.name, space.pool.params))
    return replace(data_spec(space), unlabelled=tuple(further))


def pool_roots(space: Space) -> tuple[str | None, ...]:
    """Return where the further data sets of `pool_spec` lie, in their order."""
    return (*space.data.unlabelled, *([space.pool.root] if space.pool else []))
