"""`index.html`: one self-contained page, to be read, mailed or printed.

Whatever comes from outside (task and class names, reasons, paths) is escaped by `_text`; everything
that is put into the template has passed through it or was written here.
"""

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from search.plan import Plan
from search.report.table import Row, Table, number, yes_no
from search.results import RunInfo

TEMPLATE = Path(__file__).with_name("page.html")
CAPTIONS = {
    "tree": (
        "The tree of chains",
        "Every box is a chain: the path from the left up to it. Its number is the balanced "
        "accuracy after fine-tuning from there; the darker, the better. The orange path leads to "
        "the best chain. Dashed boxes have no number: pruned, failed or not run.",
    ),
    "intervals": (
        "How sure the order is",
        "Dots are balanced accuracies, bars 95 % intervals over resampled groups (lesions, "
        "patients). Chains whose bars overlap widely can't be told apart on this validation set. "
        "Dashed lines are the baselines.",
    ),
    "confusion": (
        "What the best chain confuses",
        "Validation images. A row is a true class: the share of it that was predicted as each "
        "column, with the number of images below. Balanced accuracy is the mean of the diagonal.",
    ),
    "finetuning": (
        "Fine-tuning",
        "Per epoch. The best epoch on validation is kept. Curves that still rise at the end ask "
        "for more epochs.",
    ),
    "lr_ranges": (
        "Learning rates tried",
        "Each line is one stage: the score of a short run at every rate of its range. The marked "
        "rate was trained in full. A triangle lies on the edge of the range: widen the range, the "
        "best rate may be outside. Scores of different tasks can't be compared.",
    ),
}


def render(
    table: Table, plan: Plan, info: RunInfo, summary: Mapping[str, Any], figures: Mapping[str, Path]
) -> str:
    """The whole page as text."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=_text(f"{info.space}: {summary['best_chain'] or 'no chain finished'}"),
        kicker=_text(f"Search {info.space}, {info.started[:10]}"),
        headline=_headline(table),
        lead=_lead(table, info, summary),
        banner=_banner(info),
        cards=_cards(table, info, summary),
        rows="\n".join(_row(row, table) for row in table.rows if row.status != "pruned"),
        explained=_explained(summary),
        figures="\n".join(_figure(name, path) for name, path in figures.items()),
        setup=_definitions(_setup(plan, info)),
        without=_without(table),
        loading=_loading(table),
    )


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _chain(name: str) -> str:
    """A chain as it is written everywhere, allowed to break after its arrows."""
    return f'<span class="chain">{_text(name).replace("&gt;", "&gt;<wbr>")}</span>'


def _headline(table: Table) -> str:
    if table.best is None:
        return "No chain finished, so there is no winner."
    return f"{_chain(table.best.chain)} is the best chain"


def _lead(table: Table, info: RunInfo, summary: Mapping[str, Any]) -> str:
    """The result in plain words, the unwelcome ones too."""
    best = table.best
    if best is None:
        return "Reasons are listed below; the finished stages are kept."
    said = [
        f"It scores {number(best.balanced_accuracy)} % balanced accuracy on validation "
        f"(95 % interval {number(best.ci_low)} to {number(best.ci_high)}).",
        _compared(summary),
        _tested(best, summary),
        "The search was interrupted: chains that were not tried may be better."
        if info.interrupted
        else "",
    ]
    return _text(" ".join(filter(None, said)))


def _compared(summary: Mapping[str, Any]) -> str:
    words = {"scratch": "no pretraining", "imagenet": "ImageNet weights"}
    run = [name for name in words if summary[name] is not None]
    said = [f"{_clause(summary, name)} {words[name]}{_doubt(summary, name)}" for name in run]
    text = f"That is {' and '.join(said)}." if said else ""
    if "scratch" in run and summary["best_score"] <= summary["scratch"]:
        text += " So pretraining did not pay off here."
    return text if "imagenet" in run else f"{text} A comparison with ImageNet weights was not run."


def _clause(summary: Mapping[str, Any], baseline: str) -> str:
    gain = summary["best_score"] - summary[baseline]
    if gain == 0:
        return "level with"
    return f"{number(abs(gain))} points {'above' if gain > 0 else 'below'}"


def _doubt(summary: Mapping[str, Any], baseline: str) -> str:
    paired = summary[f"gain_over_{baseline}"]["val"]
    return " (which chance can explain)" if paired and paired["low"] <= 0 < paired["high"] else ""


def _tested(best: Row, summary: Mapping[str, Any]) -> str:
    found = summary["test"].get(best.chain)
    if not found:
        return ""
    return (
        "On test images that no choice was based on it scores "
        f"{number(found['value'])} % ({number(found['low'])} to {number(found['high'])})."
    )


def _banner(info: RunInfo) -> str:
    if not info.demo:
        return ""
    return (
        '<p class="banner" role="note"><strong>Demonstration data.</strong> These are built-in '
        "demonstration images, drawn by a program: the result says nothing about your data. "
        "Run again with <code>--data PATH</code>.</p>"
    )


def _cards(table: Table, info: RunInfo, summary: Mapping[str, Any]) -> str:
    best = table.best
    cards = [
        (number(best.balanced_accuracy if best else None), "balanced accuracy, %, validation"),
        (_gain(summary, "scratch"), "points over no pretraining"),
        (_gain(summary, "imagenet"), "points over ImageNet"),
        (
            f"{info.stages_trained + info.stages_reused} of {info.stages_naive}",
            f"stages needed of those of naive training; {info.stages_trained} trained now, "
            f"{info.stages_reused} reused",
        ),
        (clock(info.wall_seconds), f"wall time, {info.device}"),
    ]
    made = (f"<li><b>{_text(value)}</b><span>{_text(words)}</span></li>" for value, words in cards)
    return "\n".join(made)


def _gain(summary: Mapping[str, Any], baseline: str) -> str:
    if summary[baseline] is None or summary["best_score"] is None:
        return "not run"
    return number(summary["best_score"] - summary[baseline], signed=True)


def _row(row: Row, table: Table) -> str:
    kind = "winner" if row == table.best else "baseline" if row.is_baseline else ""
    name = f'<th scope="row">{_chain(row.chain)}</th><td>{_text(row.label)}</td>'
    if row.balanced_accuracy is None:
        what = f"{row.status}: {row.reason}" if row.reason else row.status
        return f'<tr class="empty">{name}<td colspan="10">{_text(what)}</td></tr>'
    cells = [
        f"<b>{number(row.balanced_accuracy)}</b>",
        _interval(row, table),
        number(row.delta, signed=True),
        yes_no(row.better_than_scratch),
        yes_no(row.better_than_imagenet),
        number(row.linear),
        number(row.knn),
        _text(" ".join(rate.split()[-1] for rate in row.lrs.split(", ") if rate) or "–"),
        _text(row.downstream_lr or "–"),
        clock(row.train_seconds) if row.train_seconds is not None else "–",
    ]
    classes = ("n", "ci", "n", "c", "c", "n", "n", "lrs", "n", "n")
    cells = [f'<td class="{c}">{cell}</td>' for c, cell in zip(classes, cells, strict=True)]
    return f'<tr class="{kind}">{name}{"".join(cells)}</tr>'


def _interval(row: Row, table: Table) -> str:
    """The interval in figures above a bar on a scale that all rows share."""
    assert row.balanced_accuracy is not None
    assert row.ci_low is not None
    assert row.ci_high is not None
    low = min(one.ci_low or 0 for one in table.scored)
    span = max(max(one.ci_high or 0 for one in table.scored) - low, 1e-9)
    left, right, dot = (
        100 * (value - low) / span for value in (row.ci_low, row.ci_high, row.balanced_accuracy)
    )
    return (
        f"{number(row.ci_low)} – {number(row.ci_high)}"
        '<svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="{left:.1f}" y="2" width="{right - left:.1f}" height="2"/>'
        f'<rect x="{dot - 1:.1f}" y="0" width="2" height="6"/></svg>'
    )


def _explained(summary: Mapping[str, Any]) -> str:
    """What the score goes with, the last task or the label; both, so that neither is assumed."""
    shares = summary["explained"]
    if not shares:
        return ""
    return (
        '<p class="note"><b>What decides?</b> Among the scored chains of two or more tasks, the '
        f"last task alone explains {shares['last_task']:.0f} % of the variance of the score, the "
        f"label (C, AC, MC) alone {shares['label']:.0f} %. The two are not independent.</p>"
    )


def _figure(name: str, path: Path) -> str:
    title, caption = CAPTIONS[name]
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure id="{name}"><h3>{_text(title)}</h3>'
        f'<img alt="{_text(title)}: {_text(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _setup(plan: Plan, info: RunInfo) -> dict[str, str]:
    space, profile = plan.space, plan.space.profile
    ranges = {task.name: task.lr_range for task in space.tasks.values()}
    ranges["fine-tuning"] = space.downstream.lr_range
    return {
        "Data": f"{info.data} (digest {plan.data_digest})",
        "Split": f"grouped and stratified: validation {space.data.val:.0%}, "
        f"test {space.data.test:.0%} of the groups, seed {space.seed}",
        "Policy": f"{info.policy}; {info.stages_pruned} chains pruned",
        "Profile": f"{profile.name}: {profile.backbone}, {profile.image_size} px, "
        f"{profile.precision}, batch {profile.batch}",
        "A stage": f"{profile.epochs:g} epochs, after {profile.lr_epochs:g} at each learning rate",
        "Fine-tuning": f"{profile.downstream_epochs:g} epochs on {profile.label_fraction:.0%} of "
        f"the training labels, {'class-balanced' if space.downstream.class_balanced else 'plain'} "
        "loss; then balanced accuracy on validation",
        "LR ranges": "; ".join(
            f"{name} {', '.join(f'{rate:g}' for rate in rates)}" for name, rates in ranges.items()
        ),
        "Device": info.device,
        "Started": f"{info.started}, {clock(info.wall_seconds)} of wall time"
        + (", interrupted" if info.interrupted else ""),
    }


def _definitions(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in pairs.items())


def _without(table: Table) -> str:
    """Chains without a number, with the reason."""
    rows = [row for row in table.rows if row.balanced_accuracy is None and not row.is_baseline]
    if not rows:
        return "<p>Every chain of the space was trained and scored.</p>"
    lines = (
        f'<tr><th scope="row">{_chain(row.chain)}</th><td>{_text(row.status)}</td>'
        f"<td>{_text(row.reason)}</td></tr>"
        for row in rows
    )
    head = "<tr><th>chain</th><th>state</th><th>reason</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(lines)}</table></div>'


def _loading(table: Table) -> str:
    if table.best is None:
        return "<p>There is nothing to load.</p>"
    return (
        "<p>The pretrained backbone (before fine-tuning, torchvision's key names) lies in "
        "<code>best/</code> beside this report's folder, with a model card.</p>"
        "<pre><code>python best/load.py                     # checks that it loads\n"
        "from load import backbone, preprocess   # in best/\n"
        "features = backbone().eval()(preprocess(images))</code></pre>"
    )


def clock(seconds: float) -> str:
    """`1:02:05` or `2:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
