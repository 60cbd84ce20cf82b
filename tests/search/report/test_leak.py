"""A published protocol that leaks is said in the headline, the notes and the summary."""

from dataclasses import replace

from search import report
from search.report import notes, summary

LEAK = "LEAKS, as the published protocol does: 2 of 10 patient groups have images in two parts"


def test_it_stands_in_headline_notes_and_summary(search):
    info = replace(search.info, leak=LEAK)
    found = summary.build(search.table, info, search.store)
    assert found.headline.endswith("(the split leaks, as published: scores are too high)")
    assert f"{LEAK}." in found.notes
    assert f"{LEAK}." in found.as_json()["notes"]
    plain = summary.build(search.table, search.info, search.store)
    assert "leak" not in f"{plain.headline} {plain.notes}".lower()


def test_the_card_does_not_speak_of_patient_groups_on_one_side(search, tmp_path):
    info = replace(search.info, leak=LEAK)
    report.write(search.table, search.plan, info, search.store, tmp_path)
    card = (tmp_path / "best" / "model_card.md").read_text()
    assert f"| split | {LEAK}; seed" in card
    assert "on one side" not in card


def test_a_demonstration_is_still_one(search):
    assert "DEMONSTRATION" in notes.mark(replace(search.info, leak=LEAK, demo=True))
