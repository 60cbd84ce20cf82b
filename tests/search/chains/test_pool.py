"""The pool in a plan: which stages know it, where it lies, and the control without it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from search.chains.node import Node
from search.chains.plan import Plan
from search.scheduling.cost import Counts
from search.scheduling.finals import planned
from search.scheduling.phases import phases
from search.space import load
from trainables.spec import FurtherData

OPTIONS = ["data=folder", "data.root=/d", "profile=smoke"]
NODE = Node.parse("odc>moco")
Make = Callable[..., Plan]


@pytest.fixture
def plan() -> Make:
    def make(*more: str, pool: str | None = None) -> Plan:
        return Plan(load("isic3", [*OPTIONS, *more]), "d", pool=pool)

    return make


def test_only_pretext_stages_know_the_pool(plan: Make) -> None:
    without, with_it, other = plan(), plan(pool="a"), plan(pool="b")
    assert [spec.data.keys() for spec in with_it.graph(NODE)] == [
        {"pool"}, {"pool"}, {"images"}, {"images"},
    ]  # fmt: skip
    for k, (one, two, three) in enumerate(zip(*(p.graph(NODE) for p in (without, with_it, other)),
                                              strict=True)):  # fmt: skip
        assert len({one.key(), two.key(), three.key()}) == 3, k
    *_, probe, score = with_it.graph(NODE)
    assert probe.data == score.data == {"images": without.stages(NODE)[0].data["pool"]}
    start = Node.parse("scratch")
    assert without.score(start).key() == with_it.score(start).key()


def test_the_control_without_the_pool_is_the_chain_of_a_search_without_one(plan: Make) -> None:
    alone = replace(NODE.again(1000), without_pool=True)
    assert plan(pool="a").graph(alone) == plan().graph(NODE.again(1000))
    assert str(alone) == "odc>moco#1000!pool"
    assert Node.parse(str(alone)) == alone
    ranges = plan().space.ranges
    assert Node.of_config(alone.config(ranges), ranges) == alone
    assert "without_pool" not in NODE.config(ranges)
    assert alone.first() == NODE


def test_further_data_sets_and_where_they_lie(plan: Make) -> None:
    more = ("data.unlabelled=[/u,/v]", "+pool={name: table, root: /t, params: {images: x}}")
    pattern = r"data.params.group_pattern='p(\d+)'"
    made = plan(*more, pattern, pool="a")
    stage = made.stages(NODE)[0]
    folder = FurtherData("folder", {"group_pattern": r"p(\d+)"})
    expected = (folder, folder, FurtherData("table", {"images": "x"}))
    assert stage.data["pool"].spec.unlabelled == expected
    assert made.places(stage) == {"pool": "/d", "pool 0": "/u", "pool 1": "/v", "pool 2": "/t"}
    assert made.places(made.score(NODE)) == {"images": "/d"}
    moved = plan("data.unlabelled=[/w,/x]", more[1], pattern, pool="a")
    assert moved.stages(NODE)[0].key() == stage.key()


def test_the_journal_knows_the_pool_by_its_digest(plan: Make) -> None:
    folder = "data.unlabelled=[/u]"
    assert plan(folder).identity() == plan().identity()
    assert plan(folder, pool="a").identity() == plan("data.unlabelled=[/v]", pool="a").identity()
    assert len({str(plan(pool=pool).identity()) for pool in (None, "a", "b")}) == 3


def test_the_cost_of_the_pool(plan: Make) -> None:
    counts, made = Counts(3, 7, (), 100, 500), plan(pool="")
    alone = replace(NODE, without_pool=True)
    assert [counts.of(spec) for spec in made.graph(NODE)] == [500, 500, 100, 100]
    assert [counts.of(spec) for spec in made.graph(alone)] == [100] * 4
    assert [counts.of(spec) for spec in plan().graph(NODE)] == [100] * 4


def test_one_control_without_the_pool_is_planned_if_asked(plan: Make) -> None:
    space = plan("controls=true", "repeats=2", "max_length=2").space
    extra = [
        str(node)
        for phase in phases(space, ("scratch",), 3, (), most=True, pool=True).later
        for node in phase if node.without_pool
    ]  # fmt: skip
    assert len(extra) == 2
    assert {name.rpartition("#")[2] for name in extra} == {"1000!pool", "1001!pool"}
    (stages, scores), (more, again) = planned(space), planned(space, pool=True)
    assert (more - stages, again - scores) == (2 * 2, 2)
    quiet = plan("controls=false", "repeats=2").space
    assert planned(quiet) == planned(quiet, pool=True)
    assert not any(
        node.without_pool
        for phase in phases(quiet, ("scratch",), 3, (), most=True, pool=True).later
        for node in phase
    )  # fmt: skip
