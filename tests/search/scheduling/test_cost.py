"""The wall time of a search, with rates that are known."""

from dataclasses import replace

import pytest

from search.chains.chain import Chain
from search.chains.node import FRESH, Node
from search.chains.plan import Plan
from search.scheduling import cost
from search.scheduling.cost import BETWEEN, CLOSING, Counts, Pace, side_by_side, span, surely_short
from search.scheduling.phases import phases
from search.scheduling.rates import subject
from search.scheduling.work import Rate, work
from search.space import load

SMOKE = ["profile=smoke", "profile.precision=float32"]
COUNTS = Counts(3, 7, (), 1000)


def plan(*overrides):
    return Plan(load("isic3", [*SMOKE, *overrides]), "")


def pace(made, rate, groups=1):
    specs = made.graph(Node(Chain(tuple(made.space.tasks))))
    return Pace({subject(spec): rate for spec in specs}, groups, 20.0)


def names(found):
    return [[str(node) for node in phase] for part in found for phase in part if phase]


def test_phases_of_the_least_and_the_most():
    space = load("isic3", [*SMOKE, "max_length=2", "repeats=2", "controls=true"])
    few = phases(space, ("scratch",), 3, (2,), most=False)
    assert names(few) == [
        ["scratch", "scratch#1"],
        ["relative_location", "moco", "odc"],
        ["relative_location#1", "moco#1"],
        ["relative_location", "relative_location#1"],
        [f"{one}#{FRESH + k}" for one in ("relative_location", "scratch") for k in (0, 1)],
    ]
    most = names(phases(space, ("scratch",), 6, (3,), most=True))
    assert most[2] == ["relative_location>moco", "relative_location>odc", "moco>odc"]
    controls = [f"{chain}{k}" for chain in ("moco>moco", "moco>relative_location")
                for k in ("", "#1")]  # fmt: skip
    assert controls in most


def test_the_label_curve_takes_the_two_best_and_the_starts():
    space = load("isic3", [*SMOKE, "max_length=1", "label_curve=true"])
    curve = names(phases(space, ("scratch",), 3, (), most=True))[-1]
    chains = ("relative_location", "moco", "scratch")
    assert curve == [f"{c}#{FRESH}@{share}" for c in chains for share in ("0.01", "0.1", "1")]


def test_wall_time_by_hand():
    """One start, three singles, the fresh seed of a single and of the start: nothing is shared."""
    made = plan("max_length=1", "downstream.lr_range_later=null")
    rate = Rate(1.0, 0.0, 0.0)
    found = span(made, Counts(3, 3, (), 1000), pace(made, rate))
    stage, _, score = made.graph(Node.parse("odc"))
    stages, scores = work(stage, 1000).steps, work(score, 1000).steps
    jobs = 4 + 6 + 6  # stages, probes, scores
    assert found.minimum == found.maximum
    assert found.maximum == pytest.approx(20 + CLOSING + 4 * stages + 6 * scores + jobs * BETWEEN)


def test_ranges_grow_in_the_longest_time_only():
    """Two trials of 500 steps more for each of four stages and six scores."""
    long = ["profile.lr_steps=500", "profile.downstream_lr_steps=500", "profile.steps=2000"]
    long += ["profile.downstream_steps=2000", "downstream.lr_range_later=null", "max_length=1"]
    made = plan(*long)
    found = span(made, Counts(3, 3, (), 1000), pace(made, Rate(1.0, 0.0, 0.0)))
    assert found.maximum - found.minimum == pytest.approx((4 + 6) * 2 * 500)


def test_what_is_in_the_store_takes_no_time():
    made = plan("max_length=1")
    counts, known = Counts(3, 3, (), 1000), pace(made, Rate(1.0, 0.1, 0.1))
    found = phases(made.space, ("scratch",), 3, (), most=True)
    nodes = [node for part in found for phase in part for node in phase]
    done = {spec.key() for node in nodes for spec in made.graph(node)}
    assert span(made, counts, known, done).maximum == 20 + CLOSING
    assert span(made, counts, known, set()).maximum > 40


def test_more_seeds_controls_and_labels_cost_more():
    made = plan()
    few = span(made, COUNTS, pace(made, Rate(1.0, 0.1, 0.1)))
    assert few.minimum < few.maximum
    more = plan("repeats=3", "controls=true", "label_curve=true")
    again = span(more, replace(COUNTS, again=(4, 2)), pace(more, Rate(1.0, 0.1, 0.1)))
    assert again.maximum > 2 * few.maximum


def test_images_from_elsewhere_cost_their_evaluation():
    """500 of them for three singles, the start, and the fresh seeds of a single and the start."""
    other = ["external.other.name=folder", "external.other.root=/x"]
    rate, few = Rate(1.0, 0.1, 0.0), Counts(3, 3, (), 1000)
    made = plan("max_length=1")
    more = Plan(plan("max_length=1", *other).space, "", external_digests={"other": ""})
    without = span(made, few, pace(made, rate))
    with_them = span(more, replace(few, external={"other": 500}), pace(more, rate))
    assert with_them.maximum - without.maximum == pytest.approx(6 * (0.1 * 500 + BETWEEN))
    unseen = plan("max_length=1", "test=false", *other).space
    assert not any("~" in node for phase in names(phases(unseen, ("scratch",), 3, (), most=True))
                   for node in phase)  # fmt: skip


def test_only_the_chains_are_in_proportion_to_their_number():
    """Four times as many nodes as chains, as with windows; starts and fresh seeds stay."""
    made = plan("max_length=1", "policy=exhaustive")
    known = pace(made, Rate(1.0, 0.0, 0.0))
    once = span(made, Counts(3, 3, (), 1000), known).maximum
    four = span(made, Counts(12, 12, (), 1000), known).maximum
    found = phases(made.space, ("scratch",), 3, (), most=True)
    chains = sum(
        known.seconds(spec, 1000)
        for phase in found.chains for node in phase for spec in made.graph(node)
    )  # fmt: skip
    assert four - once == pytest.approx(3 * chains)


def test_side_by_side():
    assert side_by_side([], 2) == 0
    assert side_by_side([4.0, 2.0], 1) == 6
    assert side_by_side([4.0, 2.0, 2.0], 2) == 4 + 1
    assert side_by_side([4.0, 1.0], 16) == 4


def test_a_budget_of_time_ends_it():
    made = plan("budget=60s")
    slow = pace(made, Rate(50.0, 0.0, 0.0))
    stage, probe, score = made.graph(Node.parse("odc"))
    longest = sum(slow.seconds(spec, 1000) for spec in (stage, probe, score))
    found = span(made, COUNTS, slow).maximum
    assert 60 + CLOSING < found <= 60 + CLOSING + 3 * longest
    assert cost.limit_of(made.space, 1) == 60
    assert cost.limit_of(plan("budget=2gpuh").space, 4) == 1800
    assert cost.limit_of(plan("budget=5").space, 4) is None
    shared = plan("budget=4gpuh", "runtime.groups_per_gpu=4").space
    assert cost.limit_of(shared, 4) == 4 * 3600, "four groups on one GPU"
    wide = plan("budget=4gpuh", "runtime.workers=2").space
    assert cost.limit_of(wide, 2) == 3600, "two groups on four GPUs"


def test_a_budget_of_time_ends_a_search_of_very_many_chains(monkeypatch):
    made = plan("budget=60s")
    monkeypatch.setattr(cost, "MANY", 3)
    slow = pace(made, Rate(50.0, 0.0, 0.0))
    longest = 3 * sum(slow.seconds(spec, 1000) for spec in made.graph(Node.parse("odc")))
    assert span(made, COUNTS, slow).maximum <= 60 + CLOSING + longest


def test_a_smoke_search_is_short_on_any_machine():
    assert surely_short(plan(), COUNTS)
    assert surely_short(plan("profile.steps=20000", "budget=30m"), COUNTS)
    assert not surely_short(plan("profile.steps=20000", "budget=31m"), COUNTS)
    assert not surely_short(Plan(load("isic3", ["profile=cpu", SMOKE[1]]), ""), COUNTS)


def test_the_demonstration_takes_two_slow_cores_less_than_four_minutes():
    """At 40 images a second of Relative Location and 150 of all else: 3:27 at 30 and 120 to 160."""
    space = load("isic3", ["data=demo", "profile=demo", SMOKE[1]])
    assert (space.profile.image_size, space.repeats) == (32, 1)
    assert [space.controls, space.label_curve] == [False, False]
    made, start = Plan(space, ""), 40.0
    longest = made.graph(Node(Chain(tuple(space.tasks))))
    rates = {subject(spec): Rate(16 / 150, 1 / 800, 1 / 800) for spec in longest}
    slow = {subject(longest[0]): Rate(16 / 40, 1 / 800, 1 / 800)}
    known = Pace(rates | slow, 2, start)
    assert start + known.seconds(longest[0], 839) < 90
    assert span(made, Counts(3, 7, (), 839), known).maximum < 240
