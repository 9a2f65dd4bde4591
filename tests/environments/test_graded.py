"""Degraded examples: blur against SciPy, rates against binomial bounds, wrong labels against what a task can answer, and that
nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from environments.degradation import answers, gaussian
from environments.drift import Drift
from environments.graded import Graded
from environments.permuted import Permuted
from environments.reencounters import Reencounters
from environments.relabelled import Relabelled
from environments.rotated import Rotated
from environments.split import Split
from environments.stationary import Stationary
from lab.errors import UserError
from lab.protocols import Data, Examples
from lab.reader import Reader


def rate(hits: int, trials: int, chance: float) -> bool:
    """Whether so many hits are within what 1 in 10,000 draws would leave out."""
    return stats.binomtest(hits, trials, chance).pvalue > 1e-4


def tokens(length: int = 20) -> Data:
    """400 sentences of seven different words, with a tag for each word but the last."""
    words = torch.tensor([0, 3, 4, 7, 20, 21, 500])
    draw = torch.Generator().manual_seed(0)
    inputs = words[torch.randint(7, (400, length), generator=draw)]
    tags = torch.randint(0, 3, (400, length), generator=draw)
    tags[:, -1] = -100
    return Data("sentences", Examples(inputs, tags), Examples(inputs[:9], tags[:9]), 3, "digest")


def by_strength(graded: Graded) -> list[tuple[float, torch.Tensor]]:
    """The strengths of a kind that is a probability, as quality tells them, and the rows of each."""
    quality = graded.data.train.quality
    return [(round(1 - float(value), 6), (quality == value).nonzero().squeeze(1)) for value in quality.unique()]


# --- who is degraded --------------------------------------------------------------------------------------------------


def test_a_share_is_degraded_evenly_over_the_levels_and_the_rest_untouched(make):
    source = make(4, examples=50)
    data = Graded(Stationary(source), "pixel", 0.6, 0.5, levels=4).data
    qualities = dict(zip(*(part.tolist() for part in data.train.quality.unique(return_counts=True)), strict=True))
    assert qualities == {0.5: 30, 0.625: 30, 0.75: 30, 0.875: 30, 1.0: 80}  # 200 examples: 80 clean, 120 in four levels
    clean = data.train.quality == 1
    assert torch.equal(data.train.inputs[clean], source.train.inputs[clean])
    assert (data.train.inputs[~clean] != source.train.inputs[~clean]).flatten(1).any(1).float().mean() > 0.8
    assert torch.equal(data.train.targets, source.train.targets)
    assert data.test is source.test


def test_strengths_may_be_drawn_uniformly(make):
    quality = Graded(Stationary(make(4, examples=500)), "pixel", 1.0, 0.5, levels=None).data.train.quality
    assert stats.kstest(quality.numpy(), stats.uniform(0.5, 0.5).cdf).pvalue > 1e-3
    assert quality.max() < 1


def test_the_draw_decides_and_a_larger_share_is_the_same_examples_and_more(make):
    def graded(**options):
        return Graded(Permuted(make(4, examples=50), 2), "pixel", **{"share": 0.3, **options}).data

    one, same, other, more = graded(), graded(), graded(draw=1), graded(share=0.6)
    assert torch.equal(one.train.inputs, same.train.inputs)
    assert one.digest == same.digest
    assert not torch.equal(one.train.quality, other.train.quality)
    degraded = one.train.quality < 1
    assert torch.equal(one.train.quality[degraded], more.train.quality[degraded])
    changes = {"share": 0.5}, {"strength": 0.5}, {"levels": 4}, {"levels": None}, {"draw": 1}, {"kinds": ["blur"]}, {}
    assert len({Graded(Stationary(make()), **{"kinds": "pixel", **change}).data.digest for change in changes}) == len(changes)


def test_nothing_is_degraded_without_a_share_or_a_strength(make):
    source = make(4, examples=50)
    for options in ({"share": 0}, {"strength": 0}):
        data = Graded(Stationary(source), ["label", "blur", "pixel"], **options).data
        assert torch.equal(data.train.inputs, source.train.inputs)
        assert torch.equal(data.train.targets, source.train.targets)
        assert (data.train.quality == 1).all()


# --- labels -----------------------------------------------------------------------------------------------------------


def test_labels_are_wrong_as_often_as_quality_says_and_wrong_ones_alike(make):
    source = make(5, examples=1000)
    graded = Graded(Stationary(source), "label", 0.9, 0.6, levels=3)
    told = Reader(graded.data, [graded.stream(0)]).targets_of(torch.arange(5000).unsqueeze(0), torch.zeros(1, 1).long())[0]
    wrong = told != source.train.targets
    for strength, rows in by_strength(graded):
        assert rate(int(wrong[rows].sum()), len(rows), strength)
    assert len(by_strength(graded)) == 4
    assert not wrong[graded.data.train.quality == 1].any()
    shift = (told - source.train.targets)[wrong] % 5
    assert stats.chisquare(torch.bincount(shift, minlength=5)[1:].numpy()).pvalue > 1e-3


def test_wrong_answers_are_the_other_units_of_the_task():
    # Classes 1, 3, 4 and 5 are of this task, with units 7, 2, 7 and 9; two of six slots are each other unit's, three times.
    labels = torch.tensor([-1, 7, -1, 2, 7, 9])
    made = answers(labels, 6)
    assert torch.equal(made[:6], labels)
    slots = made[6:].view(6, 6)
    assert slots[1].sort().values.tolist() == slots[4].sort().values.tolist() == [2, 2, 2, 9, 9, 9]
    assert slots[3].sort().values.tolist() == [7, 7, 7, 9, 9, 9]
    assert slots[5].sort().values.tolist() == [2, 2, 2, 7, 7, 7]
    assert (slots[[0, 2]] == -1).all()


def test_tasks_of_three_and_of_four_classes_have_all_wrong_answers_alike(make):
    graded = Graded(Split(make(7), 2), "label")
    for task in graded.stream(3).tasks:
        counts = [units.unique(return_counts=True)[1] for units in task.labels[7:].view(7, -1) if units[0] >= 0]
        assert all(len(count.unique()) == 1 for count in counts)
        assert {len(count) for count in counts} == {len(task.labels[:7].unique()) - 2}


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
def test_where_members_split_classes_otherwise_a_wrong_label_is_still_of_its_task(make, scenario):
    source = make(6, examples=100)
    graded = Graded(Split(source, 2, scenario), "label", 1.0, 0.5, levels=1)
    streams = [graded.stream(seed) for seed in (3, 4)]
    clean = [Split(source, 2, scenario).stream(seed) for seed in (3, 4)]
    assert not torch.equal(streams[0].tasks[0].labels, streams[1].tasks[0].labels)
    for stream, plain in zip(streams, clean, strict=True):
        for task, other in zip(stream.tasks, plain.tasks, strict=True):
            assert torch.equal(task.train, other.train)
            right, told = other.labels[source.train.targets[task.train]], task.labels[graded.data.train.targets[task.train]]
            assert rate(int((told != right).sum()), 300, 0.5)
            assert set(told.tolist()) == set(other.labels[other.labels >= 0].tolist())


def test_tags_are_replaced_one_by_one_and_what_has_none_has_none():
    source = tokens()
    graded = Graded(Stationary(source), "label", 1.0, 0.9, levels=3)
    stream = graded.stream(0)
    told = stream.tasks[0].labels[graded.data.train.targets.clamp(min=0)]
    for strength, rows in by_strength(graded):
        wrong = told[rows, :-1] != source.train.targets[rows, :-1]
        assert rate(int(wrong.sum()), wrong.numel(), strength)
    assert (graded.data.train.targets[:, -1] == -100).all()
    assert torch.equal(graded.data.train.inputs, source.train.inputs)


# --- inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14)])
def test_blur_is_scipys(shape):
    draw = torch.Generator().manual_seed(0)
    images = Examples(torch.randn(30, *shape, generator=draw), torch.arange(30) % 2)
    graded = Graded(Stationary(Data("floats", images, images, 2, "")), "blur", 0.8, 4.0, levels=4)  # wider than the image too
    quality = graded.data.train.quality
    for image, made, left in zip(images.inputs.numpy(), graded.data.train.inputs.numpy(), quality.tolist(), strict=True):
        sigma = round(1 / left - 1, 5)
        assert sigma in (0, 1, 2, 3, 4)
        expected = ndimage.gaussian_filter(image, (0, sigma, sigma)) if sigma else image
        np.testing.assert_allclose(made, expected, atol=2e-6)
    assert len(quality.unique()) == 5


def test_blurred_bytes_are_rounded_and_keep_their_brightness(make):
    source = make(4, examples=50, shape=(1, 12, 12))
    images = Graded(Stationary(source), "blur", 1.0, 2.0, levels=None).data.train
    sigmas = (1 / images.quality - 1).double()
    pairs = list(zip(source.train.inputs.double().numpy(), sigmas.tolist(), strict=True))
    expected = np.stack([ndimage.gaussian_filter(image, (0, sigma, sigma)) for image, sigma in pairs])
    assert images.inputs.dtype == torch.uint8
    assert np.abs(images.inputs.numpy() - expected).max() < 0.5 + 1e-2  # the cut-off is a step in sigma, known to 1e-7
    torch.testing.assert_close(gaussian(sigmas, 12).sum((1, 2)), torch.ones(200, 12))


def test_pixels_are_replaced_as_often_as_quality_says(make):
    source = make(4, examples=50, shape=(3, 10, 10))
    source = replace(source, train=replace(source.train, inputs=torch.zeros_like(source.train.inputs)))
    graded = Graded(Stationary(source), "pixel", 1.0, 0.8, levels=2)
    for strength, rows in by_strength(graded):
        values = graded.data.train.inputs[rows].flatten()
        assert rate(int((values > 0).sum()), len(values), strength * 255 / 256)
        assert stats.chisquare(torch.bincount(values[values > 0].long(), minlength=256)[1:].numpy()).pvalue > 1e-3
    quality = graded.data.train.quality
    assert sorted(round(q, 5) for q in quality.unique().tolist()) == [0.2, 0.6]


def test_features_are_shaken_in_units_of_their_own_width():
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(4000, 3, generator=draw) * torch.tensor([0.01, 100.0, 0.0]) + 5
    source = Data("table", Examples(inputs, torch.arange(4000) % 2), Examples(inputs[:4], torch.arange(4) % 2), 2, "")
    data = Graded(Stationary(source), "feature", 0.5, 2.0, levels=2).data
    noise = ((data.train.inputs - inputs) / inputs.std(0, correction=0).clamp(min=1e-9)).double()
    for left, width in ((1 / 3, 2.0), (1 / 2, 1.0), (1.0, 0.0)):
        rows = (data.train.quality - left).abs() < 1e-6
        assert int(rows.sum()) == {0.0: 2000}.get(width, 1000)
        np.testing.assert_allclose(noise[rows][:, :2].std(0).numpy(), width, rtol=4 / np.sqrt(2 * 1000), atol=1e-9)
        assert (data.train.inputs[rows][:, 2] == 5).all()


def test_tokens_are_replaced_by_others_of_the_data():
    source = tokens()
    graded = Graded(Stationary(source), "token", 1.0, 0.6, levels=2)
    made, known = graded.data.train.inputs, source.train.inputs.unique()
    for strength, rows in by_strength(graded):
        hit = made[rows] != source.train.inputs[rows]
        assert rate(int(hit.sum()), hit.numel(), strength)
    assert torch.isin(made, known).all()
    here = (made != source.train.inputs) & (source.train.inputs == 20)
    assert stats.chisquare([int((made[here] == word).sum()) for word in known if word != 20]).pvalue > 1e-3
    assert torch.equal(graded.data.train.targets, source.train.targets)


# --- several, and data with a quality of their own --------------------------------------------------------------------


def test_several_kinds_meet_the_same_examples_at_the_same_level(make):
    source = make(4, examples=50)
    both = Graded(Stationary(source), ["blur", "label"], 0.5, [2.0, 0.8], levels=2).data
    expected = {1.0: 100, 0.6 / 2: 50, 0.2 / 3: 50}  # (1 - .4) / (1 + 1), (1 - .8) / (1 + 2)
    found = dict(zip(*(part.tolist() for part in both.train.quality.unique(return_counts=True)), strict=True))
    assert {round(quality, 6): count for quality, count in found.items()} == {round(q, 6): n for q, n in expected.items()}
    blur = Graded(Stationary(source), "blur", 0.5, 2.0, levels=2).data.train
    assert torch.equal(both.train.inputs, blur.inputs)
    then = Graded(Stationary(source), ["blur", "pixel"], 0.5, [2.0, 0.2], levels=2).data.train
    rows = (1 / blur.quality - 1).round() == 2  # there a fifth of the pixels of the blurred images is replaced
    changed = (then.inputs != blur.inputs)[rows]
    assert rate(int(changed.sum()), changed.numel(), 0.2 * 255 / 256)


def test_a_quality_that_is_there_is_multiplied(make):
    plain = make(4, examples=50)
    own = torch.linspace(0, 1, 200)
    source = replace(plain, train=replace(plain.train, quality=own))
    here = Graded(Stationary(plain), "pixel", 0.5).data.train.quality
    torch.testing.assert_close(Graded(Stationary(source), "pixel", 0.5).data.train.quality, here * own)
    twice = Graded(Graded(Stationary(plain), "pixel", 0.5), "label", 0.5, draw=1).data.train.quality
    torch.testing.assert_close(twice, here * Graded(Stationary(plain), "label", 0.5, draw=1).data.train.quality)
    scores = replace(plain, train=replace(plain.train, quality=own * 3 - 1))
    with pytest.raises(UserError, match=r"environment\.base=made \(quality -1 to 2\): expected quality in \[0, 1\]"):
        Graded(Stationary(scores), "pixel")


# --- within and around other environments -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["label", "pixel"])
@pytest.mark.parametrize("base", [Stationary, Permuted, Split, Rotated])
def test_held_out_examples_are_clean(make, kind, base):
    source = make(4, examples=50, shape=(1, 8, 8))
    plain = base(source, 2, validation=0.3)
    graded = Graded(plain, kind, 0.7, 0.9)
    for task, other in zip(graded.stream(3).tasks, plain.stream(3).tasks, strict=True):
        held = graded.data.train.inputs[task.validation]
        assert torch.equal(held, source.train.inputs[other.validation])
        assert torch.equal(graded.data.train.targets[task.validation], source.train.targets[other.validation])
        assert (graded.data.train.quality[task.validation] == 1).all()
        assert torch.equal(task.train, other.train)
        assert torch.equal(task.test, other.test)
    assert len(graded.data.train) == 200 + 140
    assert not (set(task.train.tolist()) & set(task.validation.tolist()))


def test_what_the_base_is_for_stays(make):
    source = make(4, examples=50)
    inner = Reencounters(Permuted(source, 3), "power", amount=0.5)
    outside, inside = Graded(inner, "label"), Reencounters(Graded(Permuted(source, 3), "label"), "power", amount=0.5)
    one, other, plain = (environment.stream(7) for environment in (outside, inside, inner))
    for a, b, c in zip(one.phases, other.phases, plain.phases, strict=True):
        assert torch.equal(a.examples, b.examples)
        assert torch.equal(a.examples, c.examples)
        assert torch.equal(a.tasks, c.tasks)
    assert torch.equal(outside.data.train.targets, inside.data.train.targets)
    assert (one.view, one.scenario, one.outputs) == (plain.view, plain.scenario, plain.outputs)


def test_memorised_labels_may_be_wrong_too(make):
    graded = Graded(Relabelled(make(4, examples=50), 2, samples=100), "label", 1.0, 0.5, levels=1)
    task = graded.stream(3).tasks[1]
    told, right = (task.labels[split.targets[task.train]] for split in (graded.data.train, graded.data.test))
    assert rate(int((told != right).sum()), 100, 0.5)
    assert set(told.tolist()) <= {0, 1, 2, 3}


def test_wrong_labels_void_the_prediction_from_the_one_before(make):
    drift = Drift(make(2, examples=100, shape=(3,), ordered=True, dtype=torch.float32), 3)
    assert Graded(drift, "feature").stream(0).baseline is not None
    stream = Graded(drift, "label").stream(0)
    assert stream.baseline is None
    assert all(phase.ordered for phase in stream.phases)


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.1}, r"environment\.share=1\.1: expected a number in \[0, 1\]"),
        ({"share": -0.1}, r"environment\.share=-0\.1"),
        ({"share": None}, r"environment\.share=None"),
        ({"strength": 1.5}, r"environment\.strength=1\.5: expected a number in \[0, 1\]"),
        ({"strength": float("nan")}, r"environment\.strength=nan"),
        ({"strength": [0.1, 0.2]}, r"environment\.strength=\[0\.1, 0\.2\]: expected .* a list of one for each of label"),
        ({"strength": "much"}, r"environment\.strength=much"),
        ({"kinds": "blur", "strength": 1e9}, r"environment\.strength=1000000000\.0: expected a number in \[0, 100\]"),
        ({"kinds": "fog"}, r"environment\.kinds=fog: expected one of label, blur, pixel, feature, token"),
        ({"kinds": ["label", "fog"]}, r"environment\.kinds=fog"),
        ({"kinds": ["label", "label"]}, r"environment\.kinds=\['label', 'label'\]: expected different ones"),
        ({"kinds": []}, r"environment\.kinds=\[\]"),
        ({"kinds": None}, r"environment\.kinds=None"),
        ({"kinds": [1]}, r"environment\.kinds=\[1\]"),
        (
            {"kinds": "token"},
            r"environment\.kinds=token: expected label or blur or pixel: it is for tokens, and examples",
        ),
        ({"kinds": "feature"}, r"environment\.kinds=feature: .* it is for float features"),
        ({"levels": 0}, r"environment\.levels=0"),
        ({"draw": -1}, r"environment\.draw=-1"),
    ],
)
def test_options_out_of_range_are_refused(make, options, message):
    with pytest.raises(UserError, match=message):
        Graded(Stationary(make()), **options)


def test_what_data_do_not_have_cannot_be_degraded(make):
    for kind in ("blur", "pixel", "feature"):
        with pytest.raises(UserError, match=rf"environment\.kinds={kind}: expected label or token"):
            Graded(Stationary(tokens()), kind)
    with pytest.raises(UserError, match=r"environment\.kinds=blur: expected label or feature"):
        Graded(Stationary(make(shape=(3,), dtype=torch.float32)), "blur")


def test_a_task_of_one_class_has_no_wrong_answer(make):
    with pytest.raises(UserError, match=r"environment\.kinds=label: expected another: a task has one class alone"):
        Graded(Split(make(4), 4), "label").stream(0)


def test_only_environments_are_wrapped(make):
    with pytest.raises(UserError, match=r"environment\.base=Data: expected an environment to wrap"):
        Graded(make())
