"""The page as a document: sound, accessible, whole in itself, true to the results, and safe against what users name."""

import json
import math
import re
import warnings

import pytest
from scipy import stats

from lab.experiment import Experiment
from lab.report.page import write_page
from lab.report.page.repeating import recipes
from lab.report.page.verdict import answers

from .made import cell as made
from .made import comparison
from .pages import EVIL, STUDY, Parsed, evil_page, page_of_all, page_of_one


@pytest.fixture(scope="module")
def pages(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    er = next(cell for cell in found if cell.name == "er")
    return {
        "study": page_of_all(folder / "study.html", found, STUDY),
        "run": page_of_one(folder / "run.html", er),
        "evil": evil_page(folder / "evil.html", found),
    }


@pytest.fixture(params=["study", "run", "evil"])
def parsed(pages, request):
    return Parsed(pages[request.param])


def specs(path):
    return json.loads(re.search(r'<script type="application/json" id="specs">(.*?)</script>', path.read_text(), re.S)[1])


def table(path, title):
    """Rows of text of the table with that caption."""
    part = re.search(rf'<caption class="unseen">{re.escape(title)}</caption>(.*?)</table>', path.read_text(), re.S)[1]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in part.split("<tr")[1:]]


def test_it_can_be_read_by_ear_and_keyboard(parsed):
    ids = [attributes["id"] for _, attributes, _ in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "main" in ids
    assert ({"class": "skip", "href": "#main"}, ("html", "body")) in parsed.all("a")
    assert len(parsed.all("h1")) == 1
    assert all(attributes.get("scope") in ("row", "col") for attributes, _ in parsed.all("th"))
    assert len(parsed.all("caption")) == len(parsed.all("table")) > 3
    assert all(attributes["alt"] for attributes, _ in parsed.all("img"))
    assert all("label" in around for _, around in parsed.all("input"))
    charts = [attributes for attributes, _ in parsed.all("div") if attributes.get("class") == "chart"]
    assert charts
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert len(parsed.all("figure")) == len(charts) == len([1 for _, around in parsed.all("summary") if "figure" in around])


def test_it_asks_for_nothing_from_elsewhere(parsed, pages):
    for tag, attributes, _ in parsed.elements:
        for key in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(key, "data:").startswith(("data:", "#")), (tag, attributes)
    style = "".join(data for tag, data in parsed.texts if tag == "style")
    assert style
    assert "url(" not in style
    assert "@import" not in style


def test_what_users_name_stays_text(pages):
    evil, sound = Parsed(pages["evil"]), Parsed(pages["study"])
    assert len(evil.all("script")) == len(sound.all("script"))
    assert all("onerror" not in attributes for _, attributes, _ in evil.elements)
    assert EVIL in evil.text()
    assert all("</script" not in data for tag, data in evil.texts if tag == "script")
    assert specs(pages["evil"])[0]["params"][0]["value"][0].startswith(EVIL)


@pytest.mark.parametrize(
    "said", [*(STUDY[key] for key in ("claim", "measured", "decides", "scale")), "20 minutes declared, 18.2"]
)
def test_a_study_says_what_it_came_to(pages, said):
    assert said in Parsed(pages["study"]).text()


def test_a_study_may_lack_all_but_its_verdict(found, tmp_path):
    study = {key: STUDY[key] for key in ("name", "claim", "verdict", "measured")}
    text = Parsed(page_of_all(tmp_path / "page.html", found, study, title=study["claim"])).text()
    assert text.count(study["claim"]) == 2  # the title and the heading
    assert study["measured"] in text


def test_tables_hold_what_charts_show_and_both_are_right(pages, found):
    naive = next(cell for cell in found if cell.name == "naive")
    title = f"Accuracy on tasks met: {naive.environment}"
    rows = [row for row in table(pages["study"], title) if row[0] == "naive"]
    values = naive.results.curves["accuracy"][:, -1].mean(1)
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    assert rows[-1] == ["naive", "24", f"{values.mean():.4f}", f"{low:.4f} to {high:.4f}", "4"]
    charts = [spec for spec in specs(pages["study"]) if spec["data"]["values"]]
    points = [point for point in charts[0]["data"]["values"] if point["series"] == "naive"]
    assert [f"{point['mean']:.4f}" for point in points] == [row[2] for row in rows]


def test_differences_are_those_of_the_seeds(pages, found):
    naive, er = (next(cell for cell in found if cell.name == name).values("accuracy") for name in ("naive", "er"))
    place = found[0].environment
    rows = [row for row in table(pages["study"], f"Accuracy, difference to naive: {place}") if row[0] == "er"]
    assert rows == [["er", str(seed), f"{er[seed] - naive[seed]:+.4f}"] for seed in er]


def test_every_chart_knows_all_series(pages, found):
    drawn = specs(pages["study"])
    names = [cell.name for cell in found]
    assert [spec["params"] for spec in drawn if "blank" not in spec["usermeta"]] == [[{"name": "shown", "value": names}]] * 5
    # What the page hides as a whole: three accuracy matrices, and what replay met again.
    assert sum("blank" in spec["usermeta"] for spec in drawn) == 4


def test_a_cell_is_repeated_from_what_the_page_holds(found, tmp_path):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    for cell, recipe in zip(found, recipes(found), strict=True):
        (tmp_path / recipe.file).write_text(recipe.text)
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            config = OmegaConf.to_container(compose(recipe.file.removesuffix(".yaml")), resolve=True)
        again = Experiment(config)
        assert recipe.commands[-1] == f"lab run -cd . -cn {recipe.file.removesuffix('.yaml')}"
        assert again.seeds == cell.results.seeds
        assert cell.results.provenance["cell"] in str(again.folder)
        assert str(cell.folders[0].parent) not in recipe.text


def test_a_comparison_begins_with_what_it_found(found, tmp_path):
    said = Parsed(page_of_all(tmp_path / "page.html", found)).text()
    assert "er cannot be told from naive by accuracy: " in said  # four seeds cannot
    assert said.index("cannot be told") < said.index("Results")


def test_of_many_comparisons_the_rest_is_counted():
    names = ("naive", *"abcdefghij")
    said = answers(comparison(names))
    assert len(said) == 9
    assert said[0] == ("a", "a has more accuracy than naive: 0.100 [0.050, 0.150], p = .010 after Holm's correction, 3 seeds")
    assert said[-1] == ("", "and 11 more comparisons in the tables below")


def test_what_was_left_out_is_named(tmp_path):
    page = write_page(tmp_path / "page.html", [made(diverged=(1,))], None, "One", "lab report x")
    assert "er: seed 1 diverged at step 100" in Parsed(page).text()


ODD = {
    "one seed": {"seeds": 1},
    "one task": {"tasks": 1},
    "fifty tasks": {"tasks": 50, "seeds": 2},
    "no curves": {"curves": False},
    "joint": {"joint": True},
    "all diverged": {"seeds": 2, "diverged": (0, 1), "curves": False},
}


@pytest.mark.parametrize("given", ODD.values(), ids=ODD)
def test_any_run_has_a_page(tmp_path, given):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        path = page_of_one(tmp_path / "page.html", made(**given))
    Parsed(path)
    numbers = [value for spec in specs(path) for row in spec["data"]["values"] for value in row.values()]
    assert not [value for value in numbers if isinstance(value, float) and not math.isfinite(value)]


def test_of_many_tasks_some_are_shown_and_the_page_says_so(tmp_path):
    path = page_of_one(tmp_path / "page.html", made(tasks=50, seeds=2))
    text = Parsed(path).text()
    assert "7 of 50 tasks, evenly spaced" in text
    assert "40 of 50 tasks, evenly spaced" in text
    assert path.stat().st_size < 5e6
    shown = {row["on"] for row in specs(path)[-1]["data"]["values"]}
    assert {"1", "50"} <= shown
    assert len(shown) == 40


def test_the_same_results_are_the_same_bytes(pages, found, tmp_path):
    er = next(cell for cell in found if cell.name == "er")
    assert page_of_one(tmp_path / "again.html", er).read_bytes() == pages["run"].read_bytes()
    assert pages["study"].stat().st_size < 1.6e6
