"""Masks in a plan: the fine-tuning knows them, no pretext stage does; where they lie."""

from search.chains.node import Node
from search.chains.plan import Plan
from search.space import load

NODE = Node.parse("odc>moco")


def plan(*more: str, masks: str | None = None) -> Plan:
    given = ["data=isic2019", "data.root=/d", "profile=smoke", *more]
    return Plan(load("isic3", given), "d", masks=masks)


def test_masks_that_are_added_later_leave_all_but_the_fine_tuning_as_it_was():
    without, with_them = plan().graph(NODE), plan(masks="m").graph(NODE)
    *before, score = without
    *after, measured = with_them
    assert [one.key() for one in before] == [one.key() for one in after]
    assert score.key() != measured.key()
    known = measured.data["masks"]
    assert (known.digest, known.spec.masks) == ("m", True)
    assert measured.data["images"] == score.data["images"]
    assert plan(masks="n").score(NODE).key() != measured.key()


def test_a_worker_is_told_where_the_masks_lie():
    own = plan(masks="m")
    assert own.places(own.score(NODE)) == {"images": "/d", "masks": "/d"}
    given = plan("data.masks=/m/CheXpert.csv", masks="m")
    score = given.score(NODE)
    assert given.places(score) == {"images": "/d", "masks": "/d", "masks 0": "/m/CheXpert.csv"}
    assert score.key() == own.score(NODE).key(), "where they lie is no part of a key"
    assert score.data["masks"].spec.places == 1
    assert score.data["images"].spec.places == 0


def test_the_journal_knows_the_masks_by_their_digest():
    assert plan().identity() == plan("data.masks=/m").identity()
    assert plan(masks="m").identity() != plan().identity()
    assert plan(masks="m").identity() == plan("data.masks=/m", masks="m").identity()
