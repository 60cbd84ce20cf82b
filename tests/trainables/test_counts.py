"""What a step may cost, as counts: no timed test, so nothing here depends on the machine."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from search.chains.node import Node
from tests.trainables import small
from trainables.augment import View
from trainables.backbone import Backbone, group_batch_norm, untracked
from trainables.kinds.pretext import started, train_stage
from trainables.modality import Preset
from trainables.spec import Runtime
from trainables.task import Draw, Task
from trainables.training.feed import Feed
from trainables.training.optimisers import build


class Count(TorchDispatchMode):
    """Values read back from the device: each makes a GPU wait."""

    reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket
        self.reads += name in (torch.ops.aten._local_scalar_dense, torch.ops.aten.is_nonzero)
        return func(*args, **(kwargs or {}))


class Launches(TorchDispatchMode):
    """Operations that reach the device: no views, no allocations. A `_foreach` call is one.

    With one exception: where its arguments differ in shape, it is one for each tensor.
    """

    launches = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, returned = func.overloadpacket.__name__, func._schema.returns
        view = any(one.alias_info and not one.alias_info.is_write for one in returned)
        if not view and not name.startswith("empty"):
            self.launches += self.tensors(args) if "foreach" in name else 1
        return func(*args, **(kwargs or {}))

    def tensors(self, args):
        lists = [some for some in args if isinstance(some, (list, tuple))]
        pairs = zip(*(some for some in lists if torch.is_tensor(some[0])), strict=True)
        return 1 if all(len({x.shape for x in pair}) == 1 for pair in pairs) else len(lists[0])


def launches(action):
    with Launches() as count:
        action()
    return count.launches


class Counting(np.ndarray):
    """Images that count the bytes taken from them."""

    bytes = 0

    def take(self, *args, **kwargs):
        taken = np.asarray(self).take(*args, **kwargs)
        Counting.bytes += taken.nbytes
        return taken

    def __getitem__(self, key):
        raise AssertionError("images are read in one way only")


def ready(data, task):
    stage = small.plan(data).stages(Node.parse(task))[0]
    return started(stage, data, torch.device("cpu"))


def _counted(maps, seen, x):
    seen.append(len(x))
    return maps(x)


@pytest.mark.parametrize("task", small.TASKS)
def test_backbone_forwards_and_readings_of_a_step(data, task):
    step, feed = ready(data, task)
    seen = []
    for name, module in step.task.named_modules():
        if name.endswith("backbone"):
            module.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
            module.maps = partial(_counted, module.maps, seen)
    batch = feed.batch(0)
    with Count() as count:
        step(batch)
    assert (len(seen), sum(seen) / len(batch.index)) == step.task.forwards
    assert count.reads <= step.task.reads


@pytest.mark.parametrize(
    ("task", "groups", "most", "before"),
    [
        ("moco", 1, 340, 668), ("moco", 4, 550, 1088), ("byol", 4, 590, 1180),
        ("swav", 4, 910, 1799), ("odc", 4, 510, 744), ("rotation", 4, 400, 610),
        ("relative_location", 4, 400, 629), ("mim", 4, 400, 605),
    ],
)  # fmt: skip
def test_launches_of_a_step(data, task, groups, most, before):
    """Views, forward, backward, optimiser, averages; before: as on 27 November 2026, at noon."""
    more = [] if task in small.TASKS else [f"+task@tasks.{task}={task}"]
    plan = small.plan(data, f"profile.bn_groups={groups}", "profile.batch=16", *more)
    step, feed = started(plan.stages(Node.parse(task))[0], data, torch.device("cpu"))
    step(feed.batch(0))
    batch = feed.batch(1)
    assert launches(lambda: step(batch)) <= most < before


@pytest.mark.parametrize(("groups", "most", "before"), [(1, 50, 159), (4, 100, 315)])
def test_launches_of_a_network_with_running_statistics(groups, most, before):
    """A forward pass of ResNet-10; before: its twelve BatchNorms updated theirs one by one."""
    network = Backbone("resnet10").train()
    group_batch_norm(network, groups)
    x = torch.rand(8, 3, 32, 32)
    found = launches(lambda: network(x))
    assert found <= most < before
    assert launches(lambda: untracked(network)(x)) <= found - groups - 5


def test_launches_of_two_views():
    """Crop, flips, rotation, colours, blur; before: 212 for two views, made one by one."""
    preset = Preset(True, True, 180, 0.4, 0.4, 0.4, 0.1, grayscale=0.2, blur=0.5)
    view = View(preset, (0.5,) * 3, (0.2,) * 3, 64, (0.2, 1.0))
    images = torch.zeros(4, 3, 96, 96, dtype=torch.uint8)
    assert launches(lambda: view(images, Draw(0, 0, 4, "cpu"), 2)) <= 112 < 212


def test_launches_of_lars():
    """ResNet-10 has 36 parameters, 12 of them weights; before: 16 launches a parameter, 578."""
    network = Backbone("resnet10").train()
    optimizer = build("lars", Task.parameter_groups(network), 0.1, 1e-4)
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    assert launches(optimizer.step) <= 12 + 24 < 578


def test_a_step_reads_the_bytes_of_its_images_once(data):
    watched = small.replace(data, images=data.images.view(Counting))
    feed = Feed(watched, data.split["train"], 16, 0, torch.device("cpu"))
    Counting.bytes = 0
    steps = 5
    for step in range(steps):
        feed.batch(step)
    feed._pool.shutdown()
    one = np.prod(data.images.shape[1:])
    assert Counting.bytes == (steps + 1) * 16 * one  # one batch is read ahead


def test_what_was_read_ahead_changes_nothing(data):
    def feed():
        return Feed(data, data.split["train"], 16, 0, torch.device("cpu"))

    inorder, back = feed(), feed()
    batches = [inorder.batch(step) for step in range(4)]
    for step in (3, 1, 0, 2):
        batch = back.batch(step)
        assert torch.equal(batch.images, batches[step].images)
        assert torch.equal(batch.index, batches[step].index)
    rows = data.split["train"][batches[0].index.numpy()]
    assert np.array_equal(batches[0].images.permute(0, 2, 3, 1).numpy(), data.images[rows])


def test_a_stage_writes_its_result_and_few_checkpoints(data, tmp_path, monkeypatch):
    renamed, original = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (renamed.append(b), original(a, b))[1])
    stage = small.plan(data).stages(Node.parse("relative_location"))[0]
    train_stage(stage, Runtime(threads=1), data, None, tmp_path, lambda _: None)
    assert renamed == []  # shorter than `checkpoint_seconds`
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"backbone.safetensors", "history.json"}


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="no /proc/self/smaps here")
def test_two_processes_share_the_pages_of_the_cache(data):
    code = (
        "import sys, numpy as np; images = np.load(sys.argv[1], mmap_mode='r'); images.sum()\n"
        "print('read', flush=True); sys.stdin.readline()\n"
        "kb, inside = {}, False\n"
        "for line in open('/proc/self/smaps'):\n"
        "    key, _, rest = line.partition(':')\n"
        "    if '-' in key.split(' ')[0]: inside = sys.argv[1] in line\n"
        "    elif inside and key in ('Rss', 'Pss', 'Private_Dirty'):\n"
        "        kb[key] = int(rest.split()[0])\n"
        "print(kb['Rss'], kb['Pss'], kb['Private_Dirty'], flush=True); sys.stdin.readline()\n"
    )
    run = [sys.executable, "-c", code, os.path.realpath(data.images.filename)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(run, **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "read\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
        whole, share, own = map(int, process.stdout.readline().split())
        assert whole > 0.9 * data.images.nbytes / 1024
        assert share <= 0.55 * whole
        assert own == 0
    for process in both:
        process.communicate("\n")
