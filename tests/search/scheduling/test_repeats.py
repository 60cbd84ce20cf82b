"""Repeats over seeds: who gets how many, and that the order of the scores does not matter."""

import numpy as np
import pytest

from search.chains.node import Node
from search.scheduling import repeats

CHAINS = [Node.parse(text) for text in ("a", "b", "c", "d", "a>b", "a>c", "b>a", "b>c")]
SCRATCH = Node(("scratch",))


def rank(node: Node) -> float:
    return -1.0 if node.chain == SCRATCH.chain else float(CHAINS.index(node.again(0)))


def play(score, chains=CHAINS, seeds=3, failing=()) -> dict[Node, float]:
    """All rounds to their end, the scores of a round told in another order each time."""
    scores = {p: score(p) for p in (SCRATCH, *chains)}
    failed = set()
    rng = np.random.default_rng(0)
    while wanted := repeats.missing(scores, failed, seeds):
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
        "scratch": 3, "a": 1, "b": 1, "c": 1, "d": 1, "a>b": 2, "a>c": 2, "b>a": 3, "b>c": 3,
    }  # fmt: skip


def test_the_schedule_never_leaves_the_leader_without_a_rival():
    assert repeats.schedule(15, 5) == (8, 4, 2, 2)
    assert repeats.schedule(1, 3) == (1, 1)
    assert repeats.schedule(15, 1) == ()


def test_one_seed_repeats_nothing():
    assert repeats.missing({CHAINS[0]: 1.0, SCRATCH: 0.0}, (), 1) == []


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
    means = {
        str(p): np.mean([v for q, v in scores.items() if q.again(0) == p]) for p in CHAINS
    }  # fmt: skip
    assert counts(scores)[max(means, key=means.__getitem__)] == 3


def test_partial_rounds_ask_for_what_they_lack_and_nothing_else():
    """An interrupted round goes on as it began, whatever the scores that it has already."""
    scores = {p: float(place) for place, p in enumerate(CHAINS)}
    whole = repeats.missing(scores, (), 3)
    assert [str(p) for p in whole] == ["a>b#1", "a>c#1", "b>a#1", "b>c#1"]
    part = scores | {whole[0]: -100.0}
    assert repeats.missing(part, (), 3) == whole[1:]


def test_a_failed_repeat_is_not_asked_again():
    broken = Node.parse("b>c#1")
    scores = play(rank, failing={broken})
    assert broken not in scores
    assert Node.parse("b>c#2") in scores


def test_of_two_windows_of_a_chain_the_better_is_repeated():
    low, full = Node.parse("a[low]"), Node.parse("a")
    wanted = repeats.missing({low: 2.0, full: 1.0}, (), 2)
    assert wanted == [low.again(1)]
