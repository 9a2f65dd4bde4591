"""Orders, schedules and averages as a configuration names them: where scores come from, and what a run by them leaves."""

import numpy as np
import pytest
import torch

from lab import arranging
from lab.cell import of_each_member
from lab.config import CONF
from lab.errors import UserError
from lab.experiment import Experiment
from lab.order import Scored
from lab.results import load
from lab.run import composed

from .forked import SMALL, small, train

GRADED = [word for word in SMALL if not word.startswith("environment")] + [
    "environment=graded", "environment.base.tasks=2", "environment.base.validation=0.5", "seeds=2", "batch_size=16",
]  # fmt: skip


def graded(*words):
    """A small run on graded digits, in two parts."""
    return composed(*GRADED, *words)


def digest_of(*words):
    return Experiment(graded(*words)).digest


def test_a_score_in_a_file_counts_by_its_content(tmp_path):
    experiment = Experiment(graded())
    rows = len(experiment.environment.data.train)
    np.save(tmp_path / "one.npy", np.arange(rows, dtype=np.float32))
    np.save(tmp_path / "same.npy", np.arange(rows, dtype=np.float32))
    np.save(tmp_path / "other.npy", np.arange(rows, dtype=np.float32)[::-1].copy())
    one, same, other = (digest_of("order=ascending", f"order.score={tmp_path}/{name}.npy") for name in ("one", "same", "other"))
    assert one == same != other
    np.save(tmp_path / "short.npy", np.arange(3.0))
    with pytest.raises(UserError, match=rf"order.score=.*short.npy: holds 3 scores; expected {rows}"):
        Experiment(graded("order=ascending", f"order.score={tmp_path}/short.npy"))


def test_without_options_a_cell_is_the_one_it_was_before_there_were_orders():
    plain = Experiment(graded())
    sections = {"order", "schedule", "averaging"}
    bare = Experiment(graded())
    bare.config = {key: value for key, value in bare.config.items() if key not in sections}
    assert plain.digest == bare.digest
    assert len({plain.digest, *(digest_of(f"co_schedule={name}") for name in ("cma", "cdma", "wsd_uniform"))}) == 4


def test_members_that_are_trained_on_other_examples_have_scores_of_their_own(tmp_path):
    config = graded("order=ascending", "order.score=reference", "order.reference.folds=2", f"paths.runs={tmp_path}")
    experiment = Experiment(config)
    _, (first, second) = experiment.arranged
    own = [torch.cat([phase.examples for phase in stream.phases]) for stream in experiment.streams]
    for by, rows in zip((first, second), own, strict=True):
        assert by.scores[rows].isfinite().all()
        assert by.scores.isfinite().sum() == len(rows.unique())
    alone = Experiment(config | {"seeds": [1]})
    assert torch.equal(alone.arranged[1][0].scores.nan_to_num(9), second.scores.nan_to_num(9))


def test_an_unknown_setting_of_reference_learners_is_refused():
    order = Scored(score="reference", reference={"fold": 3})
    with pytest.raises(UserError, match=r"order.reference.fold=3: there is no such setting. Did you mean folds\?"):
        arranging.check(order, Experiment(graded()).environment.data)


def test_orders_over_the_stream_leave_no_boundaries():
    with pytest.raises(
        UserError, match=r"strategy: EWC must be told when a task ends, and order.over=stream leaves no boundaries"
    ):
        Experiment(graded("order=ascending", "order.over=stream", "strategy=ewc"))
    with pytest.raises(UserError, match=r"reset_optimizer=true: order.over=stream leaves no boundaries at which to reset"):
        Experiment(graded("order=ascending", "order.over=stream", "reset_optimizer=true"))


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "co_schedule").glob("*.yaml")))
def test_every_co_schedule_composes_to_what_it_is_called(name):
    config = graded(f"co_schedule={name}")
    direction = config["order"].get("direction", "uniform")
    final = {"constant": 1.0, "cdma": 1 / 3}.get(name.partition("_")[0], 1.0 if name == "cma" else 1 / 300)
    assert direction == ("uniform" if "uniform" in name else "ascending")
    assert config["schedule"]["final"] == pytest.approx(final)
    averaged = config["averaging"].get("kind")
    assert averaged == ("sma" if name in ("cma", "cdma") or name.endswith("average") else None)


def test_single_settings_win_over_a_co_schedule():
    config = graded("co_schedule=cdma", "schedule=cosine", "averaging.snapshots=3")
    assert (config["schedule"]["shape"], config["averaging"]["snapshots"]) == ("cosine", 3)


def test_killed_runs_go_on_with_the_same_order_rate_and_average(tmp_path):
    words = (
        "co_schedule=cdma",
        "schedule.span=task",
        "order.mix=0.2",
        "evaluation.every=7",
        "checkpoint.every=5",
        "plan.block=3",
    )
    whole = train(graded(*words, f"paths.runs={tmp_path}/whole"))
    with pytest.raises(Exception, match="stopped at step 17"):
        train(graded(*words, f"paths.runs={tmp_path}/halved", "trainer.max_steps=17"))
    resumed = train(graded(*words, f"paths.runs={tmp_path}/halved"))
    one, other = load(whole), load(resumed)
    assert other.cost["resumed_from_step"] == 17
    np.testing.assert_array_equal(one.accuracy, other.accuracy)
    np.testing.assert_array_equal(one.curves["accuracy"], other.curves["accuracy"])
    np.testing.assert_array_equal(one.beside["raw"]["accuracy"], other.beside["raw"]["accuracy"])
    assert not np.array_equal(one.accuracy[:, -1], one.beside["raw"]["accuracy"][:, -1])


def test_as_many_averages_as_members_are_still_all_members(tmp_path):
    words = ("averaging=sma", "averaging.beside=[raw,ema]", f"paths.runs={tmp_path}")
    results = load(train(graded(*words, "plan.processes=2")))
    assert list(results.beside) == ["raw", "ema"]
    assert of_each_member(results.config, 2) == {}


def test_engines_refuse_what_they_take_no_part_in():
    for words, told in (
        (["order=ascending", "order.score=reference"], "order: .*expected order=uniform"),
        (["schedule=wsd"], "schedule: .*expected the constant one"),
        (["averaging=sma"], "averaging: .*expected averaging=none"),
    ):
        with pytest.raises(UserError, match=told):
            Experiment(graded("strategy=avalanche", "plan.stack=auto", *words))


def test_averages_of_weights_do_not_go_with_answers_by_what_is_kept_of_them():
    with pytest.raises(UserError, match="averaging: strategy=ncm answers by what it keeps of the weights as they are"):
        Experiment(graded("strategy=ncm", "averaging=sma"))


def test_averages_of_weights_do_not_go_across_new_networks():
    words = ("strategy=from_scratch", "averaging=sma", "averaging.snapshots=2", "averaging.window=1")
    for over in ("run", "tasks"):
        with pytest.raises(UserError, match=f"averaging.over={over}: strategy=from_scratch sets weights itself"):
            Experiment(small(*words, f"averaging.over={over}"))
    Experiment(small(*words, "averaging.over=task"))


def test_scores_are_looked_at_before_a_run_directory_is_made(tmp_path):
    with pytest.raises(UserError, match=r"order.score=quality: nothing says how good the examples of digits are"):
        train(small("order=ascending", f"paths.runs={tmp_path}/runs"))
    assert not (tmp_path / "runs").exists()
