"""As a lab meets it: a trained run, one command, people in Chromium, the number beside the paper's, the report."""

import argparse
import json
import os
import subprocess
import sys

import pytest

from igan import report
from igan.annotation import __main__, serve, sources, study
from igan.annotation.pool import decode
from igan.errors import UserError
from tests.browser import CHROMIUM, FLAGS, PHONE, playwright, with_chromium
from tests.command import REPOSITORY

from .test_browser import asked

QUESTIONS = 3
HOWS = ("keys", "mouse", "touch")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with runs/digits in it, trained here."""
    from igan.run import train
    from tests.run.test_train import game

    folder = tmp_path_factory.mktemp("lab")
    config = game()
    config.epochs, config.batch_size = 1, 200
    train.run(config, folder / "runs" / "digits")
    return folder


def test_a_run_is_sampled_against_its_own_data(runs, monkeypatch):
    """The newest run in runs/, without any argument; the images are those that `igan.sample` writes."""
    monkeypatch.chdir(runs)
    arguments = argparse.ArgumentParser()
    serve.add_arguments(arguments)
    path = serve.prepare(arguments.parse_args(["--questions=5", "--pool=30"]))
    assert path.name == "study.db" and path.parent.name == "digits"
    opened = study.open(path)
    assert set(opened.hashes()) == {"real", "digits"}
    assert decode(opened.image(opened.hashes()["digits"][0])).shape == (28, 28)
    description = opened.options["sources"][1]["description"]
    assert "averaged generator" in description and "at update" in description
    drawn, _, _ = sources.sample_run(runs / "runs" / "digits", 30)
    known = {pixels[..., 0].tobytes() for pixels in drawn.read(0, 30)}
    shown = {decode(opened.image(hash)).tobytes() for hash in opened.hashes()["digits"]}
    opened.close()
    path.unlink()
    assert shown <= known
    with pytest.raises(UserError, match="--generated=runs/digits"):
        sources.open_real("runs/digits")


@pytest.fixture
def served(runs):
    """The links for people and for the owner of a study of the run."""
    command = [sys.executable, "-m", "igan.annotation", "serve", "--generated=runs/digits", "--study=digits.db"]
    command += [f"--questions={QUESTIONS}", "--pool=30", "--port=0"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=runs, env=environment) as process:
        try:
            assert process.stdout
            yield [process.stdout.readline().split()[-1] for _ in range(2)]
        finally:
            process.kill()


def take(browser, link: str, how: str) -> bool:
    """One person takes the whole study; returns whether with feedback."""
    context = browser.new_context(**(PHONE if how == "touch" else {}))
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(link)
    with_feedback = False
    if how == "keys":
        page.locator("text=I agree, begin").focus()
        page.keyboard.press("Enter")
    else:
        page.click("text=I agree, begin")
    for number in range(QUESTIONS):
        asked(page, f"Image {number + 1} of {QUESTIONS}")
        if how == "keys":
            page.keyboard.press("ArrowLeft")
        elif how == "mouse":
            page.click("#answer button >> nth=0")
        else:
            page.tap("#answer button >> nth=0")
        there = f"#where:text-is('Image {number + 1} of {QUESTIONS}')"
        page.wait_for_selector(f"#verdict.right, #verdict.wrong, h1:not({there})")
        if page.locator("#verdict.right, #verdict.wrong").count():
            with_feedback = True
            page.wait_for_timeout(300)
            page.keyboard.press("Enter") if how == "keys" else page.click("#next a")
    page.wait_for_url("**/end")
    assert f"of {QUESTIONS} answers were right" in page.inner_text("main")
    context.close()
    return with_feedback


@with_chromium
def test_from_a_trained_run_to_the_number_beside_the_papers(served, runs, capsys, monkeypatch):
    link, owner = served
    arms: list[bool] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        while len(arms) < len(HOWS) or len(set(arms)) < 2:  # The arm is drawn: a person more, until both were seen.
            arms.append(take(browser, link, HOWS[len(arms) % len(HOWS)]))
            assert len(arms) < 20
        page = browser.new_page()
        page.goto(owner)
        page.click("text=Results")
        page.wait_for_selector("text=Share of right answers beside the paper's")
        shown = page.inner_text("body")
        browser.close()
    assert all(words in shown for words in ("paper, MNIST", "52.4 %", "78.7 %", "71.4 %", "this study, with feedback"))
    monkeypatch.chdir(runs)
    opened = study.open("digits.db")
    answers = opened.answers()
    opened.close()
    assert len(answers) == len(arms) * QUESTIONS and all(each.said_real for each in answers)
    by_person = {each.person: each.feedback for each in answers}
    assert sorted(by_person.values()) == sorted(arms)
    capsys.readouterr()
    assert __main__.main(["results", "digits.db", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    right = [each.real for each in answers]  # "Real" was said of all.
    assert found["pooled"]["right"] == sum(right) and found["people"]["kept"] == len(arms)
    assert report.main(["runs"]) == 0
    assert "[Real or generated?: all results](studies/" in (runs / "report" / "report.md").read_text()
