"""`out/best/`: the recommended backbone, its model card and a snippet that loads it.

    python out/best/load.py

Of a chain, the weights of its last pretext stage, before fine-tuning; of a start, its own weights;
of `scratch`, the fine-tuned network. All under torchvision's or timm's key names.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

from search.chains import lengths
from search.chains.chain import Chain
from search.chains.node import Node
from search.chains.plan import Plan
from search.console.printable import code, markdown, printable
from search.report import notes, prepared, stored, words
from search.report.stored import Meta, Store
from search.report.summary import Summary, first_key
from search.report.table import Row, number
from search.results.records import RunInfo
from trainables.architectures import ARCHITECTURES
from trainables.storage import SEGMENTER

# What load.py imports, and how it makes the network.
TORCHVISION = (
    "from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet  # noqa: F401",
    """model = ResNet($block, $layers)
    if (CHANNELS, $kernel) != (3, 7):
        model.conv1 = torch.nn.Conv2d(CHANNELS, 64, $kernel, 2, $kernel // 2, bias=False)
    if not $pooled:
        model.maxpool = torch.nn.Identity()
    model.fc = torch.nn.Identity()  # it has no weights; all others must exist""",
)
TIMM = (
    "import timm",
    """sizes = {"dynamic_img_size": True}  # where the network takes images of any size
    try:
        model = timm.create_model(BACKBONE, num_classes=0, in_chans=CHANNELS, **sizes)
    except TypeError:
        model = timm.create_model(BACKBONE, num_classes=0, in_chans=CHANNELS)""",
)
TEMPLATES = Path(__file__).parent
BACKBONE, CARD, SNIPPET = "backbone.safetensors", "model_card.md", "load.py"


@dataclass(frozen=True)
class Weights:
    """What `best/` holds. stage: whose backbone it is; score: the fine-tuning that has its meta."""

    stage: str | None
    score: str | None
    words: str


def write(found: Summary, plan: Plan, store: Store, folder: Path) -> None:
    """Write the recommended to `folder`, the weights first, so that the card is never alone."""
    row = found.winner
    assert row
    weights = chosen(row, store)
    folder.mkdir(parents=True, exist_ok=True)
    meta = stored.meta(store, weights.score)
    source = store.path(weights.stage) / BACKBONE if weights.stage else None
    if source and source.exists():
        shutil.copyfile(source, folder / BACKBONE)
        (folder / SNIPPET).write_text(snippet(plan, row.chain, meta), encoding="utf-8")
    else:  # from an earlier report
        (folder / BACKBONE).unlink(missing_ok=True)
        (folder / SNIPPET).unlink(missing_ok=True)
        weights = replace(weights, words="The store has no weights for it.")
    _copy_segmenter(store, weights.score, folder / SEGMENTER)
    (folder / CARD).write_text(card(row, found, plan, weights, meta), encoding="utf-8")


def _copy_segmenter(store: Store, score: str | None, target: Path) -> None:
    """Copy what draws masks, if the score is one of segmentation; else remove an older one."""
    source = store.path(score) / SEGMENTER if score else None
    if source and source.exists():
        shutil.copyfile(source, target)
    else:
        target.unlink(missing_ok=True)


def chosen(row: Row, store: Store) -> Weights:
    """Return the weights of the first fresh seed, or of the first seed if there is none."""
    score = first_key(row)
    seed = "the first fresh seed" if row.fresh_keys else "the first seed (no fresh one was scored)"
    if not row.is_baseline:
        stage = row.fresh_stage_keys[0] if row.fresh_stage_keys else row.stage_key
        return Weights(stage, score, f"{PRETRAINED} Trained with {seed}.")
    if start := stored.backbone(store, score):
        return Weights(start, score, STORED)
    return Weights(score, score, f"{TUNED} Trained with {seed}.")


def snippet(plan: Plan, chain: str, meta: Meta) -> str:
    """Return load.py, which builds and loads the model; meta: see `stored.meta`."""
    profile = plan.space.profile
    known = ARCHITECTURES.get(profile.backbone)
    network = TORCHVISION if known else TIMM
    channels = plan.space.data.channels
    return Template((TEMPLATES / "load.py.txt").read_text()).substitute(
        chain=ascii(chain),  # a literal, so no name is run as code
        backbone=ascii(profile.backbone),
        imported=network[0],
        made=Template(network[1]).substitute(known._asdict() if known else {}),
        channels=channels,
        size=profile.image_size,
        mean=_numbers(meta.get("mean", [0.0] * channels)),
        std=_numbers(meta.get("std", [1.0] * channels)),
        fit=repr(plan.space.data.fit),
        trim=plan.space.data.trim,
        window=plan.space.data.window,
        side=profile.cache_size,
        prepared=prepared.source(),
        recorded="as it was trained with" if "mean" in meta else "NOT RECORDED: put in your own",
    )


def card(row: Row, found: Summary, plan: Plan, weights: Weights, meta: Meta) -> str:
    """Return the model card in Markdown."""
    info, space, profile = found.info, plan.space, plan.space.profile
    return Template((TEMPLATES / "model_card.md.txt").read_text()).substitute(
        warning=f"> **{markdown(mark)}**\n" if (mark := notes.mark(info)) else "",
        headline=markdown(found.headline),
        what=weights.words,
        notes="".join(f"* {markdown(note)}\n" for note in found.notes) or "None.\n",
        verdicts=markdown(" ".join(filter(None, words.judged(found)))),
        tested=markdown(words.looks(found)),
        chain=code(row.chain),
        space=code(info.space),
        data=code(info.data),
        digest=code(plan.data_digest),
        split=words.split(info, space.data),
        seed=space.seed,
        backbone=printable(profile.backbone),
        preparation=prepared.words(space.data, profile.cache_size),
        size=profile.image_size,
        steps=_steps(row, plan),
        batch=profile.batch,
        precision=profile.precision,
        stages="" if row.is_baseline else STAGES.format(start=row.start, seen=_seen(info)),
        rates=f"{code(row.lrs)} (`*`: at the edge of its range)" if row.lrs else "none",
        downstream_rate=row.downstream_lr,
        measure=found.table.objective.with_unit,
        scores=_scores(row, found),
        labels=f"{profile.label_fraction:.0%}",
        mean=_numbers(meta["mean"]) if "mean" in meta else "not recorded",
        std=_numbers(meta["std"]) if "std" in meta else "not recorded",
        classes=_classes(meta),
        stage=code(weights.stage),
        elsewhere=_elsewhere(found),
    )


def _steps(row: Row, plan: Plan) -> str:
    """Return the lengths of the row's stages in order; of a start what any stage would have."""
    if row.is_baseline:
        return lengths.words(plan.space.profile.steps)
    made = plan.stages(Node(Chain(row.tasks, row.start)))
    return ", ".join(f"{n:,}" for n in dict.fromkeys(spec.trained.steps for spec in made))


def _seen(info: RunInfo) -> str:
    pool = f" and {info.pool.unlabelled} images without a label" if info.pool else ""
    return f"the training split{pool}"


def _elsewhere(found: Summary) -> str:
    """Name the external test sets that have a score."""
    names = ", ".join(code(one.name) for one in found.external)
    return f", but for the external test sets of the report ({names})" if names else ""


STAGES = (
    ", each stage starts from the one before, the first from {start}; pretraining saw {seen} only"
)
PRETRAINED = (
    "Self-supervised backbone, found by searching chains of pretext tasks. It is the state after "
    "the last pretext stage, **before** fine-tuning, without a classifier."
)
STORED = (
    "These are the weights of a start as they were given: no chain that the search trained from "
    "its images was better."
)
TUNED = (
    "No chain was better than no pretraining, so this is the network fine-tuned **from scratch**, "
    "after fine-tuning, without its classifier."
)


def _scores(winner: Row, found: Summary) -> str:
    tested = " test |" if found.test else ""
    lines = [
        f"| | validation, seeds that chose | validation, fresh seeds |{tested}",
        f"| --- | --- | --- |{' --- |' if found.test else ''}",
    ]
    others = [one for one in found.table.finalists if one != winner]
    for row in (winner, *others):
        title = f"**{code(row.chain)}**" if row == winner else code(row.chain)
        fresh = _score(row.fresh_score, row.fresh_low, row.fresh_high)
        test = found.test.get(row.chain)
        on_test = f" {_score(test.value, test.low, test.high) if test else '–'} |" if tested else ""
        lines.append(
            f"| {title} | {_score(row.score, row.ci_low, row.ci_high)} | {fresh} |{on_test}"
        )
    return "\n".join(lines)


def _score(value: float | None, low: float | None, high: float | None) -> str:
    within = "" if low is None or high is None else f" ({number(low)} – {number(high)})"
    return f"{number(value)}{within}"


def _classes(meta: Meta) -> str:
    several = " (an image may have several)" if meta.get("labels") == "many" else ""
    return (", ".join(map(code, meta.get("classes", []))) or "not recorded") + several


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{float(value):.6g}" for value in values) + "]"
