"""The images' specification: parameters that came later change no key while they are null."""

import pytest

from search import space
from search.chains.images import data_spec


@pytest.mark.parametrize(
    ("data", "params"),
    [
        ("isic2019", {"exclude_classes": []}),
        ("demo", {"exclude_classes": [], "n": 1400, "size": 96, "seed": 0}),
        (
            "folder",
            {
                "exclude_classes": [], "groups_csv": None, "image_column": "image",
                "group_column": "group",
            },
        ),
        (
            "table",
            {
                "exclude_classes": [], "images": "images", "csv": "labels.csv",
                "image_column": "image", "label_column": "label", "group_column": "group",
            },
        ),
    ],
)  # fmt: skip
def test_null_is_as_before_there_was_the_parameter(data, params):
    assert data_spec(space.load("isic3", [f"data={data}", "data.root=x"])).params == params


def test_a_value_is_kept():
    made = space.load("isic3", ["data=table", "data.root=x", "data.params.classes={A:[b,2]}"])
    assert data_spec(made).params["classes"] == {"A": ["b", 2]}
