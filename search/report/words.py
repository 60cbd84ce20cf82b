"""The result in sentences: plain text with numbers from the table and the summary.

The verdicts themselves are in `verdict_words.py`. With one seed nothing is compared, and the
sentences say so.
"""

from collections.abc import Sequence

from search.console.printable import clock
from search.report import pool, verdict_words
from search.report.convergence import FEWEST, Trend
from search.report.ledger import FILE
from search.report.statistics.course import Step
from search.report.statistics.factors import LAST, LEVEL, RISE, Correlation, Factor
from search.report.summary import Summary
from search.report.table import SURE, Row, Table, number, p_text, span
from search.report.verdict_words import count
from search.results.records import RunInfo
from search.space.schema import Data

FACTOR_WORDS = {"last_task": "the last task", "label": "the label (C, AC, MC)"}
MEASURE_WORDS = {
    RISE: "the rise of the singles' scores along the chain",
    LEVEL: "the mean score of its tasks' singles",
    LAST: "the score of its last task's single",
}


def verdicts(found: Summary) -> tuple[str, ...]:
    """Return the result in sentences, unfavourable ones included, what matters most first."""
    info = found.info
    if found.winner is None:
        return (incomplete(info) or "Reasons are listed below; the finished stages are kept.",)
    told = pool.sentences(info.pool, found.without_pool, found.table)
    return (*judged(found, info.fresh_missing), cheapest(found.table), *told, *circumstances(info))


def judged(found: Summary, missing: str = "") -> tuple[str, ...]:
    """Return the verdicts. missing: why fresh seeds are, a free text."""
    table = found.table
    return (
        verdict_words.recommendation(table, found.recommended, missing),
        verdict_words.planned_words(table, found.planned),
        verdict_words.luck(table, found.optimism),
        verdict_words.could_be_best(table),
    )


def conclusion(found: Summary) -> str:
    """Return the result in one paragraph."""
    return " ".join(filter(None, verdicts(found)))


def circumstances(info: RunInfo) -> tuple[str, ...]:
    """Return why the search may have missed a better chain."""
    missed = "chains that were not tried may be better."
    said = [
        f"The search was interrupted: {missed}" if info.interrupted else "",
        incomplete(info),
        f"The budget of {info.budget} was spent: {missed}" if info.budget_spent else "",
    ]
    return tuple(filter(None, said))


def incomplete(info: RunInfo) -> str:
    """Return a warning if a machine fault ended the search, else ""."""
    if not info.incomplete:
        return ""
    return (
        f"INCOMPLETE: the search was ended by a fault of the machine ({info.incomplete}). Chains "
        "without a score were not judged; once the fault is fixed, the same command continues."
    )


def split(info: RunInfo, data: Data) -> str:
    """Describe which images are for validation and for test."""
    if info.leak:
        return info.leak
    if info.given_split:
        drawn = {"val": f"validation ({data.val:.0%})", "test": f"test ({data.test:.0%})"}
        own = " and ".join(text for part, text in drawn.items() if part not in info.given_split)
        more = f", {own} drawn from its training images" if own else ""
        return f"given by the data set{more}; a lesion or patient is on one side"
    return (
        "drawn by patient group (a lesion or patient is on one side), stratified: of every class's "
        f"images about {data.val:.0%} for validation, {data.test:.0%} for test"
    )


def repeated(table: Table, plan_seed: int) -> str:
    """Describe what is known about training again with another seed."""
    seeds = [len(row.seed_scores) for row in table.scored]
    again, chains = sum(n > 1 for n in seeds), [len(row.seed_scores) for row in table.chains]
    if table.training_noise is None:
        more = "the same command continues with further seeds" if again else "repeats=3 would"
        return (
            f"Every chain was trained once, with seed {plan_seed}. Intervals say how much the "
            "choice of images matters; they do not cover that training again would give a somewhat "
            f"different score ({more})."
        )
    return (
        f"{count(again, 'row')} were trained with several seeds, up to {max(seeds)}; "
        f"{count(chains.count(1), 'chain')} with one. One training differs from the next by "
        f"{number(table.training_noise)} points (standard deviation over seeds, pooled over rows), "
        "which is part of every interval."
    )


def cheapest(table: Table) -> str:
    """Name the cheapest chain that could be the best; "" unless it is clearly cheaper."""
    best, found = table.best, table.cheapest
    if best is None or found is None or found == best:
        return ""
    said = (
        f"The cheapest chain that could be the best is {found.chain} ({cost(found)} of pretraining"
    )
    said += f" instead of {cost(best)})"
    if (better := verdict_words.ahead(table, found)) is None:
        return f"{said}."
    return f"{said}; it is {verdict_words.than(better)} that ({verdict_words.within(better)})."


def looks(found: Summary) -> str:
    """Describe whether the test images were scored, and how often before."""
    if not found.tested and (found.info.interrupted or found.info.incomplete):
        return "The search did not end, so the test images were not scored."
    if not found.tested:
        return (
            "This search ended without a look at the test images, external ones included, and its "
            "planned comparison is on validation (test=false, or a protocol without a test part)."
        )
    if found.seen is None:
        return "There are no predictions on test images."
    if found.seen.unrecorded:
        return (
            f"This look at the test images could not be recorded in {FILE} "
            f"({found.seen.unrecorded}); how many came before is unknown."
        )
    if found.seen.earlier == 0:
        return f"No earlier look at these test images is recorded in {FILE}, beside the store."
    times = "once" if found.seen.earlier == 1 else f"{found.seen.earlier} times"
    return (
        f"These test images were looked at {times} before, by the ledger {FILE} beside the "
        "store. The more often, the less they test: a choice that they influenced is no longer "
        "confirmed by them."
    )


def trend(found: Trend) -> str:
    """Describe whether the fine-tuning of a start was long enough."""
    if found.slope is None or found.error is None:
        return (
            f"{found.start}: can't be told from {found.epochs} evaluations; it takes {2 * FEWEST}."
        )
    verdict = "still rising" if found.rises else "flat within its noise"
    return (
        f"{found.start}: {found.slope:+.3f} points an evaluation (standard error "
        f"{found.error:.3f}) over the last {found.epochs} evaluations, {verdict}."
    )


def cost(row: Row) -> str:
    """Return the cost of training all stages of a chain: `4:10`, or the number of stages."""
    return count(row.length, "stage") if row.stage_seconds is None else clock(row.stage_seconds)


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
    within = span(effect.low, effect.high, signed=True)
    size = f"Spearman {effect.value:+.2f} ({within}), p {p_text(effect.p_value)}"
    if effect.p_value >= SURE:
        return f"A chain's score does not detectably go with {subject} ({size})."
    way = "higher" if effect.value > 0 else "lower"
    return f"The higher {subject}, the {way} the score ({size})."


def course(steps: Sequence[Step], best: Row | None) -> str:
    """Describe when the best chain was found."""
    found = next((step for step in steps if best and step.chain == best.chain), None)
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
        f"The fine-tuning of {count(len(info.stopped), 'chain')} was stopped early, "
        f"{count(saved, 'evaluation')} before the end in all: by what other chains gained after "
        "the same one, the best score was out of reach. One that improves unusually late would be "
        "missed; early_stop=null trains all to the end."
    )
