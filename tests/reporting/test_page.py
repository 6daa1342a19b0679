"""The page of a report in Debian's Chromium: charts that zoom, runs to tick, tables that sort, films that stop."""

import numpy as np
import pytest
from PIL import Image

from igan import report
from tests.browser import PHONE, with_chromium
from tests.reporting.synthetic import make_run, score

pytestmark = with_chromium
CHART = "figure[data-chart] >> nth=0"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    for place, variant in enumerate(("ours", "-ls", "-l")):
        run = make_run(
            folder / "runs" / variant, variant=variant, seed=1, samples=True, points=6, curve_of_score=("fid", 40.0),
            scores={"fid": score(40.0 - 9.5 * place)},
        )  # fmt: skip
        for step in (200, 400):
            pixels = np.full((66, 66, 3), step // 2, np.uint8)
            Image.fromarray(pixels).save(run / "samples" / f"step_{step:08d}.png")
    report.write_report([folder / "runs"], folder / "out")
    return folder / "out" / "index.html"


@pytest.fixture
def visit(chromium, written):
    """Returns a function that opens the page in a browser with these options: (page, what went wrong or was asked)."""
    contexts = []

    def open_page(**options):
        context = chromium.new_context(**options)
        contexts.append(context)
        page, said = context.new_page(), []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto(written.as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_selector("figure[data-chart] svg")
        return page, said

    yield open_page
    for context in contexts:
        context.close()


def test_charts_are_zoomed_by_keys_buttons_and_mouse(visit):
    page, said = visit()
    chart = page.locator(CHART)

    def last() -> float:
        """The last update that the axis names."""
        texts = chart.locator("svg text[text-anchor=middle], svg text[text-anchor=end]").all_text_contents()
        return max(
            float(text.replace(",", ""))
            for text in texts
            if text.replace(",", "").isdigit() and int(text.replace(",", "")) >= 100
        )

    assert last() == 1200
    chart.locator(".plot").focus()
    page.keyboard.press("+")
    zoomed = last()
    assert zoomed < 1200
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert last() > zoomed
    page.keyboard.press("Escape")
    assert last() == 1200
    chart.get_by_role("button", name="Zoom in").click()
    assert last() < 1200
    chart.get_by_role("button", name="Show all updates").click()
    page.wait_for_function("[...document.images].every((image) => image.complete)")  # They move what is below them.
    plot = chart.locator(".plot")
    box = plot.bounding_box()
    plot.hover(position={"x": 0.3 * box["width"], "y": box["height"] / 2})  # Once it stands still.
    chart.locator(".readout", has_text="·").wait_for()  # The browser looks at the mouse once a frame.
    box = plot.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], middle)
    page.mouse.up()
    assert last() < 1000 and said == []


def test_what_is_not_ticked_is_gone_from_charts_and_pictures(visit):
    page, said = visit()
    lines, grids = page.locator(f"{CHART} >> path.curve"), page.locator("figure[data-group]:visible")
    assert lines.count() == 3 and grids.count() == 6  # A grid and a film each.
    page.locator(".compare").get_by_label("-ls", exact=True).uncheck()
    assert lines.count() == 2 and grids.count() == 4
    assert "-ls" not in page.locator(f"{CHART} >> ul.legend").inner_text()
    page.locator(".compare").get_by_label("-ls", exact=True).check()
    assert lines.count() == 3 and grids.count() == 6 and said == []


def test_tables_are_sorted_by_what_their_cells_say(visit):
    page, said = visit()
    table = page.locator("table", has=page.locator("caption", has_text="All runs"))
    column = [text.strip() for text in table.locator("thead th").all_text_contents()].index("last")
    cells = lambda: table.locator(f"tbody tr > :nth-child({column + 1})").all_text_contents()  # noqa: E731
    button = table.get_by_role("button", name="variant", exact=True)
    button.click()
    variants = table.locator("tbody tr > :nth-child(3)")
    assert variants.all_text_contents() == sorted(variants.all_text_contents(), key=lambda text: text.strip("-"))
    assert table.locator("th[aria-sort=ascending]").count() == 1
    before = cells()
    button.click()
    assert cells() == before[::-1] and table.locator("th[aria-sort=descending]").inner_text().startswith("variant")
    values = [["-", "1 h 2 min", "11 min 8 s", "41 s"], ["-2", "10", "9.5 ± 0.1", "1,200"]]
    found = page.evaluate("values => values.map(each => each.map(value))", values)
    assert found == [[None, 3720, 668, 41], [-2, 10, 9.5, 1200]] and said == []


def test_films_stop_and_do_not_start_where_nobody_wants_motion(visit):
    for motion, first in (("no-preference", "Stop the film"), ("reduce", "Play the film")):
        page, _ = visit(reduced_motion=motion)
        film = page.locator("figure.film >> nth=0")
        source = film.locator("img").get_attribute("src")
        film.get_by_role("button", name=first).click()
        assert film.locator("img").get_attribute("src") != source


def test_it_fits_a_phone_and_the_page_is_all_there_without_a_script(visit):
    for options in (PHONE, PHONE | {"java_script_enabled": False}):
        page, said = visit(**options)
        assert page.evaluate("document.documentElement.scrollWidth") == 360 and said == []
        for figure in page.locator("figure img, .plot svg").all():
            box = figure.bounding_box()
            assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= 360)
    assert page.locator("figure[data-chart] img").count() > 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(visit, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page, _ = visit(color_scheme=scheme)
    assert [each["id"] for each in axe.run(page).response["violations"]] == []
