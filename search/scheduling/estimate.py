"""The estimate of a search on this machine: rates found or timed, and the wall time.

found = estimate(plan, forecast, Here.machine(gpus=0), decoding=3.0)
found.span, found.timed, found.unknown, found.shorter
"""

import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from search.chains.chain import Chain
from search.chains.images import data_spec
from search.chains.node import Node
from search.chains.plan import TASKS, Plan
from search.cluster.group_shape import GroupShape
from search.scheduling import rates
from search.scheduling.cost import LONG, Pace, Span, limit_of, span
from search.scheduling.forecast import Forecast
from search.scheduling.rates import Machine, subject
from search.scheduling.work import Rate
from search.space import Space
from trainables.plugins import load
from trainables.processor import cores
from trainables.schema import read
from trainables.spec import DRAWN, PRETEXT, START, StageSpec, Training

COARSE = 2.0  # patches that are enlarged more often have little detail
STARTING = 25.0  # seconds from the command to the first step: imports, Ray, worker groups


@dataclass(frozen=True)
class Here:
    """The machine or cluster. nodes: resources of each Ray node. alone: stages can be timed."""

    nodes: Sequence[Mapping[str, float]]
    alone: bool = True

    @classmethod
    def machine(cls, gpus: int, alone: bool = True) -> "Here":
        return cls(({"CPU": float(cores()), "GPU": float(gpus)},), alone)

    def groups(self, plan: Plan, wanted: int) -> tuple[int, Machine]:
        """Return how many worker groups fit, and what one of them is."""
        runtime = plan.space.runtime
        total = {kind: sum(n.get(kind, 0.0) for n in self.nodes) for kind in ("CPU", "GPU")}
        shape = GroupShape.of(runtime, self.nodes, wanted, runtime.groups_per_gpu or 1)
        host = socket.gethostname() if self.alone else None
        machine = Machine(host, shape.threads, shape.workers, total["GPU"] > 0)
        return max(1, shape.fit(total)), machine


@dataclass(frozen=True)
class Estimate:
    """Wall time, seconds and steps a stage by task if no LR range grows, and where rates are from.

    seconds: of a stage right after a start. steps: of that stage, and of a later one if it differs.
    timed: seconds of ten steps, by task; measured: timed without steps. unknown: why a task has no
    rate; there is no span then. shorter: settings of a shorter search, if this one is long.
    too_short: lines on trainings that are too short to matter. coarse: on tasks whose patches have
    little detail, as the files are small or decoded small.
    """

    groups: int
    span: Span | None
    seconds: Mapping[str, float]
    timed: Mapping[str, float]
    measured: tuple[str, ...]
    unknown: Mapping[str, str]
    steps: Mapping[str, tuple[int, ...]]
    shorter: tuple[str, ...] = ()
    too_short: tuple[str, ...] = ()
    coarse: tuple[str, ...] = ()


def estimate(
    plan: Plan, forecast: Forecast, here: Here, decoding: float, done: Collection[str] = (),
    side: int | None = None,
) -> Estimate:  # fmt: skip
    """Return the estimate; times ten steps of what the store knows no rate of.

    decoding: seconds. done: keys of finished stages. side: of most files, px, if it is known.
    """
    groups, machine = here.groups(plan, forecast.stages_maximum + len(plan.baselines()))
    specs = [
        spec
        for spec in plan.graph(Node(Chain(tuple(plan.space.tasks))))
        if spec.kind not in (START, DRAWN)
    ]
    known = rates.remembered(Path(plan.space.store), specs, machine)
    missing = [spec for spec in specs if subject(spec) not in known]
    found = _timed(plan, missing, here, machine, groups)
    fresh = {of: rate for of, rate in found.items() if isinstance(rate, Rate)}
    unknown = {s.name: str(found[subject(s)]) for s in missing if subject(s) not in fresh}
    pace = Pace(known | fresh, groups, STARTING + decoding)
    timed = [(spec, fresh[subject(spec)]) for spec in missing if subject(spec) in fresh]
    shown = [*_singles(plan), *(spec for spec in specs if spec.kind != PRETEXT)]
    measured = [spec for spec in shown if subject(spec) in pace.rates]
    whole = None if unknown else span(plan, forecast.counts, pace, done)
    return Estimate(
        groups=groups,
        span=whole,
        seconds={spec.name: pace.seconds(spec, forecast.counts.of(spec)) for spec in measured},
        timed={spec.name: 10 * rate.step for spec, rate in timed if rate.step},
        measured=tuple(spec.name for spec, rate in timed if not rate.step),
        unknown=unknown,
        steps={
            spec.name: _lengths(plan, spec.name, spec.training) for spec in shown if spec.training
        },
        shorter=_shorter(plan, forecast, pace) if whole and whole.maximum > LONG else (),
        too_short=plan.short,
        coarse=_coarse(plan.space, side),
    )


def _coarse(space: Space, side: int | None) -> tuple[str, ...]:
    size, lines = space.profile.cache_size, []
    detail = min(size, side or size)
    for name, task in space.tasks.items():
        params = read(load(TASKS, name).Params, task.params)
        times = params.enlarged(space.profile.image_size, detail)
        wanted = ceil(detail * times / COARSE)
        cure = f"set profile.cache_size={wanted} or more"
        if side and side < wanted:
            cure = f"most files have {side} px, so leave it out: '~tasks.{name}'"
        if times > COARSE:
            lines.append(f"the patches of {name} are enlarged {times:.1f} times; {cure}")
    return tuple(lines)


def _singles(plan: Plan) -> list[StageSpec]:
    """Return the stage of every task that follows the first of the starts that chains grow from."""
    start = plan.space.grown_starts[0]
    return [plan.stages(Node(Chain((task,), start)))[0] for task in plan.space.tasks]


def _lengths(plan: Plan, name: str, training: Training) -> tuple[int, ...]:
    """Return the steps of a stage right after a start, or of a score; of a later stage."""
    later = plan.lengths[name][1:] if plan.space.max_length > 1 and name in plan.lengths else ()
    return tuple(dict.fromkeys((training.steps, *later)))


def _timed(
    plan: Plan, specs: Sequence[StageSpec], here: Here, machine: Machine, groups: int
) -> dict[rates.Subject, Rate | str]:
    if not specs:
        return {}
    if not here.alone:
        return {subject(spec): "no stage has been trained there yet" for spec in specs}
    return rates.timed(specs, data_spec(plan.space), machine, groups)


def _shorter(plan: Plan, forecast: Forecast, pace: Pace) -> tuple[str, ...]:
    """Return the settings of a shorter search: one seed each, and a budget if that is too long.

    () where a budget of time already ends the search.
    """
    if (limit_of(plan.space, pace.groups) or LONG + 1) <= LONG:
        return ()
    quick = replace(plan.space, repeats=1, controls=False, label_curve=False)
    changed = {k: getattr(quick, k) for k in ("repeats", "controls", "label_curve")}
    settings = [f"{k}={v}".lower() for k, v in changed.items() if getattr(plan.space, k) != v]
    less = span(replace(plan, space=quick), replace(forecast.counts, again=()), pace)
    return (*settings, *(() if settings and less.maximum <= LONG else ("budget=30m",)))
