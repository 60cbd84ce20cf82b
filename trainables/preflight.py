"""Refuse what cannot be trained on these images before an image is decoded."""

from collections.abc import Mapping, Sequence

from trainables import plugins
from trainables.data import Table
from trainables.loop import context
from trainables.spec import DownstreamSpec, StageSpec
from trainables.splits import Index, subset


def check(
    specs: Sequence[StageSpec | DownstreamSpec], table: Table, split: Mapping[str, Index]
) -> None:
    """UserError, naming a valid value, if a batch or a task's parameters don't fit the data."""
    train = split["train"]
    for spec in specs:
        unknown = (0.5,) * spec.data.channels  # mean and deviation; no check asks for them
        if isinstance(spec, DownstreamSpec):
            train = subset(table.labels, table.groups, train, spec.label_fraction, spec.seed)
        known = context(spec.training, len(train), spec.augment, spec.seed, unknown, unknown)
        if isinstance(spec, StageSpec):
            plugins.load("trainables.pretext", spec.pretext).check(spec.params, known)
