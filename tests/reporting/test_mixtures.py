"""The table of mixtures: what is in which column, beside the papers' numbers."""

import base64
import io
import json

from PIL import Image

from igan.game import technique
from igan.reporting.mixtures import PACGAN, VEEGAN, left_out, mixture_table
from igan.reporting.pooling import pool
from igan.reporting.runs import load_runs

from .synthetic import make_run, score


def play(folder, variant, modes, quality, divergence, dataset="ring", protocol="2,500 samples"):
    scores = {
        name: score(list(values), protocol=protocol)
        for name, values in (("modes", modes), ("high_quality", quality), ("reverse_kl", divergence))
    }
    made = make_run(folder / variant, dataset=dataset, variant=variant, scores=scores, experiment="mixture")
    summary = json.loads((made / "summary.json").read_text()) | {"replicas": len(modes)}
    (made / "summary.json").write_text(json.dumps(summary))


def table_of(folder, dataset="ring"):
    return mixture_table(dataset, pool(load_runs([folder])[0]))


def test_each_technique_has_a_row_beside_the_papers(tmp_path):
    play(tmp_path, "ring-non_saturating", (6, 8), (20, 30), (0.5, 0.7))
    play(tmp_path, "ring-packing", (8, 8), (10, 12), (0.125, 0.125))
    table = table_of(tmp_path)
    assert table is not None
    assert table.header[:5] == ("technique", "n", "modes ↑", "high quality % ↑", "reverse KL ↓")
    rows = {row[0]: row[1:] for row in table.rows}
    # By hand: of 6 and 8 the sample deviation is the root of 2; 1,200 updates in 20 seconds.
    assert rows["non_saturating"][:5] == ("2", "7.00 ± 1.41", "25.00 ± 7.07", "0.600 ± 0.141", "60")
    assert rows["non_saturating"][5:] == ("6.3 ± .5; 98.2 ± .2; .45 ± .09", "1; 99.3")
    assert rows["packing"] == (
        "2", "8.00 ± 0.00", "11.00 ± 1.41", "0.125 ± 0.000", "60", "7.9 ± .1; 95.6 ± 2.0; .07 ± .03", "-",
    )  # fmt: skip
    # What nobody here has played, quoted.
    quoted = [table.rows[place][0] for place in sorted(table.quoted)]
    assert quoted == ["ALI", "PacGAN3", "PacGAN4", "unrolled GAN", "VEEGAN"]
    assert rows["VEEGAN"] == ("-", "-", "-", "-", "-", "-", "8; 52.9")
    best = {(table.rows[row][0], table.header[column]) for row, column in table.best}
    assert best == {
        ("packing", "modes ↑"), ("non_saturating", "high quality % ↑"), ("packing", "reverse KL ↓")
    }  # fmt: skip


def test_the_grid_has_its_own_numbers(tmp_path):
    play(tmp_path, "grid-minimax", (20, 21), (50, 50), (0.1, 0.1), dataset="grid")
    table = table_of(tmp_path, "grid")
    assert table is not None
    rows = {row[0]: row for row in table.rows}
    assert rows["GAN"][-2:] == (PACGAN["grid"]["GAN"], VEEGAN["grid"]["GAN"]) and "minimax" in rows


def test_no_table_of_images_nor_of_two_protocols(tmp_path):
    make_run(tmp_path / "images/a", scores={"fid": score([12.0])})
    assert table_of(tmp_path / "images", "cifar10") is None
    stacked = {"modes": score([730.0]), "reverse_kl": score([1.7])}  # Of a thousand, beside no paper's points.
    make_run(tmp_path / "digits/a", dataset="stacked_mnist", scores=stacked)
    assert table_of(tmp_path / "digits", "stacked_mnist") is None
    play(tmp_path / "two", "ring-packing", (8, 8), (10, 12), (0.1, 0.1))
    play(tmp_path / "two", "ring-minimax", (8, 8), (10, 12), (0.1, 0.1), protocol="100 samples")
    assert table_of(tmp_path / "two") is None


def test_what_is_never_played_is_said_in_a_table_of_many(tmp_path):
    for place in range(6):
        play(tmp_path, f"ring-{place}", (8, 8), (10, 12), (0.1, 0.1))
    table = table_of(tmp_path)
    assert table is not None
    assert all(any(name in note for note in table.notes) for name in left_out())
    assert not {"minimax", "minibatch_discrimination", "virtual_batch_norm"} & left_out().keys()
    assert left_out().keys() <= set(technique.known())


def test_a_row_has_a_thumbnail_of_its_first_replica(tmp_path):
    """Of two panels of 200 pixels, red and blue, the red one; a row without a readable picture has none."""
    play(tmp_path, "ring-hinge", (6, 8), (20, 30), (0.5, 0.7))
    play(tmp_path, "ring-r1", (6, 8), (20, 30), (0.5, 0.7))
    pictures = {each: tmp_path / each / "samples" / "step_00001200.png" for each in ("ring-hinge", "ring-r1")}
    for path in pictures.values():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no picture")
    image = Image.new("RGB", (401, 200), "blue")
    image.paste("red", (0, 0, 200, 200))
    image.save(pictures["ring-hinge"])
    table = table_of(tmp_path)
    assert table is not None
    shown = dict(zip((row[0] for row in table.rows), table.thumbnails, strict=True))
    assert shown["r1"] == shown["VEEGAN"] == ""
    kind, content = shown["hinge"].split(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).getcolors() == [(144 * 144, (255, 0, 0))]
