"""The command line and the files it writes, over synthetic runs."""

import json
import re
import subprocess
import sys

import pytest

from igan import report
from tests.reporting.synthetic import make_run, score


def row(table, name):
    """The cells of the first table row that starts with a name."""
    lines = [line for line in table.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


def one_line_error(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    return captured.err


def mnist(workdir, errors=(90, 93, 99), labels=100, **options):
    return make_run(workdir, dataset="mnist", errors=errors, labels=labels, **options)


def test_table_beside_the_paper(tmp_path, capsys):
    mnist(tmp_path / "runs" / "deep" / "a")
    mnist(tmp_path / "runs" / "b", errors=[300], labels=50)
    assert report.main([str(tmp_path / "runs"), f"--output={tmp_path / 'out'}"]) == 0
    captured = capsys.readouterr()
    table = captured.out
    assert row(table, "labels") == ["labels", "20", "50", "100", "200"]
    assert row(table, "paper ") == ["paper", "1677 ± 452", "221 ± 136", "93 ± 6.5", "90 ± 4.2"]
    assert row(table, "paper, ensemble of 10")[1:] == ["1134 ± 445", "142 ± 96", "86 ± 5.6", "81 ± 4.3"]
    assert row(table, "igan, averaged")[1:] == ["-", "300, n = 1", "94.0 ± 4.6, n = 3", "-"]
    assert row(table, "igan, raw")[1:] == ["-", "302, n = 1", "96.0 ± 4.6, n = 3", "-"]
    assert row(table, "igan, ensemble")[1:] == ["-", "-", "86, 3 models", "-"]
    assert row(table, "100 labels")[1:] == ["100", "1", "3", "2", "1,200", "finished"]
    assert captured.err == ""
    # The file holds the same rows, and more.
    written = (tmp_path / "out" / "report.md").read_text()
    assert set(table.splitlines()[:-1]) <= set(written.splitlines())
    assert "2 runs, 2 finished. " in written
    assert report.main([str(tmp_path / "runs" / "b"), f"--output={tmp_path / 'out'}"]) == 0
    assert "1 run, 1 finished. " in (tmp_path / "out" / "report.md").read_text()


def test_data_sets_have_a_section_each_and_can_be_chosen(tmp_path, capsys):
    mnist(tmp_path / "a")
    make_run(tmp_path / "b", dataset="mnist5k", errors=[50, 60], labels=100, test_examples=1_000)
    make_run(tmp_path / "c", dataset="fashion_mnist", errors=[1234], labels=100)
    output = f"--output={tmp_path / 'out'}"
    assert report.main([str(tmp_path), output]) == 0
    table = capsys.readouterr().out
    sections = dict(
        zip(re.findall(r"^## (.*)$", table, re.M), re.split(r"^## .*$", table, flags=re.M)[1:], strict=True)
    )
    assert list(sections) == ["MNIST", "MNIST (5,000 embedded digits)", "Fashion-MNIST"]
    embedded = sections["MNIST (5,000 embedded digits)"]
    assert "comparable with the paper" in embedded
    assert "per cent of 1,000" in embedded
    assert row(embedded, "igan, averaged") == ["igan, averaged parameters", "5.50 ± 0.71, n = 2"]
    assert row(sections["Fashion-MNIST"], "igan, averaged")[1] == "12.34, n = 1"
    assert [name for name, text in sections.items() if "\n| paper" in text] == ["MNIST"]
    assert report.main([str(tmp_path), output, "--dataset=mnist5k"]) == 0
    assert re.findall(r"^## (.*)$", capsys.readouterr().out, re.M) == ["MNIST (5,000 embedded digits)"]
    assert report.main([str(tmp_path), output, "--dataset=mnist6k"]) == 2
    assert "Did you mean 'mnist5k'?" in one_line_error(capsys)


def test_no_runs_and_unusable_paths(tmp_path, capsys):
    (tmp_path / "file").touch()
    for path, message in ((tmp_path, "No runs found"), (tmp_path / "file", "is not a directory"),
                          (tmp_path / "missing", "is not a directory")):  # fmt: skip
        assert report.main([str(path), f"--output={tmp_path / 'out'}"]) == 2
        assert message in one_line_error(capsys)
    mnist(tmp_path / "a")
    assert report.main([str(tmp_path), f"--output={tmp_path / 'file'}"]) == 2
    assert "--output=DIRECTORY" in one_line_error(capsys)


def test_pictures_are_beside_the_markdown_and_inside_the_page(tmp_path):
    for seed in (1, 2):
        make_run(tmp_path / "runs" / f"-l,seed={seed}", variant="-l", seed=seed, samples=True, points=3,
                 curve_of_score=("inception_score", 4.0))  # fmt: skip
    report.write_report([tmp_path / "runs"], tmp_path / "out")
    markdown, page = ((tmp_path / "out" / name).read_text() for name in ("report.md", "index.html"))
    linked = re.findall(r"\]\((pictures/[^)]+)\)", markdown)
    assert len(linked) == 6  # One score, three losses, two grids.
    assert {f"pictures/{path.name}" for path in (tmp_path / "out" / "pictures").iterdir()} == set(linked)
    assert page.count('src="data:image/png;base64,') == len(linked)
    assert "seed 2, update 1,200" in page
    assert not re.search(
        r"""(?:src|href)=["'](?!data:|#)|url\((?!#)|@import|<script[^>]|<link|https?://(?!www.w3.org/2000/svg)""", page
    )
    # Pictures first, then tables, curves, and what was run.
    for text in (markdown, page):
        places = [text.index(f"{word}") for word in ("Samples", "Ablation", "Losses", "What was run", "All runs")]
        assert places == sorted(places), places


def test_pictures_of_an_earlier_report_are_removed_and_others_kept(tmp_path):
    workdir = mnist(tmp_path / "a")
    report.write_report([tmp_path / "a"], tmp_path / "out")
    picture = tmp_path / "out" / "pictures" / "mnist_test_error_vs_step.png"
    assert picture.exists()
    (picture.parent / "mine.png").touch()
    (workdir / "metrics.jsonl").unlink()
    written = report.write_report([tmp_path / "a"], tmp_path / "out")
    assert any("no curve" in warning for warning in written.warnings)
    assert "94.0 ± 4.6" in (tmp_path / "out" / "report.md").read_text()
    assert [path.name for path in picture.parent.iterdir()] == ["mine.png"]


def test_damaged_and_unfinished_runs_are_named_everywhere(tmp_path, capsys):
    mnist(tmp_path / "runs" / "good")
    mnist(tmp_path / "runs" / "running", labels=50, summary=False)
    broken = mnist(tmp_path / "runs" / "broken", labels=200)
    (broken / "summary.json").unlink()
    (broken / "config.json").unlink()
    assert report.main([str(tmp_path / "runs"), f"--output={tmp_path / 'out'}"]) == 0
    errors = capsys.readouterr().err.splitlines()
    page, markdown = ((tmp_path / "out" / name).read_text() for name in ("index.html", "report.md"))
    assert len(errors) == 2
    for text in (*errors, page, markdown):
        assert "warning: " not in text or "runs/broken: config.json is missing" in text or "is unfinished" in text
    for text in (page, markdown):
        assert "runs/broken: config.json is missing" in text
        assert "runs/running is unfinished: 1,200 updates" in text


def test_unreadable_samples_are_left_out(tmp_path):
    workdir = mnist(tmp_path / "a", samples=True)
    (workdir / "samples" / "step_00009999.png").write_bytes(b"\x89PNG half")
    written = report.write_report([tmp_path / "a"], tmp_path / "out")
    assert any("step_00009999.png is no readable picture" in warning for warning in written.warnings)
    assert not any("samples" in picture.name for picture in written.pictures)


def test_help_and_module(tmp_path):
    mnist(tmp_path / "a", scores={"fid": score(20.0)})
    command = [sys.executable, "-m", "igan.report"]
    text = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "examples:" in text
    done = subprocess.run([*command, "a", "--output=out"], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={"PYTHONPATH": str(report.__file__).removesuffix("/igan/report.py")})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Wrote out/index.html (one page with everything) and out/report.md"


def test_runs_of_older_versions_without_experiment_and_variant(tmp_path):
    workdir = mnist(tmp_path / "old", errors=[90], seed=1)
    config = json.loads((workdir / "config.json").read_text())
    del config["experiment"], config["variant"]
    (workdir / "config.json").write_text(json.dumps(config))
    mnist(tmp_path / "new", errors=[94], seed=2)
    written = report.write_report([tmp_path], tmp_path / "out")
    assert "92.0 ± 2.8, n = 2" in (tmp_path / "out" / "report.md").read_text()
    assert written.warnings == ()


@pytest.mark.parametrize("hostile", ['<script>alert("1")</script>', "a|b", "x\ny"])
def test_names_from_runs_stay_text(tmp_path, hostile):
    make_run(tmp_path / "a", variant=hostile, scores={"fid": score(1.0, None, hostile)})
    report.write_report([tmp_path / "a"], tmp_path / "out")
    markdown, page = ((tmp_path / "out" / name).read_text() for name in ("report.md", "index.html"))
    for text in (markdown, page):
        assert "<script" not in text.replace("<script>\n", "", 1)  # The page's own.
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table[:3]}) == 1


def test_a_single_score_is_in_the_table_and_no_curve(tmp_path):
    for name, epochs in (("once", 1), ("often", 6)):
        run = make_run(
            tmp_path / name / "run", variant="ours", scores={"fid": score(20.0)}, curve_of_score=("fid", 20.0)
        )
        lines = (run / "metrics.jsonl").read_text().splitlines()
        scored = [line for line in lines if "scores/fid" in line]
        kept = [line for line in lines if line not in scored[:-epochs]]
        (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in kept))
        report.write_report([tmp_path / name], tmp_path / name / "out")
        page = (tmp_path / name / "out" / "index.html").read_text()
        assert "FID" in page and ("Scores during training" in page) == (name == "often")


def test_tables_scroll_in_their_own_container_and_charts_shrink(tmp_path):
    mnist(tmp_path / "a", scores={"fid": score(20.0)})
    report.write_report([tmp_path / "a"], tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert len(re.findall(r"<table>", page)) == len(re.findall(r'<div class="scroll[^>]*>\s*<table>', page)) == 6
    # A width of its own would make a picture wider than a telephone.
    assert not re.search(r"img \{[^}]*(min-width|[^-]width: *\d+(px|rem))", page)


def test_the_page_says_what_was_run_and_folds_the_rest(tmp_path):
    mnist(tmp_path / "a", settings={"average_rate": 0.25})
    report.write_report([tmp_path / "a"], tmp_path / "out")
    page, markdown = (
        (tmp_path / "out" / name).read_text().replace("<wbr>", "") for name in ("index.html", "report.md")
    )
    for text in (page, markdown):
        assert "What was run" in text
        assert "--config.average_rate=0.25" in text
        assert re.search(r"<details><summary>All \d+ fields</summary>", text)
        assert "techniques.virtual_batch_norm.reference_size" in text.partition("<details>")[2]
        assert "techniques.virtual_batch_norm.reference_size" not in text.partition("<details>")[0]


def test_a_report_leaves_the_devices_to_the_runs(tmp_path):
    mnist(tmp_path / "a")
    code = (
        "import sys, igan.report; from jax._src import xla_bridge; code = igan.report.main(sys.argv[1:]);"
        " sys.exit(code or len(xla_bridge._backends))"
    )
    environment = {"PYTHONPATH": str(report.__file__).removesuffix("/igan/report.py")}
    subprocess.run([sys.executable, "-c", code, "a"], cwd=tmp_path, env=environment, capture_output=True, check=True)
