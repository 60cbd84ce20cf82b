"""Checks of a space's values against each other; `schema.py` checks each value alone."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.chains.chain import SCRATCH
from search.chains.lengths import PUBLISHED
from trainables.errors import UserError
from trainables.plugins import available, unknown
from trainables.schema import shown
from trainables.spec import CLASSIFY

if TYPE_CHECKING:
    from search.space.schema import Space


LENGTHS = re.compile(r"tasks\.\w+\.steps|(downstream)\.steps")
AUGMENTED = re.compile(r"data\.augment\.tasks\.(\w+)")
COLOURED = re.compile(r"data\.augment\.(saturation|hue|planckian|grayscale)$")


def check(space: "Space") -> None:
    """Raise UserError, one line, unless the values are consistent."""
    rules = (
        _tasks,
        _plugins,
        _starts,
        _features,
        _sizes,
        _lengths,
        _parts,
        _pixels,
        _pool,
        _external,
        _workers,
        _places,
    )
    for one in rules:
        one(space)


def check_used(space: "Space", overrides: Sequence[str]) -> None:
    """Raise UserError for an override that nothing uses, though it may stand in a file."""
    for key, _, value in (one.lstrip("+~").partition("=") for one in overrides):
        if (found := LENGTHS.match(key)) and value != "null":
            length = "downstream_steps" if found[1] == "downstream" else "steps"
            if (given := getattr(space.profile, length)) != PUBLISHED:
                raise UserError(
                    f"{key}: must be left out with profile.{length}={shown(given)}, which has the "
                    f"length; try profile.{length}={PUBLISHED}"
                )
        if (found := AUGMENTED.match(key)) and found[1] not in space.tasks:
            raise UserError(unknown("data.augment.tasks", found[1], list(space.tasks)))
        if (found := COLOURED.match(key)) and space.data.channels == 1:
            if changed := space.data.augment[found[1]]:
                raise UserError(
                    f"{key}={shown(changed)}: must be left out with data.channels=1, as grey "
                    "images have no colour; try without it"
                )


def _tasks(space: "Space") -> None:
    for key, task in space.tasks.items():
        if key != task.name:
            raise UserError(
                f"tasks.{key}.name={task.name}: must be the task's key; try tasks.{key}.name={key}"
            )
        if key in space.starts:
            raise UserError(
                f"tasks.{key}: must not have the name of a start; try calling its files {key}_task"
            )
    if space.max_length > len(space.tasks):
        raise UserError(
            f"max_length={space.max_length}: must be 1 to {len(space.tasks)}, the number of tasks "
            f"({', '.join(space.tasks)}); try {len(space.tasks)}"
        )


def _plugins(space: "Space") -> None:
    """Check that every plug-in exists; imports none."""
    chosen = [(f"tasks.{name}.name", name, "trainables.pretext") for name in space.tasks]
    chosen.append(("data.name", space.data.name, "trainables.data"))
    chosen.append(("downstream.kind", space.downstream.kind, "trainables.kinds"))
    chosen += [
        (f"data.augment.tasks.{name}", name, "trainables.pretext")
        for name in space.data.augment["tasks"]
    ]
    if space.data.pool:
        chosen.append(("data.pool.kind", space.data.pool.kind, "trainables.kinds"))
    chosen += [
        (f"external.{key}.name", one.name, "trainables.data") for key, one in space.external.items()
    ]
    if space.pool:
        chosen.append(("pool.name", space.pool.name, "trainables.data"))
    chosen.append(("policy.name", space.policy.name, "search.policies"))
    for where, name, package in chosen:
        if name not in (known := available(package)):
            raise UserError(unknown(where, name, known))


def _starts(space: "Space") -> None:
    if SCRATCH not in space.starts:
        raise UserError(f"starts: must have {SCRATCH}; try starts.{SCRATCH}=null")
    own = space.starts[SCRATCH]
    if own.weights is not None:
        raise UserError(
            f"starts.{SCRATCH}={own.weights}: must be null, as it has no weights; try "
            f"starts.imagenet={own.weights}"
        )
    if own.trainable != "all":
        raise UserError(
            f"starts.{SCRATCH}.trainable={own.trainable}: must be all, as blocks without weights "
            "can't stay as they are; try all"
        )
    if not space.grown_starts:
        raise UserError(
            f"starts.{SCRATCH}.chains=false: must be true, unless another start has weights and "
            f"chains; try starts.{SCRATCH}=null"
        )


def _features(space: "Space") -> None:
    for key in space.baselines.features:
        if key in space.starts or key in space.tasks:
            what = "start" if key in space.starts else "task"
            raise UserError(
                f"baselines.features.{key}: must not have the name of a {what}; try {key}_features"
            )
    if space.baselines.features and space.downstream.kind != CLASSIFY:
        raise UserError(
            f"baselines.features.{next(iter(space.baselines.features))}: must be left out with "
            f"downstream.kind={space.downstream.kind}, as features can only {CLASSIFY}; try without"
        )


def _sizes(space: "Space") -> None:
    profile = space.profile
    if profile.image_size > profile.cache_size:
        raise UserError(
            f"profile.image_size={profile.image_size}: must be at most "
            f"profile.cache_size={profile.cache_size}, the side of the decoded images; "
            f"try profile.cache_size={profile.image_size}"
        )
    for key in ("batch", "downstream_batch"):
        batch, groups = getattr(profile, key), profile.bn_groups
        if batch % groups or batch < 2 * groups:
            raise UserError(
                f"profile.{key}={batch}: must be a multiple of profile.bn_groups={groups}, with "
                f"two images a group or more; try {max(2, -(-batch // groups)) * groups}"
            )


def _lengths(space: "Space") -> None:
    chosen = {f"tasks.{name}": one for name, one in space.tasks.items()}
    for key, some in (("steps", chosen), ("downstream_steps", {"downstream": space.downstream})):
        for where, one in some.items():
            if getattr(space.profile, key) == PUBLISHED and one.steps is None:
                raise UserError(
                    f"{where}.steps: must be given with profile.{key}={PUBLISHED}; try "
                    f"{where}.steps={{1000:3000}}"
                )


def _parts(space: "Space") -> None:
    val, test = space.data.val, space.data.test
    if val + test >= 1:
        raise UserError(
            f"data.val={val:g}, data.test={test:g}: must be below 1 together, as training "
            "needs images; try data.val=0.15 data.test=0.15"
        )


def _pixels(space: "Space") -> None:
    for key in ("mean", "std"):
        given, channels = space.data.augment.get(key), space.data.channels
        if given is not None and len(given) != channels:
            raise UserError(
                f"data.augment.{key}={shown(given)}: must be {channels} numbers, one a channel of "
                f"data.channels={channels}, or null (measured on the training images); try null"
            )


def _pool(space: "Space") -> None:
    if space.data.pool and (space.pool or space.data.unlabelled):
        given = "pool" if space.pool else "data.unlabelled (--data-unlabelled)"
        raise UserError(
            f"{given}: must be left out with data.pool.kind={space.data.pool.kind}, which makes "
            "the images of the pretext tasks; try one without the other"
        )


def _external(space: "Space") -> None:
    for key, one in space.external.items():
        if one.channels not in (None, space.data.channels):
            raise UserError(
                f"external.{key}.channels={one.channels}: must be data.channels="
                f"{space.data.channels}, as one network sees both; try without it"
            )
    if space.external and space.downstream.kind != CLASSIFY:
        raise UserError(
            f"external.{next(iter(space.external))}: must be left out with downstream.kind="
            f"{space.downstream.kind}, as only {CLASSIFY} can be judged elsewhere; try without it"
        )


def _workers(space: "Space") -> None:
    workers, groups = space.runtime.workers, space.profile.bn_groups
    if groups % workers:
        allowed = [n for n in range(1, groups + 1) if groups % n == 0]
        raise UserError(
            f"runtime.workers={workers}: must divide profile.bn_groups={groups}, as "
            f"{', '.join(map(str, allowed))} do; try profile.bn_groups={workers}"
        )
    shared = space.runtime.groups_per_gpu
    if shared is not None and shared > 1 and workers > 1:
        raise UserError(
            f"runtime.groups_per_gpu={shared}: must be 1 or null with runtime.workers={workers}, "
            "as ranks of one worker group can't share a GPU; try 1"
        )


def _places(space: "Space") -> None:
    for key in ("store", "cache"):
        place = getattr(space, key)
        if "://" in place.removeprefix("file://"):
            raise UserError(
                f"{key}={place}: must be a folder on a local or shared disk, as files are used in "
                f"place; try mounting it, then {key}=/mnt/{key}"
            )
