"""`report.share_images`: a choice of the space that changes no search."""

from dataclasses import replace
from typing import Any

import pytest

from search.space import ReportChoice, load
from trainables.errors import UserError


def test_it_is_a_choice_of_the_space() -> None:
    assert load("isic3", ["data=demo"]).report.share_images is None
    assert load("isic3", ["data=demo", "report.share_images=true"]).report.share_images is True
    with pytest.raises(UserError, match="try share_images"):
        load("isic3", ["data=demo", "report.share_image=true"])
    with pytest.raises(UserError, match=r"report\.share_images=often: must be true"):
        load("isic3", ["data=demo", "report.share_images=often"])


def test_it_changes_no_search(search: Any) -> None:
    plan = search.plan
    shared = replace(plan.space, report=ReportChoice(True))
    assert replace(plan, space=shared).identity() == plan.identity()
