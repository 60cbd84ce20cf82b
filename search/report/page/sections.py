"""The tables of the page: chains, details, test images, factors and correlations."""

from collections.abc import Mapping
from typing import Any

from search.report import words
from search.report.page import markup
from search.report.page.markup import text
from search.report.table import Row, Table, number, p_text, yes_no

Summary = Mapping[str, Any]
LISTED = 30  # chains named for one reason
FACTOR_HEADS = {"last_task": "last task", "label": "label"}


def chains(table: Table) -> str:
    """Return the table of all chains but pruned ones, compared with the winner."""
    low = min((row.ci_low or 0 for row in table.scored), default=0.0)
    high = max((row.ci_high or 0 for row in table.scored), default=1.0)
    rows = (_chain(row, table, low, high) for row in table.rows if row.status != "pruned")
    return markup.table(
        "Chains and baselines, best first",
        [
            "chain", "label", "#balanced<br>accuracy, %", "95 % interval", "#delta",
            "#difference<br>to the winner", "95 % interval<br>of that",
            "#corrected<br>p", "verdict",
        ],
        rows,
    )  # fmt: skip


def details(table: Table) -> str:
    """Return the table of probes, learning rates and cost of the scored chains."""
    heads = [
        "chain", "#score of<br>each seed", "above<br>scratch", "above<br>ImageNet",
        "#linear<br>probe", "#kNN<br>probe", "rates of<br>the stages", "#fine-tune<br>rate",
        "#cost<br>alone",
    ]  # fmt: skip
    return markup.table("Details of the same chains", heads, map(_detail, table.scored))


def test(table: Table, summary: Summary) -> str:
    """Return the table of the scores on test images."""
    if not summary["test"]:
        return "<p>There are no predictions on test images.</p>"
    rows = []
    for row in table.scored:
        found = summary["test"].get(row.chain)
        if found:
            gain = (summary.get(f"gain_over_{row.chain}") or {}).get("test")
            cells = [
                ("n", f"<b>{number(found['value'])}</b>"),
                ("n", _span(found["low"], found["high"])),
                ("n", number(gain["value"], signed=True) if gain else "–"),
                ("n", _span(gain["low"], gain["high"], signed=True) if gain else "–"),
            ]
            rows.append(markup.row(markup.chain(row.chain), cells, _kind(row, table)))
    heads = [
        "chain", "#balanced<br>accuracy, %", "#95 % interval", "#winner<br>minus it",
        "#95 % interval<br>of that",
    ]  # fmt: skip
    on = summary["test_on"]
    return markup.table(
        f"{on['images']} test images of {on['groups']} patient groups, used once", heads, rows
    )


def factors(summary: Summary) -> str:
    """Return a table for each factor, with a sentence that sums it up."""
    made = []
    for factor in summary["factors"]:
        rows = [
            markup.row(
                markup.chain(level["name"]),
                [("n", str(level["chains"])), ("n", number(level["mean"]))],
            )
            for level in factor["levels"]
        ]
        head = FACTOR_HEADS[factor["name"]]
        shown = markup.table(f"Chains by {head}", [head, "#chains", "#mean score, %"], rows)
        made.append(f"<div>{shown if rows else ''}<p>{text(words.factor(factor))}</p></div>")
    return f'<div class="pair">{"".join(made)}</div>'


def correlations(summary: Summary) -> str:
    rows = []
    for found in summary["correlations"]:
        effect = found["effect"]
        cells = [
            ("n", str(found["chains"])),
            ("n", number(effect["value"], signed=True) if effect else "–"),
            ("n", text(p_text(effect["p_value"])) if effect else "–"),
            ("", text(words.correlation(found))),
        ]
        rows.append(markup.row(text(words.MEASURE_WORDS[found["measure"]]), cells))
    heads = ["the score of a chain against", "#chains", "#Spearman", "#p", "in words"]
    return markup.table("Single accuracies and the chain's score", heads, rows)


def without(table: Table) -> str:
    """Return the table of chains without a score, by reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        if row.balanced_accuracy is None and not row.is_baseline:
            found.setdefault((row.status, row.reason), []).append(row.chain)
    if not found:
        return "<p>Every chain of the space was trained and scored.</p>"
    rows = (
        markup.row(text(state), [("", text(reason)), ("n", str(len(names))), ("", _listed(names))])
        for (state, reason), names in found.items()
    )
    return markup.table("By reason", ["state", "reason", "#chains", "which"], rows)


def _listed(names: list[str]) -> str:
    rest = len(names) - LISTED
    more = f" and {rest} more, in <code>chains.csv</code>" if rest > 0 else ""
    return ", ".join(map(markup.chain, names[:LISTED])) + more


def _chain(row: Row, table: Table, low: float, high: float) -> str:
    label = ("", text(row.label))
    if row.balanced_accuracy is None:
        what = f"{row.status}: {row.reason}" if row.reason else row.status
        name = f'<th scope="row">{markup.chain(row.chain)}</th><td>{label[1]}</td>'
        return f'<tr class="empty">{name}<td colspan="7">{text(what)}</td></tr>'
    cells = [
        label,
        ("n", f"<b>{number(row.balanced_accuracy)}</b>"),
        ("ci", _interval(row, low, max(high - low, 1e-9))),
        ("n", number(row.delta, signed=True)),
        ("n", "–" if row == table.best else number(row.difference, signed=True)),
        ("ci", _difference(row, table)),
        ("n", "–" if row == table.best else text(p_text(row.p_value))),
        ("verdict", text(words.against(row, table))),
    ]
    return markup.row(markup.chain(row.chain), cells, _kind(row, table))


def _difference(row: Row, table: Table) -> str:
    if row == table.best or row.difference_low is None or row.difference_high is None:
        return "–"
    return _span(row.difference_low, row.difference_high, signed=True)


def _detail(row: Row) -> str:
    cells = [
        ("lrs", " ".join(number(score) for score in row.seed_scores)),
        ("", yes_no(row.above_scratch)),
        ("", yes_no(row.above_imagenet)),
        ("n", number(row.linear)),
        ("n", number(row.knn)),
        ("lrs", text(" ".join(one.split()[-1] for one in row.lrs.split(", ") if one) or "–")),
        ("n", text(row.downstream_lr or "–")),
        ("n", "–" if row.train_seconds is None else words.clock(row.train_seconds)),
    ]
    return markup.row(markup.chain(row.chain), cells)


def _kind(row: Row, table: Table) -> str:
    return "winner" if row == table.best else "baseline" if row.is_baseline else ""


def _span(low: float, high: float, signed: bool = False) -> str:
    return f"{number(low, signed)} to {number(high, signed)}"


def _interval(row: Row, start: float, span: float) -> str:
    """Return the interval in figures, above a bar whose scale is the same in all rows."""
    assert row.balanced_accuracy is not None
    assert row.ci_low is not None
    assert row.ci_high is not None
    left, right, dot = (
        100 * (value - start) / span for value in (row.ci_low, row.ci_high, row.balanced_accuracy)
    )
    return (
        f"{_span(row.ci_low, row.ci_high)}"
        '<svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="{left:.1f}" y="2" width="{right - left:.1f}" height="2"/>'
        f'<rect x="{dot - 1:.1f}" y="0" width="2" height="6"/></svg>'
    )
