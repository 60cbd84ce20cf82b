"""External test sets in a space: on the command line, from a file, and all that can be wrong."""

from dataclasses import replace

import pytest
from PIL import Image

from search.chains.images import external_spec
from search.chains.node import Node
from search.chains.plan import Plan
from search.images import Images
from search.space import check_plugins, load
from search.space.origins import explained
from trainables.errors import UserError

SMALL = ("profile=smoke", "data=demo", "data.params.n=320")
CLASSES = ("MEL", "NV")


@pytest.fixture
def folder(tmp_path):
    """Two images of each of two classes."""
    for label in CLASSES:
        for i in range(2):
            place = tmp_path / "other" / label / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (60 * i, 90, 120)).save(place)
    return tmp_path / "other"


def images(folder, *more, root=True):
    given = [f"external.other.root={folder}"] if root else []
    space = load("isic3", [*SMALL, "external.other.name=folder", *given, *more])
    return Images(replace(space, cache=str(folder.parent / "cache")))


def error(folder, *more, root=True):
    with pytest.raises(UserError) as caught:
        images(folder, *more, root=root).check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_two_overrides_name_a_set(folder):
    found = images(folder)
    assert found.space.external["other"].root == str(folder)
    assert found.check() > 0
    assert set(found.digests().external) == {"other"}
    assert len(found.external["other"].table.names) == 4  # no split has to be possible


def test_a_file_of_data_gives_its_defaults():
    space = load("isic3", [*SMALL, "+data@external.other=table", "external.other.root=/x"])
    other = space.external["other"]
    assert (other.name, other.params["csv"], other.root) == ("table", "labels.csv", "/x")
    assert external_spec(space, "other").size == space.profile.cache_size
    said = "\n".join(explained("isic3", ["+data@external.other=table", "external.other.root=/x"]))
    assert "spaces/data/table.yaml" in said


def test_it_decides_nothing_of_the_search():
    plain = load("isic3", SMALL)
    more = load("isic3", [*SMALL, "external.other.name=folder", "external.other.root=/x"])
    node = Node.parse("moco")
    assert Plan(plain, "d").graph(node) == Plan(more, "d", {}, {"other": "e"}).graph(node)
    assert Plan(plain, "d").identity() == Plan(more, "d", {}, {"other": "e"}).identity()


def test_a_stage_reads_the_sets_own_folder():
    space = load("isic3", [*SMALL, "external.other.name=folder", "external.other.root=/x"])
    plan = Plan(space, "d", {}, {"other": "e"})
    node = replace(Node.parse("moco#1000"), external="other")
    assert plan.places(plan.score(node)) == {"external": "/x"}
    assert str(node) == "moco#1000~other"
    assert Node.parse("moco#1000~other") == node
    ranges = space.ranges
    assert Node.of_config(node.config(ranges), ranges) == node
    assert node.first() == Node.parse("moco")


def test_bad_input_is_refused_in_one_line(folder):
    assert "external.other.nme: must be one of " in error(folder, "external.other.nme=1")
    assert "external.other.name=fodler: must be one of " in error(
        folder, "external.other.name=fodler"
    )
    assert "external.other.root=: must be the folder" in error(folder, root=False)
    (folder / "odd").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "odd" / "a.png")
    said = error(folder)
    assert said.startswith("external.other.classes.odd=odd: must be one of MEL, NV,")
    assert images(folder, "+external.other.classes.odd=BCC").check()
    assert images(folder, "+external.other.params.exclude_classes=[odd]").check()
    said = error(folder, "+external.other.params.exclude_classes=[old]")
    assert said.startswith("external.other.params.exclude_classes=old: must be one of")
    said = error(folder, "+external.other.channels=1")
    assert said.startswith("external.other.channels=1: must be data.channels=3")


def test_the_judgement_itself_is_no_downstream_task():
    space = load("isic3", [*SMALL, "downstream.kind=external"])
    with pytest.raises(UserError, match=r"downstream\.kind=external: must be a kind that scores"):
        check_plugins(space)


def test_only_classify_can_be_judged_elsewhere():
    with pytest.raises(UserError, match=r"external\.other: must be left out with downstream\.kind"):
        load("isic3", [*SMALL, "external.other.name=folder", "downstream.kind=probe"])
