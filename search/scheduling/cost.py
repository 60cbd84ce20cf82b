"""The wall time of a search, from its phases and the rates of this machine. Pure.

pace = Pace(rates, 2, start=28.0)
span(space, forecast, plan, pace)         # Span(minimum=400.0, maximum=900.0), in seconds
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from search.chains.chain import Chain
from search.chains.node import Node
from search.chains.plan import Plan
from search.scheduling.phases import Phase, Phases, phases
from search.scheduling.rates import Subject, subject
from search.scheduling.work import Rate, work
from search.space import Space
from trainables.architectures import megabytes
from trainables.spec import CLASSIFY, DRAWN, EXTERNAL, FEATURES, POOL, START, StageSpec

CLOSING = 6.0  # seconds from the last job to the end of the command
BETWEEN = 0.4  # seconds a job: leasing it, reading inputs, writing its result
SLOW = 1e-6  # seconds a training image, pixel and MB of backbone: ten times those of one core
MANY = 1000  # chains; the seconds of more are in proportion
LONG = 30 * 60.0  # seconds; a search that would take longer says so
NOTHING = Rate(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Pace:
    """How fast this machine is. rates: by `subject`; start: seconds until training begins.

    grown: LR ranges grow as far as they may.
    """

    rates: Mapping[Subject, Rate]
    groups: int  # worker groups
    start: float
    grown: bool = False

    def seconds(self, spec: StageSpec, images: int) -> float:
        """Return the seconds of one stage in one worker group."""
        return self._rate(spec).seconds(work(spec, images, self.grown)) + BETWEEN

    def _rate(self, spec: StageSpec) -> Rate:
        """Return a stage's rate; images from elsewhere take as long as those of an evaluation."""
        if spec.kind == EXTERNAL:
            evaluated = max(rate.evaluated for of, rate in self.rates.items() if of[0] == CLASSIFY)
            return Rate(0.0, 0.0, evaluated)
        return NOTHING if spec.kind in (START, FEATURES, DRAWN) else self.rates[subject(spec)]


@dataclass(frozen=True)
class Span:
    """Wall time in seconds."""

    minimum: float
    maximum: float


@dataclass(frozen=True)
class Counts:
    """How many chains the policy tries at least and at most, and get a second seed, a third..."""

    minimum: int
    maximum: int
    again: tuple[int, ...]
    images: int  # to train on
    pool: int = 0  # for the pretext tasks; 0: the same
    external: Mapping[str, int] = field(default_factory=dict)  # of each external test set

    def of(self, spec: StageSpec) -> int:
        """Return how many images a stage trains on, or judges."""
        if spec.kind == EXTERNAL:
            return self.external[spec.name]
        known = spec.data.get(POOL)
        pooled = known is not None and known.spec.unlabelled is not None
        return self.pool if pooled and self.pool else self.images


def span(plan: Plan, counts: Counts, pace: Pace, done: Collection[str] = ()) -> Span:
    """Return the wall time of a search with the plan. done: keys of finished stages."""
    starts = [node.chain.start for node in plan.baselines()]
    tried = min(counts.maximum, len(plan.space.chains()), MANY)
    few = [min(n, counts.minimum) for n in counts.again]
    fewest, pool = min(counts.minimum, tried), plan.pool is not None
    least = phases(plan.space, starts, fewest, few, most=False, pool=pool)
    most = phases(plan.space, starts, tried, counts.again, most=True, pool=pool)
    further = replace(pace, grown=True)
    low = _wall(plan, least, counts, pace, done)
    high = _wall(plan, most, counts, further, done, counts.maximum / max(tried, 1))
    return Span(min(low, high), max(low, high))


def _wall(
    plan: Plan, found: Phases, counts: Counts, pace: Pace, done: Collection[str],
    times: float = 1.0,
) -> float:  # fmt: skip
    """Return the seconds of all phases, `done` apart, at most those of the budget.

    times: the work of all chains over that of those in the phases.
    """
    known, longest = set(done), 0.0

    def seconds(phases: list[Phase]) -> float:
        nonlocal longest
        total = 0.0
        for phase in phases:
            jobs = [_missing(plan, node, counts, pace, known) for node in phase]
            total += side_by_side(jobs, pace.groups)
            longest = max([longest, *jobs])
        return total

    total = pace.start + seconds(found.begin) + times * seconds(found.chains)
    total += seconds(found.later) + CLOSING
    limit = limit_of(plan.space, pace.groups)
    return total if limit is None else min(total, limit + longest + CLOSING)


def _missing(plan: Plan, node: Node, counts: Counts, pace: Pace, known: set[str]) -> float:
    """Return the seconds of the node's stages that are not known; adds their keys to `known`."""
    missing = [spec for spec in plan.graph(node) if spec.key() not in known]
    known.update(spec.key() for spec in missing)
    return sum(pace.seconds(spec, counts.of(spec)) for spec in missing)


def side_by_side(jobs: list[float], groups: int) -> float:
    """Return the seconds of jobs in worker groups, of which some idle at the end.

    Between all of them busy to the end and the worst order (Graham, 1969): half of the longest.
    """
    longest = max(jobs, default=0.0)
    return max(longest, sum(jobs) / groups + (1 - 1 / groups) * longest / 2)


def limit_of(space: Space, groups: int) -> float | None:
    """Return the wall seconds of a time budget; None without one. groups: worker groups."""
    budget, runtime = space.budget, space.runtime
    gpus = groups * runtime.workers / (runtime.groups_per_gpu or 1)
    return budget.seconds if budget.gpu_hours is None else budget.gpu_hours * 3600 / gpus


def surely_short(plan: Plan, counts: Counts, done: Collection[str] = ()) -> bool:
    """Return whether even a very slow machine needs less than half an hour: nothing is timed."""
    if (plan.space.budget.seconds or LONG + 1) <= LONG:
        return True
    profile = plan.space.profile
    image = SLOW * profile.image_size**2 * megabytes(profile.backbone)
    batch = max(profile.batch, profile.downstream_batch)
    slow = Rate(image * batch, image / 4, image)
    rates = {subject(spec): slow for spec in plan.graph(Node(Chain(tuple(plan.space.tasks))))}
    return span(plan, counts, Pace(rates, 1, 0.0), done).maximum < LONG
