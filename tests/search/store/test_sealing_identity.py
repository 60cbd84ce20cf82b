"""A manifest holds every field of a specification, its key not those that are younger."""

from dataclasses import asdict, replace

import pytest

from search.chains.node import Node
from tests.trainables import small
from trainables.spec import FurtherData, KnownData, StageSpec, digest, identity_of


@pytest.fixture
def stage() -> StageSpec:
    from search.chains.plan import Plan

    return Plan(small.space(), "d").stages(Node.parse("odc"))[0]


def test_a_written_specification_hashes_to_its_key(stage):
    known = stage.data["pool"]
    more = (FurtherData("folder", {"fit": "crop", "unlabelled": None}),)
    changed = [replace(known.spec, **one) for one in ({}, {"fit": "pad"}, {"unlabelled": more})]
    for spec in changed:
        made = replace(stage, data={"pool": KnownData(spec, known.digest)})
        assert made.key().endswith(f"-{digest(identity_of(asdict(made)))}")
