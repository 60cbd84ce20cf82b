"""The lines of a dry run that say what a data set was understood to be."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from search.console.understood import Understood as Shown
from search.console.understood import in_words
from trainables.data import Table
from trainables.data._understood import Count, LeftOut, TableRead, Understood
from trainables.images.forms import Forms

FOUND = Understood(
    classes={"a": Count(7, 3), "b": Count(5, 5)},
    patient_groups=8,
    largest_group="P1",
    largest_images=2,
    unlabelled=9,
    given_split={},
    left_out=(LeftOut("masks", 5, ("x", "y", "z")), LeftOut(".gif files", 2)),
    tables=(TableRead("labels.csv", 12, "UTF-16", "tab", {"image": "file", "label": "dx"}),),
    notes=("a note",),
)
NAMES = tuple(map(str, range(12)))
TABLE = Table(NAMES, np.array([0] * 7 + [1] * 5), NAMES, ("a", "b"))
SPLIT = {"train": np.arange(1, 9), "val": np.array([0, 9]), "test": np.array([10, 11])}
FORMS = Forms({"JPEG RGB": 11, "PNG L": 1}, 1, (200, 150), (200, 150), (200, 150), 12)
SHOWN = Shown(FOUND, TABLE, SPLIT, "it leaks", FORMS, ("a finding",), Path("images.html"))


def test_every_subject_has_its_line():
    assert list(SHOWN.lines()) == [
        "table     labels.csv: 12 rows, UTF-16, by tab; image=file, label=dx",
        "class     a: 7 images of 3 patient groups; 6 train, 1 val, 0 test",
        "class     b: 5 images of 5 patient groups; 2 train, 1 val, 2 test",
        "groups    8 patient groups; the largest, P1, has 2 images",
        "split     8 train, 2 val, 2 test; drawn",
        "images    11 JPEG RGB, 1 PNG L; 200 x 150 px",
        "unlabelled 9 images, which no task sees",
        "left out  5 masks (x, y, z, ...)",
        "left out  2 .gif files",
        "note      a note",
        "note      it leaks",
        "note      a finding",
        "shown     images.html, with three images of every class",
    ]


def test_sizes_in_words():
    many = replace(FORMS, sizes=3, largest=(600, 450), commonest_images=10)
    assert in_words(many) == (
        "11 JPEG RGB, 1 PNG L; 3 sizes from 200 x 150 to 600 x 450 px, most often 200 x 150 "
        "(10 images)"
    )


def test_a_patient_of_many_images_is_asked_about():
    giant = replace(SHOWN, found=replace(FOUND, largest_group="0", largest_images=6))
    assert giant.groups().endswith("the largest, 0, has 6 images, 50% of all; is it one patient?")


def test_many_classes_stay_few_lines():
    counts = {f"c{i}": Count(3, 3) for i in range(30)}
    many = Understood(counts, 90, "x", 1, 0, {}, (), (), ())
    table = replace(TABLE, labels=np.arange(12), classes=tuple(counts))
    lines = list(Shown(many, table, SPLIT, "").lines())
    assert lines[19:21] == [
        "class     c19: 3 images of 3 patient groups; 0 train, 0 val, 0 test",
        "class     and 10 more classes",
    ]
    assert "every image is its own patient group" in lines[21]


def test_it_is_written_as_json():
    found = json.loads(json.dumps(SHOWN.as_json()))["understood"]
    assert found["split"] == {"train": 8, "val": 2, "test": 2}
    assert found["split_by_class"]["b"] == {"train": 2, "val": 1, "test": 2}
    assert found["forms"]["modes"] == {"JPEG RGB": 11, "PNG L": 1}
    assert found["page"] == "images.html"
