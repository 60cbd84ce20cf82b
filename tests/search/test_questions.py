"""An interrupted search goes on as if it never was: the journal, and what the store knows."""

from search.journal import Journal
from search.plan import Plan
from search.policies import Policy
from search.proposal import Proposal
from search.questions import Questions
from search.space import load
from search.store import StageStore
from trainables.plugins import load as plugin

ACCURACY = {"relative_location": 69.52, "moco": 72.74, "odc": 63.52, "scratch": 49.27}


def questions(tmp_path, policy="curriculum") -> Questions:
    space = load("isic3", ["profile=smoke", f"policy={policy}"])
    plan = Plan(space, "digest")
    made: Policy = plugin("search.policies", policy)(
        tuple(space.tasks), space.max_length, None, 0, space.policy.params
    )
    journal = Journal(tmp_path / "out", plan.identity())
    return Questions(plan, made, journal, StageStore(tmp_path / "store"))


def train(asked: Questions, proposal: Proposal) -> None:
    key = asked.plan.downstream(proposal).key()
    value = ACCURACY.get(proposal.chain[-1], 50.0) + len(proposal.chain)
    with asked.store.lock(key):
        asked.store.part(key)
        result = {"balanced_accuracy": value, "ci_low": value - 1, "ci_high": value + 1}
        asked.store.commit(key, {"key": key, "spec": {}, "result": result})
    asked.answer(proposal)


def finish(asked: Questions) -> list[str]:
    done = []
    while (proposal := asked.next()) is not None:
        done.append(str(proposal))
        train(asked, proposal)
    assert asked.finished()
    return done


def test_baselines_come_first_and_only_rising_chains_follow(tmp_path):
    done = finish(questions(tmp_path))
    assert done[0] == "scratch"
    assert len(done) == 1 + 7
    assert "odc>relative_location>moco" in done


def test_again_asks_nothing_and_knows_all_scores(tmp_path):
    first = questions(tmp_path)
    finish(first)
    again = questions(tmp_path)
    assert finish(again) == []
    assert again.scores == first.scores


def test_what_was_in_flight_comes_first_and_nothing_is_asked_twice(tmp_path):
    asked = questions(tmp_path)
    for _ in range(3):
        train(asked, asked.next())
    lost = asked.next()
    again = questions(tmp_path)
    rest = finish(again)
    assert rest[0] == str(lost)
    assert len(rest) == 8 - 3
    assert len(again.scores) == 8


def test_another_folder_reuses_the_store(tmp_path):
    finish(questions(tmp_path))
    (tmp_path / "out").rename(tmp_path / "old")
    assert finish(questions(tmp_path)) == []


def test_a_failed_trial_is_reported_and_tried_again_next_time(tmp_path):
    asked = questions(tmp_path)
    train(asked, asked.next())
    failed = asked.next()
    asked.answer(failed, "loss is nan at step 3")
    finish(asked)
    assert asked.reasons == {failed: "loss is nan at step 3"}
    assert str(failed) in finish(questions(tmp_path))


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    asked = questions(tmp_path)
    for _ in range(3):
        train(asked, asked.next())
    path = asked.journal.path
    path.write_text(path.read_text() + '{"proposal": "mo')
    assert len(finish(questions(tmp_path))) == 8 - 3
