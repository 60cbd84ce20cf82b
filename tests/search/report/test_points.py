"""The tracker's points of a chain: names, values and steps."""

from search.report import points


def test_a_chains_metrics_are_at_the_number_of_its_repeats(search):
    once = search.table.best
    told = {name: (value, step) for name, value, step in points.chain_metrics(once)}
    assert told["balanced_accuracy"] == (once.balanced_accuracy, 0)
    assert told["ci_low"] == (once.ci_low, 0)
    score = once.balanced_accuracy
    thrice = search.repeated({once.chain: [score + 1, score + 2]}).table.row(once.chain)
    again = {name: (value, step) for name, value, step in points.chain_metrics(thrice)}
    assert again["balanced_accuracy"] == (score + 1, 2)
    assert {step for _, step in again.values()} == {2}


def test_what_has_no_number_is_not_told(search):
    scratch = search.table.row("scratch")
    assert scratch.delta is None
    assert "delta" not in {name for name, _, _ in points.chain_metrics(scratch)}


def test_curves_are_told_by_step_and_by_epoch(search):
    best = search.table.best
    told = list(points.curves(best, search.store))
    names = {name for name, _, _ in told}
    last = best.tasks[-1]
    assert {f"stage_{best.length}_{last}_loss", "finetune_loss"} <= names
    for name in names:
        steps = [step for other, _, step in told if other == name]
        assert steps == sorted(steps)
        assert len(set(steps)) == len(steps)
