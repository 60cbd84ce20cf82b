"""`out/best/`: the winner's pretrained backbone, its model card and a snippet that loads it.

    python out/best/load.py

The weights are the last pretext stage's, before fine-tuning, under torchvision's key names.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template

from search.chains.chain import BASELINES
from search.chains.plan import Plan
from search.console.printable import code, printable
from search.report import stored
from search.report.stored import Meta, Store
from search.report.summary import Summary
from search.report.table import Row, number
from trainables.architectures import ARCHITECTURES

TEMPLATES = Path(__file__).parent
BACKBONE, CARD, SNIPPET = "backbone.safetensors", "model_card.md", "load.py"


def write(winner: Row, found: Summary, plan: Plan, store: Store, folder: Path) -> None:
    """Write the three files to `folder`, the weights first, so that the card is never alone."""
    assert winner.stage_key, winner
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(store.path(winner.stage_key) / BACKBONE, folder / BACKBONE)
    meta = stored.meta(store, winner.downstream_key)
    (folder / SNIPPET).write_text(snippet(plan, winner.chain, meta), encoding="utf-8")
    (folder / CARD).write_text(card(winner, found, plan, meta), encoding="utf-8")


def snippet(plan: Plan, chain: str, meta: Meta) -> str:
    """Return load.py, which builds and loads the model; meta: see `stored.meta`."""
    profile = plan.space.profile
    block, layers, _ = ARCHITECTURES[profile.backbone]
    channels = plan.space.data.channels
    return Template((TEMPLATES / "load.py.txt").read_text()).substitute(
        chain=ascii(chain),  # a literal, so no name is run as code
        backbone=ascii(profile.backbone),
        block=block,
        layers=layers,
        channels=channels,
        size=profile.image_size,
        mean=_numbers(meta.get("mean", [0.0] * channels)),
        std=_numbers(meta.get("std", [1.0] * channels)),
        recorded="as it was trained with" if "mean" in meta else "NOT RECORDED: put in your own",
    )


def card(winner: Row, found: Summary, plan: Plan, meta: Meta) -> str:
    """Return the model card in Markdown."""
    info, space, profile = found.info, plan.space, plan.space.profile
    return Template((TEMPLATES / "model_card.md.txt").read_text()).substitute(
        warning=DEMO_WARNING if info.demo else "",
        chain=code(winner.chain),
        space=code(info.space),
        data=code(info.data),
        digest=code(plan.data_digest),
        held=f"{space.data.val:.0%} of patient groups (validation), {space.data.test:.0%} (test)",
        seed=space.seed,
        backbone=printable(profile.backbone),
        channels=space.data.channels,
        size=profile.image_size,
        epochs=f"{profile.epochs:g}",
        batch=profile.batch,
        precision=profile.precision,
        rates=code(winner.lrs),
        downstream_rate=winner.downstream_lr,
        measure=found.table.objective.with_unit,
        scores=_scores(winner, found),
        labels=f"{profile.label_fraction:.0%}",
        mean=_numbers(meta["mean"]) if "mean" in meta else "not recorded",
        std=_numbers(meta["std"]) if "std" in meta else "not recorded",
        classes=", ".join(map(code, meta.get("classes", []))) or "not recorded",
        stage=code(winner.stage_key),
    )


DEMO_WARNING = (
    "> **Trained on the built-in demonstration images.** They are drawn by a program; these "
    "weights say nothing about real images and are of no use on them.\n"
)


def _scores(winner: Row, found: Summary) -> str:
    lines = ["| | validation (selected on) | test (held out) |", "| --- | --- | --- |"]
    rows = {f"**{code(winner.chain)}**": winner}
    for title, row in (rows | {name: found.table.row(name) for name in BASELINES}).items():
        value, test = "not run", found.test.get(row.chain if row else "")
        if row and row.score is not None:
            value = _score(row.score, row.ci_low, row.ci_high)
        on_test = _score(test.value, test.low, test.high) if test else "–"
        lines.append(f"| {title} | {value} | {on_test} |")
    if winner.repeat_keys:
        lines += ["", f"Means of {len(winner.seed_scores)} trainings; weights of the first."]
    return "\n".join(lines)


def _score(value: float, low: float | None, high: float | None) -> str:
    return f"{number(value)} ({number(low)} – {number(high)})"


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{float(value):.6g}" for value in values) + "]"
