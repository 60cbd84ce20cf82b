"""The result in sentences: plain text with numbers from the table and the summary.

"Significantly" and "can't be told apart" always refer to corrected p-values; with too little data
the sentence says so instead.
"""

from collections.abc import Sequence

from search.chains.chain import BASELINES, IMAGENET, SCRATCH
from search.console.printable import clock
from search.report.statistics.course import Step
from search.report.statistics.factors import LAST, LEVEL, RISE, Correlation, Factor
from search.report.summary import Summary
from search.report.table import SURE, Row, Table, number, p_text, span
from search.results.records import RunInfo

BASELINE_WORDS = {SCRATCH: "no pretraining", IMAGENET: "ImageNet weights"}
FACTOR_WORDS = {"last_task": "the last task", "label": "the label (C, AC, MC)"}
MEASURE_WORDS = {
    RISE: "the rise of the singles' scores along the chain",
    LEVEL: "the mean score of its tasks' singles",
    LAST: "the score of its last task's single",
}


def conclusion(found: Summary) -> str:
    """Return the result in one paragraph, unfavourable parts included."""
    table, best, info = found.table, found.table.best, found.info
    if best is None:
        return incomplete(info) or "Reasons are listed below; the finished stages are kept."
    seeds = f", the mean of {len(best.seed_scores)} seeds" if best.repeat_keys else ""
    said = [
        f"Its {table.objective.title} on validation is {table.amount(best.score)}{seeds} "
        f"(95 % interval {span(best.ci_low, best.ci_high)}"
        f"{'' if table.objective.higher_is_better else '; lower is better'}).",
        _baselines(table),
        ties(table),
        _tested(best, found),
        f"The policy {info.policy} recommends {info.best_chain}: judged by all scores, it "
        "is expected to be best; the winner may have been lucky."
        if info.best_chain not in (None, best.chain)
        else "",
        "The search was interrupted: chains that were not tried may be better."
        if info.interrupted
        else "",
        incomplete(info),
        f"The budget of {info.budget} was spent: chains that were not tried may be better."
        if info.budget_spent
        else "",
    ]
    return " ".join(filter(None, said))


def incomplete(info: RunInfo) -> str:
    """Return a warning if a machine fault ended the search, else ""."""
    if not info.incomplete:
        return ""
    return (
        f"INCOMPLETE: the search was ended by a fault of the machine ({info.incomplete}). Chains "
        "without a score were not judged; once the fault is fixed, the same command continues."
    )


def repeated(table: Table, plan_seed: int) -> str:
    """Describe what is known about training again with another seed."""
    seeds = [len(row.seed_scores) for row in table.chains]
    again = sum(count > 1 for count in seeds)
    if not again or table.training_noise is None:
        return (
            f"Every stage was trained once, with seed {plan_seed}. Intervals and p-values say how "
            "much the choice of images matters; they do not cover that training again would give "
            "a somewhat different score (repeats=3 would)."
        )
    return (
        f"{_count(again, 'chain')} and the baselines were trained with several seeds, up to "
        f"{max(seeds)}; {len(seeds) - again} with one, since their first scores were among the "
        f"lower ones. One training differs from the next by {number(table.training_noise)} points "
        "(standard deviation over seeds, pooled over chains), which is part of every interval and "
        "p-value."
    )


def ties(table: Table) -> str:
    """Name the number of chains tied with the winner, and the cheapest of them."""
    best = table.best
    if best is None:
        return ""
    if len(table.chains) == 1:
        return "No other chain has a score to compare it with."
    if best.tied is None:
        return "Whether another chain is as good can't be told: no predictions to compare."
    others = sum(row.tied is not None for row in table.chains) - 1
    tied = len(table.tied) - 1
    if tied == 0:
        all_others = "the one other chain" if others == 1 else f"each of the {others} other chains"
        return f"It is significantly better than {all_others}."
    said = f"{tied} of {_count(others, 'other chain')} can't be told apart from it on these images."
    cheapest = table.cheapest
    assert cheapest is not None
    if cheapest == best:
        return f"{said} None of them trains clearly faster."
    assert cheapest.difference is not None
    assert cheapest.difference_low is not None
    assert cheapest.difference_high is not None
    worst = min(map(table.objective.merit, (cheapest.difference_low, cheapest.difference_high)))
    return (
        f"{said} The cheapest of them is {cheapest.chain} ({cost(cheapest)} of pretraining "
        f"instead of {cost(best)}); it is {number(abs(cheapest.difference))} points worse, at "
        f"worst about {number(abs(worst))}."
    )


def cost(row: Row) -> str:
    """Return the cost of training all stages of a chain: `4:10`, or the number of stages."""
    return _count(row.length, "stage") if row.stage_seconds is None else clock(row.stage_seconds)


def against(row: Row, table: Table) -> str:
    """Return the verdict of the comparison with the winner."""
    if row == table.best:
        return "winner"
    if row.tied is None or row.difference is None:
        return "can't be told"
    if row.tied:
        return "tied"
    worse = table.objective.merit(row.difference) < 0
    return f"significantly {'worse' if worse else 'better'}"


def gain(table: Table, baseline: str) -> float | None:
    """Return the points by which the winner is better on validation; None if one has no score."""
    own, other = table.merit(table.best), table.merit(table.row(baseline))
    return None if own is None or other is None else own - other


def factor(found: Factor) -> str:
    """Describe the fraction of variance that a factor explains alone."""
    subject, effect = FACTOR_WORDS[found.name], found.effect
    if effect is None:
        why = "all of them have the same" if len(found.levels) == 1 else "too few chains"
        return f"Whether {subject} matters can't be told ({why})."
    fraction = f"{100 * effect.value:.0f} % of the variance of the score"
    doubt = "" if effect.p_value < SURE else ", which chance can explain"
    said = f"{subject} alone explains {fraction} (p {p_text(effect.p_value)}){doubt}."
    return said[0].upper() + said[1:]


def correlation(found: Correlation) -> str:
    subject, effect = MEASURE_WORDS[found.measure], found.effect
    if effect is None:
        return f"Whether a chain's score goes with {subject} can't be told from these chains."
    size = f"Spearman {effect.value:+.2f}, p {p_text(effect.p_value)}"
    if effect.p_value >= SURE:
        return f"A chain's score does not detectably go with {subject} ({size})."
    way = "higher" if effect.value > 0 else "lower"
    return f"The higher {subject}, the {way} the score ({size})."


def course(steps: Sequence[Step]) -> str:
    """Describe when the winner was found."""
    found = next((step for step in steps if step.regret <= 0), None)
    if found is None:
        return "The order in which the chains were tried is not known."
    known = f"known after {found.stages} of {steps[-1].stages} stages"
    said = f"The best chain, {found.chain}, was {known}"
    if found.stages_alone == found.stages:
        return f"{said}."
    return (
        f"{said}; training every chain by itself, without shared prefixes, would have taken "
        f"{found.stages_alone} until then."
    )


def overhead(info: RunInfo) -> str:
    """Describe how the command's time was spent."""
    spent = info.overhead
    if spent is None:
        return f"This command finished no training; it took {clock(info.wall_seconds)}."
    said = (
        f"Of {clock(info.wall_seconds)}, {100 * (1 - spent.fraction):.0f} % was training and "
        f"evaluation. The first step came after {spent.first_step:.0f} s"
    )
    if spent.gap is not None:
        said += f"; from one job's end to the next one's first step it took {spent.gap:.2f} s"
    return said + "."


def stopped(info: RunInfo) -> str:
    """Describe what early stopping saved and may have missed."""
    saved = sum(one.epochs - one.epoch for one in info.stopped)
    return (
        f"The fine-tuning of {_count(len(info.stopped), 'chain')} was stopped early, "
        f"{_count(saved, 'epoch')} before the end in all: by what other chains gained after the "
        "same epoch, the best score was out of reach. One that improves unusually late would be "
        "missed; early_stop=null trains all to the end."
    )


def _baselines(table: Table) -> str:
    gains = {name: points for name in BASELINES if (points := gain(table, name)) is not None}
    said = [
        f"{_better(points)} {BASELINE_WORDS[name]} ({_doubt(table.row(name))})"
        for name, points in gains.items()
    ]
    text = f"That is {' and '.join(said)}." if said else ""
    if gains.get(SCRATCH, 1.0) <= 0:
        text += " So pretraining did not pay off here."
    return text if IMAGENET in gains else f"{text} A comparison with ImageNet weights was not run."


def _doubt(baseline: Row | None) -> str:
    assert baseline is not None
    if baseline.tied is None:
        return "whether by chance can't be told"
    return "which chance can explain" if baseline.tied else "a significant difference"


def _tested(best: Row, found: Summary) -> str:
    own = found.test.get(best.chain)
    if own is None:
        return ""
    said = " and ".join(
        f"{_better(one.test.value)} {BASELINE_WORDS[name]} "
        f"({span(one.test.low, one.test.high, signed=True)})"
        for name, one in found.gains.items()
        if one.test
    )
    return (
        "On test images that no choice was based on it scores "
        f"{found.table.amount(own.value)} ({span(own.low, own.high)}){', ' if said else ''}{said}."
    )


def _better(points: float) -> str:
    if points == 0:
        return "level with"
    return f"{number(abs(points))} points {'better' if points > 0 else 'worse'} than"


def _count(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}{'s' if number_of != 1 else ''}"
