"""Refuse what cannot be trained on these images before anything is started."""

from collections.abc import Sequence

from trainables import plugins
from trainables.cache import Prepared
from trainables.loop import context
from trainables.spec import DownstreamSpec, StageSpec
from trainables.splits import subset


def check(specs: Sequence[StageSpec | DownstreamSpec], data: Prepared) -> None:
    """UserError, naming a valid value, if a batch or a task's parameters don't fit the data."""
    for spec in specs:
        train = data.split["train"]
        if isinstance(spec, DownstreamSpec):
            labelled = subset(data.labels, data.groups, train, spec.label_fraction, spec.seed)
            context(spec.training, data, len(labelled), spec.augment, spec.seed)
        else:
            surroundings = context(spec.training, data, len(train), spec.augment, spec.seed)
            plugins.load("trainables.pretext", spec.pretext).check(spec.params, surroundings)
