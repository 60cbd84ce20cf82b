"""The final phases: who is trained in which, and that it depends on the scores alone."""

from dataclasses import replace
from random import Random

import pytest

from search.chains.chain import Chain
from search.chains.node import Node
from search.scheduling import repeats
from search.scheduling.finals import Finals, planned
from search.space import load
from tests.measures import scored

SCRATCH, IMAGENET = Node.parse("scratch"), Node(Chain((), "imagenet"))
STARTS = ("scratch", "imagenet")
OPTIONS = ["profile=smoke", "controls=true", "label_curve=true"]


def node(text: str) -> Node:
    return Node.parse(text, STARTS)


def finals(best: str | None, known: dict[str, float], *more: str, tried=()) -> Finals:
    """The state of a search with these scores; the policy asked for all that it could have."""
    scores = {node(text): scored(one, one - 1, one + 1) for text, one in known.items()}
    chosen = {p for p in scores if p == p.first() and p not in (SCRATCH, IMAGENET)}
    chosen |= {Node.parse(text) for text in tried}
    space = load("isic3", [*OPTIONS, *more])
    return Finals(scores, chosen, (SCRATCH, IMAGENET), Node.parse(best) if best else None, space)


def names(nodes: list[Node]) -> list[str]:
    return [*map(str, nodes)]


KNOWN = {
    "scratch": 50.0, "imagenet": 61.0, "odc": 55.0, "moco": 60.0, "relative_location": 58.0,
    "odc>moco": 63.0, "relative_location>moco": 62.0,
}  # fmt: skip


def test_one_control_is_the_best_chain_without_the_pool():
    found = finals("odc>moco", KNOWN, "repeats=2")
    assert found.without_pool() == []
    pooled = replace(found, pool=True)
    assert names(pooled.without_pool()) == ["odc>moco#1000!pool", "odc>moco#1001!pool"]
    assert names(replace(finals("moco", KNOWN), pool=True).without_pool()) == ["moco#1000!pool"]
    assert replace(finals("odc>moco", KNOWN, "controls=false"), pool=True).without_pool() == []
    assert replace(finals(None, KNOWN), pool=True).without_pool() == []
    done = {p: scored(50.0, 49, 51) for p in (*found.controls(), *found.fresh())}
    later = replace(pooled, scores={**found.scores, **done})
    assert later.missing(()) == later.without_pool()


def test_controls_are_the_best_single_as_long_and_the_reverse():
    found = finals("odc>moco", KNOWN)
    assert names(found.controls()) == ["moco>moco", "moco>odc"]
    three = finals("odc>relative_location>moco", KNOWN | {"odc>relative_location>moco": 70.0})
    assert names(three.controls()) == ["moco>moco>moco", "moco>relative_location>odc"]
    again = finals("odc>moco", KNOWN, "repeats=2")
    assert names(again.controls()) == ["moco>moco", "moco>moco#1", "moco>odc", "moco>odc#1"]


def test_a_single_needs_no_controls_and_they_can_be_off():
    assert finals("moco", KNOWN).controls() == []
    assert finals(None, KNOWN).controls() == []
    assert finals("odc>moco", KNOWN, "controls=false").controls() == []


def test_controls_are_of_the_best_chains_own_start():
    known = KNOWN | {"imagenet:odc": 70.0, "imagenet:moco": 65.0, "imagenet:moco>odc": 75.0}
    found = finals("imagenet:moco>odc", known)
    assert names(found.controls()) == ["imagenet:odc>odc", "imagenet:odc>moco"]
    assert names(found.fresh()) == ["imagenet:moco>odc#1000", "imagenet#1000", "scratch#1000"]
    assert names(finals("odc>moco", known).controls()) == ["moco>moco", "moco>odc"]


def test_features_are_judged_on_no_external_set():
    more = ["+external.other={name:folder,root:x}", "baselines.features={panderm:x.parquet}"]
    found = finals("odc>moco", KNOWN, *more)
    features = Node(Chain((), "panderm"))
    known = {**found.scores, features: scored(90.0, 89.0, 91.0)}
    found = replace(found, starts=(*found.starts, features), scores=known)
    assert names(found.fresh())[:2] == ["odc>moco#1000", "panderm#1000"]
    ends = [f"{name}#1000~other" for name in ("odc>moco", "imagenet", "scratch")]
    assert names(found.external())[: len(ends)] == ends
    later = names(found.external())[len(ends) :]
    assert {*later} == {f"{name}~other" for name in KNOWN}, "first seeds, no features"


def test_scores_elsewhere_choose_nothing():
    """The worst chain is by far the best on the external set."""
    found = finals("odc>moco", KNOWN, "+external.other={name:folder,root:x}")
    ranked = names(found._ranked)
    worst = replace(node(ranked[-1]), external="other")
    known = {**found.scores, worst: scored(99.0, 98.0, 99.5)}
    assert names(replace(found, scores=known)._ranked) == ranked
    assert worst not in repeats.selection(known, known)


def test_the_best_single_is_so_by_its_mean():
    lucky = KNOWN | {"relative_location": 60.5, "relative_location#1": 50.0, "moco#1": 59.5}
    assert names(finals("odc>moco", lucky).controls())[0] == "moco>moco"


def test_controls_keep_the_windows():
    known = {"scratch": 50.0, "odc[low]": 60.0, "odc": 59.0, "odc[low]>moco[high]": 65.0}
    found = finals("odc[low]>moco[high]", known)
    assert names(found.controls()) == ["odc[low]>odc[low]", "moco[high]>odc[low]"]


def test_a_reverse_that_was_tried_is_the_policys_best_node_of_it():
    tried = KNOWN | {"moco>odc[low]": 58.0, "moco>odc": 57.0}
    assert names(finals("odc>moco", tried).controls()) == ["moco>moco", "moco>odc[low]"]
    stopped = finals("odc>moco", KNOWN, tried=["moco>odc"])
    assert names(stopped.controls()) == ["moco>moco"]


def test_fresh_seeds_are_of_the_best_chain_and_the_starts():
    found = finals("odc>moco", KNOWN, "repeats=2")
    assert names(found.fresh()) == [
        f"{name}#{seed}" for name in ("odc>moco", "imagenet", "scratch") for seed in (1000, 1001)
    ]


def test_the_leading_start_is_so_by_its_mean():
    known = KNOWN | {"imagenet": 51.0, "imagenet#1": 40.0, "scratch#1": 49.0}
    assert str(finals("moco", known).leading_start) == "scratch"
    assert finals("moco", {"moco": 60.0}).leading_start is None


CURVE = ("0.01", "0.1", "1")


@pytest.mark.parametrize(
    ("fresh", "chains"),
    [
        ({"odc>moco#1000": 62.0, "imagenet#1000": 60.0}, ["odc>moco", "relative_location>moco"]),
        ({"odc>moco#1000": 60.0, "imagenet#1000": 62.0}, ["odc>moco"]),  # the runner-up
        ({"odc>moco#1000": 60.0}, ["odc>moco"]),
    ],
)
def test_the_label_curve_has_the_recommended_its_runner_up_and_the_starts(fresh, chains):
    found = finals("odc>moco", KNOWN | fresh)
    assert names(found.label_curve()) == [
        f"{name}#1000@{labels}" for name in (*chains, "imagenet", "scratch") for labels in CURVE
    ]
    assert finals("odc>moco", KNOWN | fresh, "label_curve=false").label_curve() == []


def test_without_a_start_or_a_runner_up_the_curve_is_shorter():
    alone = finals("moco", {"moco": 60.0, "moco#1000": 59.0})
    assert names(alone.label_curve()) == [f"moco#1000@{labels}" for labels in CURVE]
    starts = finals(None, {"scratch": 50.0})
    assert names(starts.label_curve()) == [f"scratch#1000@{labels}" for labels in CURVE]


def test_neither_controls_nor_fresh_scores_choose():
    """They may be higher than all that the policy tried."""
    more = {"moco>moco": 90.0, "moco>moco#1": 90.0, "odc#1000": 99.0, "odc#1000@1": 99.0}
    scores = {node(k): scored(v, v - 1, v + 1) for k, v in (KNOWN | more).items()}
    plain = finals("odc>moco", KNOWN)
    found = replace(plain, scores=scores)
    assert found.controls() == plain.controls()
    assert found.label_curve() == plain.label_curve()


def play(found: Finals, failed=(), seed=0) -> list[list[str]]:
    """All phases to their end; the scores of a phase arrive in any order."""
    rng, broken, phases = Random(seed), set(), []
    while wanted := found.missing(broken):
        phases.append(sorted(names(wanted)))
        for one in rng.sample(wanted, len(wanted)):
            if str(one) in failed:
                broken.add(one)
            else:
                found = replace(found, scores={**found.scores, one: scored(50.0, 49.0, 51.0)})
    return phases


@pytest.mark.parametrize("seed", range(3))
def test_phases_follow_one_another_whatever_the_order(seed):
    phases = play(finals("odc>moco", KNOWN, "repeats=3"), seed=seed)
    assert [len(phase) for phase in phases] == [2 * 3, 3 * 3, 3 * 3]
    assert phases == play(finals("odc>moco", KNOWN, "repeats=3"))


def test_what_failed_is_not_tried_again():
    failed = {"moco>moco", "odc>moco#1000", "scratch#1000@0.1"}
    phases = play(finals("odc>moco", KNOWN), failed)
    assert [len(phase) for phase in phases] == [2, 3, 3 * 3]


def test_a_phase_that_was_cut_goes_on_with_what_it_lacks():
    found = finals("odc>moco", KNOWN, "repeats=2")
    wanted = found.missing(())
    part = replace(found, scores={**found.scores, wanted[1]: scored(99.0, 98.0, 100.0)})
    assert part.missing(()) == [wanted[0], *wanted[2:]]


@pytest.mark.parametrize(
    ("known", "failed", "said"),
    [
        ({"odc>moco#1000": 60.0, "imagenet#1000": 60.0}, {}, ""),
        ({"odc>moco#1000": 60.0, "scratch#1000": 60.0}, {}, "the budget is spent"),
        ({"imagenet#1000": 60.0}, {"odc>moco#1000": "NaN"}, "odc>moco#1000: NaN"),
    ],
)
def test_what_is_said_of_missing_fresh_seeds(known, failed, said):
    reasons = {node(text): reason for text, reason in failed.items()}
    found = finals("odc>moco", KNOWN | known)
    assert found.fresh_missing(reasons, "the budget is spent") == said


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("more", [[], ["controls=false"], ["label_curve=false"], ["max_length=2"]])
def test_no_more_is_trained_than_planned(repeats, more):
    """The best chain is as long as it can be, and all that it needs is trained once."""
    best = "odc>moco" if "max_length=2" in more else "odc>relative_location>moco"
    known = KNOWN | {best: 70.0} | ({"moco>odc>relative_location": 69.0} if len(best) > 9 else {})
    options = [*more, f"repeats={repeats}", "starts.imagenet=weights.pth"]
    fresh = {f"{best}#1000": 70.0, "imagenet#1000": 60.0}  # it is the recommended
    found = finals(best, known, *options)
    stages, scores = planned(found.space)
    later = finals(best, known | fresh, *options)
    nodes = {*found.controls(), *found.fresh(), *later.label_curve()}
    trained = {part for p in nodes if p.chain.tasks
               for part in replace(p, labels=None).path()} - found.scores.keys()  # fmt: skip
    assert len(nodes) == scores
    assert len(trained) <= stages <= len(trained) + 2
