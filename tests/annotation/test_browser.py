"""The page in Debian's Chromium: by mouse, keys and touch, without scripts, timed, side by side, and cut off."""

import contextlib
import time

import pytest

pytest.importorskip("apsw", reason='needs the extra "annotation"')

from igan.annotation import study
from tests.browser import PHONE, with_chromium

from .conftest import OWNER, Running, sources

pytestmark = with_chromium


@pytest.fixture
def visit(chromium):
    """Returns a function that begins a study in a new browser context: (page, what the console said, the server)."""
    with contextlib.ExitStack() as stack:

        def begin(path, **options):
            running = Running(path)
            stack.callback(running.stop)
            context = chromium.new_context(**options)
            stack.callback(context.close)
            page, said = context.new_page(), []
            page.set_default_timeout(60_000)  # On a busy machine a page of results takes its time.
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(running.link)
            page.click("text=I agree, begin")
            page.wait_for_selector("#stage img", state="attached")
            return page, said, running

        yield begin


def answers(running):
    opened = study.open(running.path)
    try:
        return opened.answers()
    finally:
        opened.close()


def wait_for(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def reached(page, where: str) -> None:
    """Waits for a question. (Functions that Playwright would poll are what the Content-Security-Policy forbids.)"""
    page.wait_for_selector(f"#where:text-is('{where}')")


def asked(page, where: str = "") -> None:
    """Waits until the answer to a question is taken, and for the moment after in which a press is not meant."""
    heading = f"#where:text-is('{where}')" if where else "#where"
    page.wait_for_selector(f"main[data-open]:has({heading})")
    page.wait_for_timeout(300)


def test_by_keys_with_feedback(make, visit):
    page, said, running = visit(make(questions=4, feedback="with"))
    for number in range(4):
        asked(page, f"Image {number + 1} of 4")
        page.keyboard.press("ArrowLeft" if number % 2 else "ArrowRight")
        page.wait_for_selector("#verdict.right, #verdict.wrong")
        given = answers(running)[-1]
        right = page.inner_text("#verdict").startswith("✓ Right: it is")
        assert right == (given.real == given.said_real)
        assert page.evaluate("document.activeElement.textContent") == "Next"
        page.wait_for_timeout(300)
        page.keyboard.press("Enter")
    page.wait_for_url("**/end")
    assert [each.said_real for each in answers(running)] == [False, True, False, True]
    assert all(0.2 < each.seconds < 10 for each in answers(running))
    assert said == []  # No error, and no report of the Content-Security-Policy.


def test_by_touch_on_a_phone_without_feedback(make, visit):
    page, said, running = visit(make(questions=3, feedback="without"), **PHONE)
    for number in range(3):
        asked(page, f"Image {number + 1} of 3")
        box = page.locator("#answer button").first.bounding_box()
        assert box["height"] >= 44 and box["x"] >= 0 and box["x"] + box["width"] <= 360
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        image = page.locator("#stage img").bounding_box()
        factor = image["width"] * 2.625 / 8  # Device pixels for each pixel of the image, frame of 1 aside.
        assert abs(factor - round(factor)) * 8 < 2 * 2.625 + 0.5
        page.tap("#answer button >> nth=1")
        page.tap("#answer button >> nth=1", force=True, no_wait_after=True) if number == 0 else None  # A double tap.
    page.wait_for_url("**/end")
    assert len(answers(running)) == 3 and said == []


@pytest.mark.parametrize(("scripts", "mode"), [(True, "single"), (False, "single"), (False, "side_by_side")])
def test_large_images_keep_their_proportions_on_a_small_screen(make, visit, scripts, mode):
    """512 pixels where there are 360: as wide as the page, and as high as they are wide."""
    path = make(given=sources(4, size=512), questions=2, pool=4, feedback="without", mode=mode)
    page, _, _ = visit(path, **(PHONE | {"device_scale_factor": 1}), java_script_enabled=scripts)
    for box in [each.bounding_box() for each in page.locator("#stage img").all()]:
        assert abs(box["width"] - box["height"]) < 1.5 and 140 < box["width"] <= 344
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    assert page.locator("body").bounding_box()["width"] <= 360


def test_without_scripts(make, visit):
    page, _, running = visit(make(questions=3, feedback="with"), java_script_enabled=False)
    for _ in range(3):
        page.click("#answer button >> nth=0")
        assert page.inner_text("#verdict").startswith(("✓", "✗"))
        page.click("text=Next")
    assert page.url.endswith("/end") and len(answers(running)) == 3


def test_side_by_side(make, visit):
    page, said, running = visit(make(questions=2, mode="side_by_side", feedback="without"), **PHONE)
    assert page.locator("#stage img").count() == 2 and page.evaluate("document.documentElement.scrollWidth") <= 360
    for number in range(2):
        asked(page, f"Pair {number + 1} of 2")
        page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/end")
    assert len(answers(running)) == 2 and said == []


def test_a_timed_image_is_shown_for_its_time_and_then_covered(make, visit):
    page, said, running = visit(make(questions=2, limit=0.3, feedback="without"))
    page.wait_for_selector("#show")
    position = "getComputedStyle(document.querySelector('#stage img')).objectPosition"
    assert page.evaluate(position) == "-9999px 0px" and page.locator("#answer button").first.is_disabled()
    page.click("#show")
    for number in range(2):
        asked(page, f"Image {number + 1} of 2")
        page.keyboard.press("ArrowRight")
    page.wait_for_url("**/end")
    opened = study.schema.connect(running.path, read_only=True)
    shown = [row[0] for row in opened.execute("SELECT shown FROM answer")]
    assert len(shown) == 2 and all(0.25 <= each < 1.5 for each in shown) and said == []


def test_a_lost_connection_is_waited_for(make, visit):
    page, _, running = visit(make(questions=3, feedback="without"))
    asked(page)
    page.context.set_offline(True)
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "Trying again" in page.inner_text("#trouble") and answers(running) == []
    page.context.set_offline(False)
    reached(page, "Image 2 of 3")
    assert len(answers(running)) == 1 and page.locator("#trouble").is_hidden()


def test_two_tabs_reload_and_back_leave_one_answer(make, visit):
    page, _, running = visit(make(questions=4, feedback="without"))
    other = page.context.new_page()
    other.goto(f"{running.base}/question")
    asked(other)
    asked(page)
    page.keyboard.press("ArrowLeft")
    reached(page, "Image 2 of 4")
    other.keyboard.press("ArrowRight")  # The same question, otherwise.
    reached(other, "Image 2 of 4")
    other.wait_for_selector("#trouble:has-text('first answer counts')")
    page.reload()
    assert page.inner_text("#where") == "Image 2 of 4"
    other.close()
    page.goto(f"{running.base}/static/icon.svg")  # Away, from the second question, and back to it.
    page.go_back()
    asked(page, "Image 2 of 4")
    page.keyboard.press("ArrowRight")
    reached(page, "Image 3 of 4")
    page.go_back()  # To a page on which the first question was answered, or out of the study and in again.
    page.go_forward()
    asked(page)
    page.keyboard.press("ArrowLeft")
    reached(page, "Image 4 of 4")
    assert [each.said_real for each in answers(running)] == [True, False, True]
    assert [each.position for each in answers(running)] == [0, 1, 2]


def test_the_owner_s_link_opens_the_page_and_leaves_no_token(make, visit):
    page, said, running = visit(make())
    owner = page.context.new_page()
    requests = []
    owner.on("request", lambda request: requests.append(request.url))
    owner.goto(f"{running.base}/owner#token={OWNER}")
    owner.wait_for_selector("text=began")
    assert owner.url == f"{running.base}/owner" and not any("token" in url for url in requests) and said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible(make, visit, scheme):
    """By the rules of axe, where it is installed, in both colour schemes."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page, _, running = visit(make(questions=1, feedback="with"), bypass_csp=True, color_scheme=scheme)
    found = []

    def examine(page) -> None:
        found.extend((page.url, each["id"]) for each in axe.run(page).response["violations"])

    fresh = page.context.browser.new_context(bypass_csp=True, color_scheme=scheme)
    examined = fresh.new_page()
    examined.goto(running.link)
    examine(examined)
    fresh.close()
    examine(page)
    asked(page)
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#verdict.right, #verdict.wrong")
    examine(page)
    page.goto(f"{running.base}/end")
    examine(page)
    page.goto(f"{running.base}/owner#token={OWNER}")
    page.wait_for_selector("text=began")
    examine(page)
    page.goto(f"{running.base}/owner/results")
    page.wait_for_selector("text=Accuracy")
    examine(page)
    assert found == []


@pytest.mark.parametrize(
    "options",
    [{"limit": 0.2, "feedback": "with"}, {"mode": "side_by_side", "checks": 1, "feedback": "without"}],
)
def test_other_questions_and_the_way_out_are_accessible(make, visit, options):
    """Timed ones, pairs and attention checks."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page, _, running = visit(make(questions=1, **options), bypass_csp=True)
    found = []

    def examine(selector: str) -> None:
        page.wait_for_selector(selector)
        found.extend((page.url, each["id"]) for each in axe.run(page).response["violations"])

    if "limit" in options:
        examine("#show")
        page.click("#show")
    examine("#answer button:not([disabled])")
    page.goto(f"{running.base}/stop")
    examine("text=Stop here?")
    page.goto(f"{running.base}/question")
    for _ in range(1 + options.get("checks", 0)):
        if "limit" in options:
            page.click("#show")
        asked(page)
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector("#verdict.right, #verdict.wrong") if "limit" in options else page.wait_for_timeout(400)
        examine("#stage, h1")
    assert found == []
