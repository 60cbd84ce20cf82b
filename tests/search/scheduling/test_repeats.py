"""Repeats over seeds: who gets how many, and that the order of the scores does not matter."""

from statistics import fmean

import numpy as np
import pytest

from search.chains.node import Node
from search.scheduling import repeats
from tests.measures import scored

CHAINS = [Node.parse(text) for text in ("a", "b", "c", "d", "a>b", "a>c", "b>a", "b>c")]
SCRATCH = Node.parse("scratch")


def rank(node: Node) -> float:
    return float(CHAINS.index(node.again(0)))


def highest_mean(scores):
    """Return a policy's recommendation: the chain with the highest mean over the known seeds."""

    def recommend(again):
        chains = sorted((p for p in scores if p.repeat == 0), key=str)
        means = {p: fmean(one.merit for one in (scores[p], *again.get(p, ()))) for p in chains}
        return max(chains, key=lambda p: means[p], default=None)

    return recommend


def missing(merits, failed, seeds, recommended=None) -> list[Node]:
    scores = {p: scored(one, one, one) for p, one in merits.items()}
    always = (lambda _: recommended) if recommended else highest_mean(scores)
    return repeats.rounds(scores, failed, seeds, always)[0]


def leader(merits, seeds) -> Node | None:
    scores = {p: scored(one, one, one) for p, one in merits.items()}
    return repeats.rounds(scores, (), seeds, highest_mean(scores))[1]


def play(score, chains=CHAINS, seeds=3, failing=(), best=None) -> dict[Node, float]:
    """All rounds to their end, the scores of a round told in another order each time."""
    scores = {p: score(p) for p in chains}
    failed = set()
    rng = np.random.default_rng(0)
    while wanted := missing(scores, failed, seeds, best):
        for node in rng.permutation(np.array(wanted, dtype=object)):
            if node in failing:
                failed.add(node)
            else:
                scores[node] = score(node)
    return scores


def counts(scores: dict[Node, float]) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in scores:
        name = str(node.again(0))
        found[name] = found.get(name, 0) + 1
    return found


def test_without_noise_half_get_two_seeds_and_a_quarter_three():
    found = counts(play(rank))
    assert found == {
        "a": 1, "b": 1, "c": 1, "d": 1, "a>b": 2, "a>c": 2, "b>a": 3, "b>c": 3,
    }  # fmt: skip


def test_the_schedule_never_leaves_the_leader_without_a_rival():
    assert repeats.schedule(15, 5) == (8, 4, 2, 2)
    assert repeats.schedule(1, 3) == (1, 1)
    assert repeats.schedule(15, 1) == ()


def test_one_seed_repeats_nothing():
    assert missing({CHAINS[0]: 1.0, CHAINS[1]: 0.0}, (), 1) == []
    assert leader({CHAINS[0]: 1.0, CHAINS[1]: 0.0}, 1) == CHAINS[0]


def test_a_lucky_chain_falls_and_one_that_was_left_behind_gets_its_chance():
    lucky = {"a": 90.0, "b": 89.0, "c": 88.0, "d": 87.0}
    scores = play(lambda p: lucky.get(str(p), 80.0 if str(p) == "b>c" else 60.0))
    assert counts(scores)["b>c"] == 3
    assert counts(scores)["b>a"] == 1


@pytest.mark.parametrize("seed", range(20))
def test_the_leader_has_every_seed(seed):
    rng = np.random.default_rng(seed)
    noise: dict[Node, float] = {}
    scores = play(lambda p: noise.setdefault(p, rng.normal()))
    mean = {
        str(p): np.mean([v for q, v in scores.items() if q.again(0) == p]) for p in CHAINS
    }  # fmt: skip
    best = max(mean, key=mean.__getitem__)
    assert str(leader(scores, 3)) == best
    assert counts(scores)[best] == 3


def test_partial_rounds_ask_for_what_they_lack_and_nothing_else():
    """An interrupted round goes on as it began, whatever the scores that it has already."""
    scores = {p: float(place) for place, p in enumerate(CHAINS)}
    whole = missing(scores, (), 3)
    assert [str(p) for p in whole] == ["a>b#1", "a>c#1", "b>a#1", "b>c#1"]
    part = scores | {whole[0]: -100.0}
    assert missing(part, (), 3) == whole[1:]
    assert leader(part, 3) is None


def test_a_failed_repeat_is_not_asked_again():
    broken = Node.parse("b>c#1")
    scores = play(rank, failing={broken})
    assert broken not in scores
    assert Node.parse("b>c#2") in scores


def test_of_two_windows_of_a_chain_the_better_is_repeated():
    low, full = Node.parse("a[low]"), Node.parse("a")
    wanted = missing({low: 2.0, full: 1.0}, (), 2)
    assert wanted == [low.again(1)]


def test_a_bad_seed_is_no_bad_chain():
    """Seed 1 costs all 20 points: in the rounds, no chain without it overtakes one with it."""
    scores = play(lambda p: rank(p) - 20 * (p.repeat == 1), best=CHAINS[-1])
    assert counts(scores) == counts(play(rank))


def test_what_the_policy_recommends_gets_all_seeds():
    """A model may prefer a chain that the rounds left behind; then that one is the best chain."""
    a, b = CHAINS[0], CHAINS[-1]
    known = {p: scored(rank(p), 0, 99) for p in CHAINS}
    known |= {p.again(k): known[p] for p in CHAINS[4:] for k in (1, 2)}
    asked = []

    def recommend(again):
        asked.append(again)
        return a if len(again.get(b, ())) == 2 else b

    wanted, best = repeats.rounds(known, (), 3, recommend)
    assert (names(wanted), best) == (["a#1", "a#2"], None)
    more = {p: known[a] for p in wanted}
    assert repeats.rounds(known | more, (), 3, recommend) == ([], a)
    assert repeats.rounds(known | {wanted[0]: known[a]}, {wanted[1]}, 3, recommend) == ([], a)


def names(nodes) -> list[str]:
    return [str(node) for node in nodes]


def test_a_chain_that_has_all_seeds_anyway_is_judged_by_them():
    """As a control it got its second seed, and is the better one by both."""
    low, high = Node.parse("a>b"), Node.parse("b>a")
    scores = {low: 10.0, low.again(1): 10.0, high: 9.0, Node.parse("a"): 9.5}
    scores |= {Node.parse("a#1"): 9.5}
    assert leader(scores, 2) == low
    assert leader(scores | {high.again(1): 30.0}, 2) == high


def test_without_a_scored_recommendation_there_is_no_best_chain():
    known = {CHAINS[0]: scored(1.0, 0, 2)}
    assert repeats.rounds(known, (), 1, lambda again: None) == ([], None)
    assert repeats.rounds(known, (), 1, lambda again: CHAINS[1]) == ([], None)
    assert repeats.rounds({}, (), 3, lambda again: None) == ([], None)


def test_fresh_seeds_and_other_labels_choose_nothing():
    texts = ("a", "a#1", "b", "a#1000", "a@0.1", "a#1000@1", "c>c", "scratch#2")
    every = {Node.parse(text): scored(1.0, 0, 2) for text in texts}
    chosen = repeats.selection(every, {Node.parse("a"), SCRATCH})
    assert names(chosen) == ["a", "a#1", "scratch#2"]
    assert repeats.again(chosen).keys() == {Node.parse("a"), SCRATCH}
