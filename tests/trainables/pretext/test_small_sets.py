"""What a task says of too few images can be followed."""

import pytest
from pretext_harness import context, params

from trainables.errors import UserError


def said(name, **known):
    with pytest.raises(UserError) as raised:
        params(name).check(context(**known))
    return str(raised.value)


def test_mocos_batch_is_whole_groups():
    """Of 28 images a queue holds 7: three groups of 2."""
    line = said("moco", images=28, global_batch=28, bn_groups=2)
    assert line.startswith("profile.batch=28: must be at most 7 for moco")
    assert line.endswith("; try 6 or less")
    params("moco").check(context(images=28, global_batch=6, bn_groups=2))


def test_moco_is_left_out_where_no_batch_fits():
    line = said("moco", images=15, global_batch=4, bn_groups=2)
    assert line.startswith("tasks.moco: must have 16 images or more")
    assert line.endswith("and there are 15; try '~tasks.moco'")
    params("moco").check(context(images=16, global_batch=4, bn_groups=2))


def test_odc_is_left_out_where_no_two_clusters_fit():
    line = said("odc", images=3)
    assert line.startswith("tasks.odc: must have 4 images or more")
    assert line.endswith("and there are 3; try '~tasks.odc'")
    params("odc").check(context(images=4))
