"""Parameters, metrics and curves of a search and its chains, for a tracker.

A point is (name, value, step). Plain values, independent of the tracker.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from search.chains import lengths
from search.chains.chain import SCRATCH, Chain
from search.chains.node import Node
from search.chains.plan import Plan
from search.console.printable import markdown
from search.report import notes, stored
from search.report.stored import Store
from search.report.table import Row
from search.results.records import RunInfo

Point: TypeAlias = tuple[str, float, int]
Params: TypeAlias = dict[str, str | float | tuple[float, ...]]
METRICS = (
    "ci_low", "ci_high", "delta", "linear", "knn", "train_seconds", "fresh_score", "fresh_low",
    "fresh_high",
)  # fmt: skip
FORBIDDEN = re.compile(r"[^\w\-. :]")  # in a metric's name, for MLflow
NAME = 250  # characters in it
SUMMARY_METRICS = (
    "best_score", "scratch", "imagenet", "stages_trained", "stages_reused", "stages_pruned",
    "stages_naive", "wall_seconds",
)  # fmt: skip


def search_params(plan: Plan, info: RunInfo) -> Params:
    space, profile = plan.space, plan.space.profile
    return {
        "space": info.space,
        "data": info.data,
        "data_digest": plan.data_digest,
        "demo": info.demo,
        "policy": info.policy,
        "profile": info.profile,
        "backbone": profile.backbone,
        "image_size": profile.image_size,
        "steps": lengths.words(profile.steps),
        "max_length": space.max_length,
        "seed": space.seed,
        **{
            f"{key}.{name}": rates
            for name, one in [*space.tasks.items(), ("fine-tuning", space.downstream)]
            for key in ("lr_range", "lr_range_later")
            if (rates := getattr(one, key))
        },
    }


def protocol(plan: Plan) -> dict[str, str]:
    """Return what two fresh-seed scores must have in common to be compared, as tags.

    `protocol` is the key of a fine-tuning without a backbone: it names all that decides how one is
    scored, the data and their split included.
    """
    first = next(iter(plan.space.tasks))
    scored, profile = plan.score(Node(Chain((first,)))), plan.space.profile
    return {
        "protocol": replace(scored, inputs={}).key(),
        "data_digest": plan.data_digest,
        "objective": plan.space.downstream.objective,
        "backbone": profile.backbone,
        "image_size": str(profile.image_size),
        "label_fraction": f"{profile.label_fraction:g}",
        "downstream_steps": lengths.words(profile.downstream_steps),
    }


def note(info: RunInfo, summary: Mapping[str, Any] | None = None) -> str:
    """Return the note of a search's run. summary: its `summary.json`, at the end."""
    if summary is None:
        return notes.mark(info)
    return "\n\n".join([markdown(one) for one in (f"{summary['headline']}.", *summary["notes"])])


def chain_params(row: Row) -> Params:
    params: Params = {"chain": row.chain, "length": row.length}
    params |= {"label": row.label} if row.label else {}  # needs the singles
    params |= {f"task_{place}": task for place, task in enumerate(row.tasks, 1)}
    rates = filter(None, row.lrs.split(", "))
    params |= {f"lr_{place}": rate.split()[-1] for place, rate in enumerate(rates, 1)}
    params |= {"last_task": row.tasks[-1]} if row.tasks else {}
    params |= {"start": row.start} if row.start != SCRATCH else {}
    return params | ({"downstream_lr": row.downstream_lr} if row.downstream_lr else {})


def chain_metrics(row: Row) -> Iterator[Point]:
    """Yield the chain's metrics; the step counts repeats, so the last value is the mean."""
    measured = {_named(name): one.value for name, one in row.measures.items()}
    for name, value in (measured | {name: getattr(row, name) for name in METRICS}).items():
        if value is not None:
            yield name, float(value), len(row.repeat_keys)


def _named(measure: str) -> str:
    """Return the metric's name; that of a class may hold any character."""
    kind, slash, label = measure.partition("/")
    return f"{kind}{slash}{FORBIDDEN.sub('_', label)}"[:NAME]


def summary_metrics(summary: Mapping[str, float | None]) -> Iterator[Point]:
    """Yield the numbers of `summary.json`."""
    for name in SUMMARY_METRICS:
        if (value := summary[name]) is not None:
            yield name, float(value), 0


def curves(row: Row, store: Store, objective: str) -> Iterator[Point]:
    """Yield by step the loss of each stage, and fine-tuning's loss and objective.

    At the end of a stage whose task has a control, its accuracy with and without.
    """
    keys = stored.lineage(store, row.stage_key)
    for place, (task, key) in enumerate(zip(row.tasks, keys, strict=False), 1):
        for point in stored.history(store, key)["train"]:
            yield f"stage_{place}_{task}_loss", point["loss"], round(point["step"])
        known = stored.result(store, key)
        if "control_accuracy" in known:
            stage, end = f"stage_{place}_{task}", known["steps"]
            yield f"{stage}_controlled_accuracy", known["controlled_accuracy"], end
            yield f"{stage}_control_accuracy", known["control_accuracy"], end
    for point in stored.history(store, row.downstream_key)["train"]:
        for name, column in (("loss", "loss"), (objective, "objective")):
            if column in point:
                yield f"finetune_{name}", point[column], round(point["step"])
