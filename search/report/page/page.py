"""`index.html`: one self-contained page, to read, mail or print.

Untrusted text (task and class names, reasons, paths) is escaped by `text`; the template gets only
escaped text and markup written here.
"""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

from search.chains.chain import IMAGENET, SCRATCH
from search.chains.plan import Plan
from search.report import duplicates, words
from search.report.page import captions, markup, sections
from search.report.page.markup import text
from search.report.table import Table, number
from search.report.words import clock
from search.results.records import RunInfo
from search.space import Downstream, TaskChoice

TEMPLATE = Path(__file__).with_name("page.html")
Summary = Mapping[str, Any]


def render(
    table: Table, plan: Plan, info: RunInfo, summary: Summary, figures: Mapping[str, Path]
) -> str:
    """Render the page as HTML. figures: name -> PNG file."""
    drawn = {name: _figure(name, path, table, summary) for name, path in figures.items()}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        {f"figure_{name}": drawn.get(name, "") for name in captions.READING},
        title=text(f"{info.space}: {summary['best_chain'] or 'no chain finished'}"),
        kicker=text(f"Search {info.space}, {info.started[:10]}"),
        headline=_headline(table),
        lead=text(words.conclusion(table, info, summary)),
        banner=_banner(info),
        cards=_cards(table, info, summary),
        chains=sections.chains(table),
        details=sections.details(table),
        sure=text(words.ties(table)),
        test=sections.test(table, summary),
        factors=sections.factors(summary),
        correlations=sections.correlations(summary),
        course=text(words.course(summary)),
        overhead=text(words.overhead(info)),
        setup=markup.definitions(_setup(plan, info)),
        caveats="\n".join(f"<li>{text(one)}</li>" for one in _caveats(table, plan, info, summary)),
        without=sections.without(table),
        loading=_loading(table),
    )


def _headline(table: Table) -> str:
    if table.best is None:
        return "No chain finished, so there is no winner."
    return f"{markup.chain(table.best.chain)} scored best"


def _banner(info: RunInfo) -> str:
    said = words.incomplete(info)
    incomplete = f'<p class="banner" role="note">{text(said)}</p>' if said else ""
    if not info.demo:
        return incomplete
    return incomplete + (
        '<p class="banner" role="note"><strong>Demonstration data.</strong> These are built-in '
        "demonstration images, drawn by a program: the result says nothing about your data. "
        "Run again with <code>--data PATH</code>.</p>"
    )


def _cards(table: Table, info: RunInfo, summary: Summary) -> str:
    best = table.best
    chains = sum(not row.is_baseline for row in table.scored)
    cards = [
        (number(best.balanced_accuracy if best else None), "balanced accuracy, %, validation"),
        (_gain(summary, SCRATCH), f"points over no pretraining{_doubt(table, SCRATCH)}"),
        (_gain(summary, IMAGENET), f"points over ImageNet{_doubt(table, IMAGENET)}"),
        (
            f"{len(table.tied)} of {chains}" if table.tied else "–",
            "chains that can't be told apart at the top, the winner included",
        ),
        (
            f"{info.stages_trained + info.stages_reused - info.stages_repeats} of "
            f"{info.stages_naive}",
            "stages needed, of those of naive training"
            + (f", {info.stages_repeats} more for repeats" if info.stages_repeats else "")
            + f"; {info.stages_trained} trained now, {info.stages_reused} reused",
        ),
        (clock(info.wall_seconds), f"wall time, {info.device}"),
    ]
    made = (f"<li><b>{text(value)}</b><span>{text(words)}</span></li>" for value, words in cards)
    return "\n".join(made)


def _gain(summary: Summary, baseline: str) -> str:
    if summary[baseline] is None or summary["best_score"] is None:
        return "not run"
    return number(summary["best_score"] - summary[baseline], signed=True)


def _doubt(table: Table, baseline: str) -> str:
    row = table.row(baseline)
    return ", which chance can explain" if row and row.tied else ""


def _figure(name: str, path: Path, table: Table, summary: Summary) -> str:
    title, reading = captions.READING[name]
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure id="{name}"><h3>{text(title)}</h3>'
        f'<img alt="{text(captions.alt(name, table, summary))}" '
        f'src="data:image/png;base64,{data}">'
        f"<figcaption><b>How to read it.</b> {text(reading)}</figcaption></figure>"
    )


def _setup(plan: Plan, info: RunInfo) -> dict[str, str]:
    space, profile = plan.space, plan.space.profile
    ranges = {task.name: task.lr_range for task in space.tasks.values()}
    ranges["fine-tuning"] = space.downstream.lr_range
    return {
        "Data": f"{info.data} (digest {plan.data_digest})",
        "Split": f"by patient group, stratified: validation {space.data.val:.0%}, "
        f"test {space.data.test:.0%} of the patient groups, seed {space.seed}",
        "Duplicates": duplicates.sentence(info.near_duplicates),
        "Chains": f"up to {space.max_length} of the tasks {', '.join(space.tasks)}",
        "Policy": f"{info.policy}; {info.stages_pruned} chains pruned",
        "Seeds": f"{space.seed}"
        + (
            f" to {space.seed + space.repeats - 1}, the later ones for contenders and baselines"
            if space.repeats > 1
            else ""
        ),
        "Budget": f"{info.budget or 'none'}{', spent' if info.budget_spent else ''}",
        "Early stopping": "off"
        if space.early_stop is None
        else f"fine-tuning that can't come within {space.early_stop:g} points of the best chain",
        "Profile": f"{profile.name}: {profile.backbone}, {profile.image_size} px, "
        f"{profile.precision}, batch {profile.batch}",
        "A stage": f"{profile.epochs:g} epochs at the learning rate chosen by {space.lr_policy}, "
        f"in trials of up to {profile.lr_epochs:g} epochs",
        "Fine-tuning": f"{profile.downstream_epochs:g} epochs on {profile.label_fraction:.0%} of "
        f"the training labels, {'class-balanced' if space.downstream.class_balanced else 'plain'} "
        "loss; then balanced accuracy on validation",
        "LR ranges": "; ".join(
            f"{name} {', '.join(f'{rate:g}' for rate in rates)}" for name, rates in ranges.items()
        ),
        "Optimisers": "; ".join(f"{task.name} {_optimiser(task)}" for task in space.tasks.values())
        + f"; fine-tuning {_optimiser(space.downstream)}",
        "Task settings": "; ".join(
            f"{task.name} {_values(task.params)}" for task in space.tasks.values()
        ),
        "Augmentation": _values(space.data.augment),
        "Device": info.device,
        "Started": f"{info.started}, {clock(info.wall_seconds)} of wall time"
        + (", interrupted" if info.interrupted else ""),
    }


def _optimiser(trained: TaskChoice | Downstream) -> str:
    return f"{trained.optimizer} with weight decay {trained.weight_decay:g}"


def _values(settings: Mapping[str, Any]) -> str:
    """Format settings; the task chooses a None by the size of the data."""
    shown = {key: "automatic" if value is None else value for key, value in settings.items()}
    return ", ".join(f"{key} {value}" for key, value in shown.items()) or "defaults"


def _caveats(table: Table, plan: Plan, info: RunInfo, summary: Summary) -> Iterator[str]:
    """Yield warnings against wrong conclusions."""
    if info.demo:
        yield "The images are synthetic. Nothing here says anything about real images."
    yield (
        "The winner was chosen by its validation score, which therefore flatters it. Believe its "
        "test score, and its distance to the baselines there."
    )
    yield words.repeated(table, plan.space.seed)
    on = summary["compared_on"]
    if on:
        yield (
            f"Chains are compared on {on['images']} validation images of {on['groups']} patient "
            "groups. "
            f"The smallest class has {on['rarest']} of them: one image is "
            f"{100 / on['rarest']:.1f} points of its recall."
        )
    if len(table.tied) > 1:
        yield "Tied does not mean equal: more images might tell the chains apart."
    yield (
        "The labels C, AC and MC come from the singles' validation scores and are as uncertain as "
        "they are."
    )
    untried = sum(row.balanced_accuracy is None and not row.is_baseline for row in table.rows)
    if untried:
        yield f"{untried} chains of the space have no score; one of them may be better."
    if info.stopped:
        yield words.stopped(info)
    if any("*" in row.lrs + row.downstream_lr for row in table.scored):
        yield "Some learning rates are at the edge of their range (*): a better one may be outside."


def _loading(table: Table) -> str:
    if table.best is None:
        return "<p>There is nothing to load.</p>"
    return (
        "<p>The pretrained backbone (before fine-tuning, torchvision's key names) is in "
        "<code>best/</code> beside this report's folder, with a model card.</p>"
        "<pre><code>python best/load.py                     # checks that it loads\n"
        "from load import backbone, preprocess   # in best/\n"
        "features = backbone().eval()(preprocess(images))</code></pre>"
    )
