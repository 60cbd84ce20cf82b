"""Which recipe of a pretext task pays per second? All train as long; their features are probed.

    python tests/benchmarks/arms.py --data PATH --out DIR stems --minutes 20 --seeds 0,1   # resumes
    python tests/benchmarks/arms.py --data PATH --out DIR colours --steps 1000 --threads 2
    python tests/benchmarks/arms.py --data PATH --out DIR grids --minutes 12
    python tests/benchmarks/arms.py --out DIR stems --minutes 0.1 profile=smoke            # a try

Arms times seeds times minutes, on one core, or equally many steps. A stage starts from random
weights at the middle rate of its task, or at --rate; the probes are those of a search, judged on
validation, in % with 95 % intervals. The curve is macro AUROC of the probes on the way,
cross-validated on labelled training images. The first twenty steps tell how many fit into the
minutes. DIR keeps what is finished by arm and seed: take another one for other lengths, rates or
overrides. Measured results: recipes.md.
"""

import argparse
import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from search.chains.images import data_spec  # noqa: E402
from search.chains.node import Node  # noqa: E402
from search.chains.plan import Plan  # noqa: E402
from search.space import hardware, load  # noqa: E402
from trainables.errors import StageFailed  # noqa: E402
from trainables.images.cache import Prepared, open_cache, prepare  # noqa: E402
from trainables.kinds import Work  # noqa: E402
from trainables.kinds.pretext import train_stage  # noqa: E402
from trainables.kinds.probe import Plugin as Probe  # noqa: E402
from trainables.pretext import moco  # noqa: E402
from trainables.spec import BACKBONE, IMAGES, Runtime, StageSpec, Training  # noqa: E402
from trainables.task import Batch  # noqa: E402

PUBLISHED = "{brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, grayscale: 0.2}"
BYOLS = "{brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1, grayscale: 0.2}"
STRONG = "{brightness: 0.8, contrast: 0.8, saturation: 0.8, hue: 0.2, grayscale: 0.2}"
BRIGHT = "{brightness: 0.4, contrast: 0.4}"
PLANCKIAN = "{brightness: 0.4, contrast: 0.4, planckian: true}"
GRID = "tasks.relative_location.params"
LARS = ["tasks.byol.optimizer=lars", "tasks.byol.lr_range=[0.45]"]
ARMS: dict[str, tuple[str, dict[str, list[str]]]] = {  # task and overrides by arm
    "stems": ("moco", {
        "7 x 7, pooled, 64 px": [],
        "3 x 3, not pooled, 64 px": ["profile.backbone=resnet10_small"],
        "7 x 7, pooled, 112 px": ["profile.image_size=112"],
    }),
    "colours": ("moco", {
        "the modality's (now)": [],
        "MoCo v2's": [f"data.augment.tasks.moco={PUBLISHED}"],
        "SimCLR's": [f"data.augment.tasks.moco={STRONG}"],
        "brighter": [f"data.augment.tasks.moco={BRIGHT}"],
        "Planckian": [f"data.augment.tasks.moco={PLANCKIAN}"],
    }),
    "greys": ("moco", {
        "the modality's (now)": [],
        "MoCo v2's": [f"data.augment.tasks.moco={BRIGHT}"],
    }),
    "byol": ("byol", {
        "the modality's (now)": ["+task@tasks.byol=byol"],
        "BYOL's": ["+task@tasks.byol=byol", f"data.augment.tasks.byol={BYOLS}"],
    }),
    "swav": ("swav", {
        "the modality's (now)": ["+task@tasks.swav=swav"],
        "SwAV's": ["+task@tasks.swav=swav", f"data.augment.tasks.swav={STRONG}"],
    }),
    "losses": ("moco", {
        "symmetric (now)": [],
        "one-sided": [],
    }),
    "averages": ("moco", {
        "of a tenth of the run (now)": [],
        "of 1,000 steps": [],
    }),
    "queues": ("moco", {
        "a quarter of the images (now)": [],
        "16 batches": ["tasks.moco.params.queue=512"],
    }),
    "positives": ("moco", {
        "of one image (now)": [],
        "of one patient": ["tasks.moco.params.positives=group"],
    }),
    "rotation": ("rotation", {"now": ["+task@tasks.rotation=rotation"]}),
    "lars": ("byol", {
        "SGD (now)": ["+task@tasks.byol=byol"],
        "LARS": ["+task@tasks.byol=byol", *LARS],
    }),
    "grids": ("relative_location", {
        "now": [],
        "as before": [f"{GRID}.border=0.15", f"{GRID}.crop=0.7"],
        "OpenSelfSup's": [f"{GRID}.border=0", f"{GRID}.crop=0.873"],
    }),
}  # fmt: skip
TIMED = 20  # steps
CURVE = 4  # probes on the way


def one_sided(self: moco.Plugin, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """MoCo's loss as published: of the first view's query only, on one process."""
    self.update_key_encoder(batch.step)
    first, second = self.view(batch.images, batch.draw, 2).unflatten(0, (-1, 2)).unbind(1)
    queries = F.normalize(self.head(self.backbone(first)).float())
    keys, negatives = self.keys(second, batch.draw), self.queue.clone()
    own = batch.index[:, None] == self.queue_index
    logits = moco.info_logits(queries, keys, negatives, own, self.params.temperature)
    twice, others = (x[:, None].expand(-1, 2, -1) for x in (queries, keys))
    fresh = moco.among(twice, others, 0, self.params.temperature)
    self.enqueue(keys, batch.index)
    accuracy = (logits.argmax(1) == 0).float().mean()
    loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))
    return loss, {"accuracy": accuracy, "batch_loss": fresh}


REPLACED = {  # what of the product, by arm
    "one-sided": (moco.Plugin, "forward", one_sided),
    "of 1,000 steps": (moco, "follow_weight", lambda *_: 1e-3),
}


def measure(
    plan: Plan, task: str, data: Prepared, args: argparse.Namespace, out: Path
) -> dict[str, object]:
    """Train the task as long as told and probe its features on validation."""
    (stage,) = plan.stages(Node.parse(task))
    stage = _at(stage, TIMED, args.rate)
    out.mkdir(parents=True, exist_ok=True)
    runtime = Runtime(threads=args.threads, log_every=10, checkpoint_seconds=60)
    count = out / "steps.json"
    if not count.exists():
        count.write_text(json.dumps(args.steps or _fitting(stage, data, args.minutes, runtime)))
    training = replace(stage.trained, steps=json.loads(count.read_text()), curve=CURVE)
    spec = replace(stage, training=training)
    try:
        known = train_stage(spec, runtime, data, None, out, lambda _: None, labelled=data)
    except StageFailed as failed:
        return {"failed": str(failed)}
    probe = plan.probe(Node.parse(f"{task}@1"))
    assert probe
    work = Work(probe, runtime, out, lambda _: None, {IMAGES: data}, {BACKBONE: out})
    measures = Probe().run(work).score
    assert measures
    shown = {name: [one.value, one.low, one.high] for name, one in measures.measures.items()}
    rows = json.loads((out / "history.json").read_text())["probes"]
    curve = {row["step"]: round(row["macro_auroc"], 2) for row in rows}
    return {"steps": known["steps"], "seconds": known["seconds"], "curve": curve, **shown}


def _fitting(stage: StageSpec, data: Prepared, minutes: float, runtime: Runtime) -> int:
    with TemporaryDirectory() as folder:
        known = train_stage(stage, runtime, data, None, Path(folder), lambda _: None)
    per_second = known["images_per_second"] / stage.trained.global_batch
    return max(1, round(60 * minutes * per_second))


def _at(stage: StageSpec, steps: int, rate: float | None) -> StageSpec:
    """Return the stage at one rate (None: the middle of its range), without probes on the way."""
    training: Training = stage.trained
    rates = training.lr.range
    lr = replace(training.lr, range=(rate or rates[len(rates) // 2],), judge="pretext")
    return replace(stage, training=replace(training, steps=steps, lr=lr, curve=0))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare recipes that train equally long.")
    parser.add_argument("what", choices=ARMS)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--data", type=Path, metavar="PATH")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, help="of a stage, in place of --minutes")
    parser.add_argument("--rate", type=float, help="for 256 images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", default="0", metavar="N,...")
    args = parser.parse_intermixed_args()
    torch.set_num_threads(args.threads)
    task, arms = ARMS[args.what]
    usual = ["data=demo"] if args.data is None else []
    for seed in map(int, args.seeds.split(",")):
        for number, (name, own) in enumerate(arms.items()):
            given = ["profile.cache_size=256", *usual, *args.overrides, *own]
            space = hardware.resolve(load("isic3", given), 0)
            data = open_cache(prepare(data_spec(space), args.data, args.out / "cache"))
            plan = Plan(replace(space, seed=seed), data.digest, count=len(data.split["train"]))
            out = args.out / args.what / f"{number}-{seed}"
            file = out / "row.json"
            if not file.exists():
                other = REPLACED.get(name)
                with mock.patch.object(*other) if other else nullcontext():
                    row = measure(plan, task, data, args, out)
                file.write_text(json.dumps(row))
            print(f"{args.what} | {name} | seed {seed} | {file.read_text()}", flush=True)


if __name__ == "__main__":
    main()
