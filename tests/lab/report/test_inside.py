"""Pictures, a film and words about what was kept of fields and slots."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lab.recorded import FILE, Recorded, load_recorded
from lab.report import inside
from lab.report.figures import write_run_figures
from lab.report.page import write_page
from lab.results import write_whole

from .made import cell as made

RNG = np.random.default_rng(0)


def record(members=3, layers=1, slots=4, marks=2, moments=9):
    """Fields that begin at 1.05, and slots that hold at random."""
    fields = 1.05 + RNG.uniform(0, 0.9, (moments, members, slots, slots)) * np.linspace(0, 1, moments)[:, None, None, None]
    shape = (2, members, layers, 2)
    contents = {
        "by_place": RNG.dirichlet(np.ones(slots), (*shape, 6)),
        "by_mark": RNG.dirichlet(np.ones(slots), (*shape, marks + 1)),
    }
    values = {f"pheromone.field_{n}": fields for n in range(layers)} | {"other.count": np.zeros((moments, members))}
    return Recorded(np.arange(moments) * 5, np.array([20, 40]), np.array([4, 7, 9][:members]), values, contents)


def test_fields_are_what_has_two_axes_behind_the_member():
    assert [*inside.fields_of(record(layers=2))] == ["pheromone.field_0", "pheromone.field_1"]
    assert inside.fields_of(None) == {}
    assert inside.over_time(None) is inside.film(None) is None


def test_a_film_has_a_frame_a_moment_and_they_differ():
    film = Image.open(io.BytesIO(inside.film(record())))
    assert film.format == "GIF"
    assert film.n_frames == 9
    first = np.asarray(film.convert("RGB"))
    film.seek(8)
    assert (np.asarray(film.convert("RGB")) != first).any()


def test_of_long_runs_a_film_has_no_more_than_so_many_frames():
    assert Image.open(io.BytesIO(inside.film(record(moments=120, members=1)))).n_frames == inside.FRAMES


def test_a_picture_says_steps_and_fields():
    figure = inside.over_time(record(layers=2))
    titles = [axes.get_title() for axes in figure.axes]
    assert "step 0" in titles
    assert "step 40" in titles
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["field 0", "field 1"]


def test_evenness_is_one_where_all_entries_are_equal_and_undefined_below_zero():
    fields = np.stack([np.full((2, 2), 1.05), [[1, 0], [0, 0]], [[-1, 1], [1, 1]]])[None].astype(float)
    found = inside._entropy(fields)[0]
    assert found[:2].tolist() == pytest.approx([1, 0])
    assert np.isnan(found[2])


def test_the_strongest_pathways_and_what_their_ends_hold():
    """By hand: the strongest leads from slot 2 to slot 1; slot 2 of the first view holds thrice as much of part 1 as of what
    was not planted, slot 1 of the second view twice as much of part 2."""
    kept = record(members=1, slots=2)
    kept.values["pheromone.field_0"][-1, 0] = [[0.1, 0.2], [2.0, 0.3]]
    kept.contents["by_mark"][-1, 0, 0, 0] = [[0.7, 0.3], [0.1, 0.9], [0.7, 0.3]]
    kept.contents["by_mark"][-1, 0, 0, 1] = [[0.4, 0.6], [0.6, 0.4], [0.8, 0.2]]
    assert inside.strongest(kept.values["pheromone.field_0"][-1, 0]) == [(1, 0), (1, 1), (0, 1)]
    assert inside.carried(kept)[0] == ["4", "1", "2 → 1", "2.00", "part 1 (x 3.00)", "part 2 (x 2.00)"]
    ends, all_slots = inside.mean_enrichment(kept)
    second, first = [1.0, 3.0], [2.0, 2 / 3]  # of either view's slots the part that each holds most of
    assert ends == pytest.approx(np.mean([second[1], first[0], second[1], first[1], second[0], first[1]]))
    assert all_slots == pytest.approx(np.mean([*second, *first]))


def test_a_part_that_no_sequence_has_is_left_out():
    less = record()
    less.contents["by_mark"][:, :, :, :, 2] = np.nan
    without = replace(less, contents=less.contents | {"by_mark": less.contents["by_mark"][:, :, :, :, :2]})
    assert inside.mean_enrichment(less) == inside.mean_enrichment(without)
    assert inside.carried(less) == inside.carried(without)
    assert inside.agreement(less) == inside.agreement(without)
    less.contents["by_mark"][:, :, :, :, 1:] = np.nan
    assert inside.mean_enrichment(less) is None


def test_without_marks_nothing_is_carried():
    kept = record()
    del kept.contents["by_mark"]
    assert inside.carried(kept) == []
    assert inside.mean_enrichment(kept) is None
    assert len(inside.agreement(kept)) == 3, "both views' slots, and the field"


def test_one_seed_agrees_with_nobody():
    assert inside.agreement(record(members=1)) == []


@pytest.fixture
def shown(tmp_path):
    """A cell whose directory has a record."""
    cell = made(seeds=3)
    found = record()
    write_whole(tmp_path / FILE, found.write)
    object.__setattr__(cell, "folders", (tmp_path,))
    return cell


def test_a_record_is_the_same_when_it_is_read_again(shown):
    again = load_recorded(shown.folders[0])
    assert again.seeds.tolist() == [4, 7, 9]
    assert again.values["pheromone.field_0"].shape == (9, 3, 4, 4)
    assert set(again.contents) == {"by_place", "by_mark"}


def test_a_run_draws_its_picture_and_film_among_its_figures(shown):
    names = {file.name for file in write_run_figures(shown.results, shown.folders[0])}
    assert {"inside.gif", "inside.svg", "inside.png"} <= names


def test_a_page_shows_it(shown, tmp_path):
    text = write_page(tmp_path / "page.html", [shown], None, "a run", "lab report").read_text()
    assert "<h2>Looking inside</h2>" in text
    film = re.search(r'src="data:image/gif;base64,([^"]+)"', text)[1]
    assert Image.open(io.BytesIO(base64.b64decode(film))).n_frames == 9
    assert "What the strongest pathways lead between" in text
    assert "Agreement of seeds" in text


def test_a_page_on_who_kept_nothing_does_not_speak_of_it(tmp_path):
    assert "Looking inside" not in write_page(tmp_path / "page.html", [made()], None, "a run", "lab report").read_text()
