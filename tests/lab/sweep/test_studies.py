"""Optuna's side: samplers that go on as if nothing had stopped them, and questions that cannot be changed under way."""

from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState
from scipy.stats import qmc

from lab.errors import UserError
from lab.sweep.space import distribution, suggested
from lab.sweep.storage import open_storage
from lab.sweep.studies import budget, open_study, sampler_of
from tests.lab.sweep.test_question import read

SPACE = {"x": distribution("x", "interval(-1.0, 1.0)"), "y": distribution("y", "interval(-1.0, 1.0)")}
STEPPED = {"x": distribution("x", "range(0, 3)"), "y": distribution("y", "choice(a, b)")}
FIRST = {"x": 0.3}
"""What the default configuration has; of y it has nothing that the space has."""
ASKED = {"words": ["strategy=er"], "vary": {"x": "interval(0, 1)"}}


def arm(space=SPACE, usual=None):
    return SimpleNamespace(name="er", space=space, usual=usual or {})


def tuned(sweep, storage, count, space=SPACE, tell=True, usual=None):
    """The values of ``count`` further trials, asked in batches of ``at_once`` in a study that is opened anew for each."""
    values = []
    while len(values) < count:
        study = open_study(sweep, arm(space, usual), ASKED, storage)
        trials = [study.ask() for _ in range(min(sweep.at_once, count - len(values)))]
        batch = [suggested(trial, space) for trial in trials]
        for trial, own in zip(trials, batch, strict=True) if tell else ():
            study.tell(trial, [own["x"] ** 2 + (0 if isinstance(own["y"], str) else own["y"] ** 2)] * len(sweep.directions))
        values += batch
    return values


def storage():
    return optuna.storages.InMemoryStorage()


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "qmc", "random", "nsga2"])
def test_a_sampler_goes_on_as_if_nothing_had_stopped_it(tmp_path, name):
    sweep = read(tmp_path, sampler=name, objectives={"forgetting": "minimize"}, at_once=4)
    whole, parts = storage(), storage()
    expected = tuned(sweep, whole, 16)
    assert [*tuned(sweep, parts, 8), *tuned(sweep, parts, 8)] == expected
    if name != "nsga2":  # whose children may be their parents
        assert len({tuple(own.values()) for own in expected}) == 16, "nothing is asked twice"


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "qmc", "random", "nsga2"])
def test_the_default_configuration_is_tried_first(tmp_path, name):
    """Where the space has it; nothing else becomes of the search until a trial has taught the sampler something."""
    sweep = read(tmp_path, sampler=name, objectives={"forgetting": "minimize"}, at_once=4)
    (first, *rest), (other, *others) = (tuned(sweep, storage(), 12, usual=usual) for usual in (FIRST, {}))
    assert first == other | FIRST
    assert rest[:3] == others[:3]


def test_a_grid_keeps_its_order(tmp_path):
    sweep = read(tmp_path, sampler="grid", at_once=4, trials=None)
    assert tuned(sweep, storage(), 6, STEPPED, usual={"x": 2, "y": "b"}) == tuned(sweep, storage(), 6, STEPPED)


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes"])
def test_a_sampler_learns(tmp_path, name):
    """On a bowl the last trials lie nearer to its bottom than the first."""
    sweep = read(tmp_path, sampler=name, objectives={"forgetting": "minimize"}, at_once=4)
    heights = [own["x"] ** 2 + own["y"] ** 2 for own in tuned(sweep, storage(), 40)]
    assert sum(heights[-12:]) < 0.5 * sum(heights[:12])


def test_several_objectives(tmp_path):
    for name in ("tpe", "gp", "qmc", "random", "nsga2"):
        sweep = read(tmp_path, sampler=name, objectives={"forgetting": "minimize", "cost.passes": "minimize"}, at_once=4)
        assert len(tuned(sweep, storage(), 12)) == 12


def test_another_seed_is_another_search(tmp_path):
    one, other = (tuned(read(tmp_path, sampler={"name": "random", "seed": seed}), storage(), 4) for seed in (0, 1))
    assert one != other


def test_qmc_is_the_sequence_from_its_first_trial_on(tmp_path):
    """Against SciPy's Sobol sequence; drawing at random until a trial has finished would make of one population no sequence."""
    points = [[own["x"], own["y"]] for own in tuned(read(tmp_path, sampler="qmc", at_once=8), storage(), 8, tell=False)]
    expected = 2 * qmc.Sobol(2, scramble=False).random(8) - 1
    assert points == pytest.approx(expected)


def test_a_grid_is_gone_through_once(tmp_path):
    sweep = read(tmp_path, sampler="grid", at_once=4, trials=None)
    assert budget(sweep, STEPPED) == 6
    assert budget(read(tmp_path, sampler="grid", trials=5), STEPPED) == 5
    found = tuned(sweep, storage(), 6, STEPPED)
    assert sorted((own["x"], own["y"]) for own in found) == [(x, y) for x in range(3) for y in "ab"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "tpe", "n_startup": 3}, "sampler.n_startup: tpe has no such option. Did you mean n_startup_trials"),
        ({"name": "nsga2", "population_size": 1}, "sampler=nsga2: "),
        ({"name": "random", "seed": -1}, "sampler.seed=-1: expected a whole number"),
        ({"name": "grid", "search_space": {}}, "sampler.search_space: grid has no such option"),
    ],
)
def test_options_that_a_sampler_does_not_take(tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        sampler_of(read(tmp_path, sampler=given), STEPPED)


def test_another_question_is_refused(tmp_path):
    kept, sweep = storage(), read(tmp_path)
    open_study(sweep, arm(), ASKED, kept)
    open_study(sweep, arm(), ASKED, kept)
    with pytest.raises(UserError, match=r"begun with another question: vary.x was interval\(0, 1\) and is interval\(0, 2\)"):
        open_study(sweep, arm(), ASKED | {"vary": {"x": "interval(0, 2)"}}, kept)


def test_a_journal_keeps_trials(tmp_path):
    sweep = read(tmp_path, sampler="random")
    tuned(sweep, open_storage(tmp_path / "home", None), 3)
    study = open_study(sweep, arm(), ASKED, open_storage(tmp_path / "home", None))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert (tmp_path / "home" / "journal.log").exists()
