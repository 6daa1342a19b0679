"""The page in Debian's Chromium: by mouse, keys and touch, without scripts, timed, side by side, and cut off."""

import contextlib
import socket
import threading
import time

import pytest

pytest.importorskip("apsw", reason='needs the extra "annotation"')

import uvicorn

from igan.annotation import server, study
from igan.annotation.security import Patience
from tests.browser import PHONE, with_chromium

from .conftest import OWNER

pytestmark = with_chromium


class Running:
    """A server in a thread."""

    def __init__(self, path) -> None:
        self.path = path
        self.listening = socket.create_server(("127.0.0.1", 0))
        host = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.base = f"http://{host}"
        application = server.make(path, OWNER, [host])
        self.link = f"{self.base}/join/{application.state.server.study.link}"
        config = uvicorn.Config(application, http=Patience, log_config=None, access_log=False, ws="none")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(10)
        self.listening.close()


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
            page.set_default_timeout(10_000)
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


def test_by_keys_with_feedback(make, visit):
    page, said, running = visit(make(questions=4, feedback="with"))
    for number in range(4):
        reached(page, f"Image {number + 1} of 4")
        page.wait_for_timeout(300)
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
        reached(page, f"Image {number + 1} of 3")
        page.wait_for_timeout(300)
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
        reached(page, f"Pair {number + 1} of 2")
        page.wait_for_timeout(300)
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
        reached(page, f"Image {number + 1} of 2")
        page.wait_for_selector("#answer button:not([disabled])")
        page.wait_for_timeout(300)
        page.keyboard.press("ArrowRight")
    page.wait_for_url("**/end")
    opened = study.schema.connect(running.path, read_only=True)
    shown = [row[0] for row in opened.execute("SELECT shown FROM answer")]
    assert len(shown) == 2 and all(0.25 <= each < 1.5 for each in shown) and said == []


def test_a_lost_connection_is_waited_for(make, visit):
    page, _, running = visit(make(questions=3, feedback="without"))
    page.wait_for_timeout(400)
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
    page.wait_for_timeout(400)
    page.keyboard.press("ArrowLeft")
    reached(page, "Image 2 of 4")
    other.wait_for_timeout(300)
    other.keyboard.press("ArrowRight")  # The same question, otherwise.
    reached(other, "Image 2 of 4")
    other.wait_for_selector("#trouble:has-text('first answer counts')")
    page.reload()
    assert page.inner_text("#where") == "Image 2 of 4"
    page.go_back()
    page.goto(f"{running.base}/question")
    assert page.inner_text("#where") == "Image 2 of 4"
    assert [each.said_real for each in answers(running)] == [True]


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
    page.wait_for_timeout(400)
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#verdict.right, #verdict.wrong")
    examine(page)
    page.goto(f"{running.base}/end")
    examine(page)
    page.goto(f"{running.base}/owner#token={OWNER}")
    page.wait_for_selector("text=began")
    examine(page)
    assert found == []
