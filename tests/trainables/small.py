"""A drawn data set and specifications small enough to train in a test."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from search.plan import Plan, data_spec
from search.space import Space, load
from trainables.cache import Prepared, open_cache, prepare

OVERRIDES = (
    "data=demo", "profile=smoke", "data.params.n=320", "profile.batch=16", "profile.epochs=0.8",
    "profile.lr_epochs=0.3", "profile.downstream_batch=16", "profile.downstream_epochs=2",
    "profile.downstream_lr_epochs=1", "profile.label_fraction=0.5", "downstream.probes=false",
    "runtime.log_every=2",
)  # fmt: skip


@cache
def space(*more: str) -> Space:
    return load("isic3", [*OVERRIDES, *more])


@cache
def prepared(folder: Path) -> Prepared:
    return open_cache(prepare(data_spec(space()), None, folder))


def plan(data: Prepared, *more: str) -> Plan:
    return Plan(replace(space(*more)), data.digest)
