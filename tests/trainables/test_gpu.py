"""What only a GPU can show. Nothing here needs `search` or Ray: see tests/gpu/check.sh."""

import warnings
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from trainables.backbone import group_batch_norm
from trainables.bench.pipelines import Ours
from trainables.bench.recipes import Recipes
from trainables.images.cache import open_cache, prepare
from trainables.plugins import available
from trainables.training import feed
from trainables.training.feed import Feed

CPU, GPU = torch.device("cpu"), torch.device("cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@contextmanager
def waiting_forbidden():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # says that the mode misses some
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(scope="module")
def recipes():
    return Recipes("smoke", GPU)


@pytest.fixture(scope="module")
def data(recipes, tmp_path_factory):
    spec = replace(recipes.data("demo"), params={"n": 320, "size": 32})
    return open_cache(prepare(spec, None, tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("task", available("trainables.pretext"))
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nothing_in_a_step_makes_a_gpu_wait(recipes, data, task, precision):
    stage = recipes.stage(task, recipes.data("demo"), data)
    stage = replace(stage, training=replace(stage.training, precision=precision))
    pipeline = Ours(stage, data, GPU)
    pipeline.step()
    with waiting_forbidden():
        rows = [pipeline.step() for _ in range(2)]
    assert all(row["loss"].isfinite() for row in rows)


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_those_of_a_cpu(data, monkeypatch, resident):
    """Read ahead on another stream, through pinned memory, or from all images on the device."""
    monkeypatch.setattr(feed, "fits", lambda _, device: resident and device == GPU)
    feeds = [Feed(data, data.split["train"], 32, 0, device) for device in (GPU, CPU)]
    for step in (0, 1, 2, 7):
        ours, theirs = (one.batch(step) for one in feeds)
        assert torch.equal(ours.images.cpu(), theirs.images)
        assert torch.equal(ours.index.cpu(), theirs.index)


@pytest.mark.parametrize("groups", [1, 4])
def test_grouped_batch_norm_is_that_of_a_cpu(groups):
    x = torch.randn(16, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    found = {}
    for device in (GPU, CPU):
        norm = torch.nn.BatchNorm2d(8).to(device)
        group_batch_norm(norm, groups)
        out = norm(x.to(device))
        out.square().mul(x.to(device)).sum().backward()
        found[device] = [out, norm.running_mean, norm.running_var, norm.weight.grad]
    for ours, theirs in zip(found[GPU], found[CPU], strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-3, atol=1e-4)
