"""The log, the grids and the progress display."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event, SessionLog

from igan.data.grids import SEPARATOR_GREY, encode_png, image_grid
from igan.errors import RunError, UserError
from igan.reporting import log as log_module
from igan.reporting.log import RunLog
from igan.reporting.progress import RunProgress


def read_lines(workdir: Path) -> list[dict]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def read_events(workdir: Path) -> list[Event]:
    """Events of all files in the order of the files: length, its checksum, the event, its checksum."""
    events = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            events.append(Event.FromString(content[at + 12 : at + 12 + length]))
            at += 16 + length
    return events


def test_log_writes_valid_json_and_scalars(tmp_path):
    with RunLog(tmp_path / "new" / "run", resume_step=0) as log:
        log.write(600, {"d/minimax": np.float32(0.5), "epoch": 1.0, "bad": float("nan"), "worse": np.inf})
        log.write(600, {"test_errors": np.array([90, 93, 99]), "gap": [1.0, float("nan")], "test_examples": 10_000})
    lines = read_lines(tmp_path / "new" / "run")
    assert lines == [
        {"step": 600, "d/minimax": 0.5, "epoch": 1.0, "bad": None, "worse": None},
        {"step": 600, "test_errors": [90, 93, 99], "gap": [1.0, None], "test_examples": 10_000},
    ]
    scalars = {
        value.tag: (event.step, value.simple_value)
        for event in read_events(tmp_path / "new" / "run")
        for value in event.summary.value
    }
    assert scalars == {
        "d/minimax": (600, 0.5),
        "epoch": (600, 1.0),
        "test_errors": (600, 94.0),
        "test_examples": (600, 10_000.0),
    }


def test_lines_are_on_disk_at_once(tmp_path):
    log = RunLog(tmp_path, resume_step=0)
    log.write(1, {"loss": 1.0})
    assert len(read_lines(tmp_path)) == 1  # Before close: a kill loses nothing.
    log.close()


@pytest.mark.parametrize("half_line", [b"", b'{"step": 500, "lo', b'{"step": 200', b"\x00\xff"])
def test_resumed_file_equals_the_uninterrupted_one(tmp_path, half_line):
    def write(log, steps):
        for step in steps:
            log.write(step, {"loss": 1 / step})
            log.write(step, {"test_errors": [step, step + 1]})

    with RunLog(tmp_path / "whole", resume_step=0) as log:
        write(log, range(100, 700, 100))
    with RunLog(tmp_path / "killed", resume_step=0) as log:
        write(log, range(100, 500, 100))
    with (tmp_path / "killed" / "metrics.jsonl").open("ab") as file:
        file.write(half_line)
    with RunLog(tmp_path / "killed", resume_step=200) as log:
        write(log, range(300, 700, 100))
    whole, killed = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "killed"))
    assert killed == whole


def test_a_whole_last_line_without_its_end_is_kept(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}')
    with RunLog(tmp_path, resume_step=2) as log:
        log.write(3, {})
    assert read_lines(tmp_path) == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_a_run_from_scratch_drops_step_zero_too(tmp_path):
    for _ in range(2):
        with RunLog(tmp_path, resume_step=0) as log:
            log.write(0, {"test_errors": [900]})
    assert len(read_lines(tmp_path)) == 1


@pytest.mark.parametrize(("resume_step", "first_purged"), [(200, 201), (0, 0)])
def test_tensorboard_hides_what_is_computed_again(tmp_path, resume_step, first_purged):
    with RunLog(tmp_path, resume_step=0) as log:
        log.write(300, {"loss": 1.0})
    assert not any(event.HasField("session_log") for event in read_events(tmp_path))
    with RunLog(tmp_path, resume_step=resume_step) as log:
        log.write(300, {"loss": 2.0})
    starts = [event for event in read_events(tmp_path) if event.session_log.status == SessionLog.START]
    assert [event.step for event in starts] == [first_purged]


def test_image_is_written_whole_and_goes_to_tensorboard(tmp_path):
    grid = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    with RunLog(tmp_path, resume_step=0) as log:
        path = log.image(1200, grid)
    assert path == tmp_path / "samples" / "step_00001200.png"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), grid)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    (event,) = [event for event in read_events(tmp_path) if event.summary.value]
    picture = event.summary.value[0].image
    assert (event.step, picture.height, picture.width, picture.colorspace) == (1200, 2, 2, 3)
    assert picture.encoded_image_string == path.read_bytes()


def test_full_disk_is_a_run_error_and_leaves_the_old_picture(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with RunLog(tmp_path, resume_step=0) as log:
        path = log.image(1, np.zeros([2, 2], np.uint8))
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(log_module.os, "fsync", full)
            with pytest.raises(RunError, match="No space left on device"):
                log.image(1, np.ones([2, 2], np.uint8))
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_while_writing_metrics(tmp_path):
    with RunLog(tmp_path, resume_step=0) as log, Path("/dev/full").open("ab", buffering=0) as full:
        log.write(1, {"loss": 1.0})
        log._metrics.close()
        log._metrics = full
        with pytest.raises(RunError, match=r"metrics.jsonl: No space left on device"):
            log.write(2, {"loss": 1.0})
    assert len(read_lines(tmp_path)) == 1


def test_unwritable_work_directory_is_a_user_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Cannot write to the work directory .*--workdir"):
        RunLog(tmp_path / "file", resume_step=0)


def test_grid_of_grey_images():
    images = np.stack([np.full([2, 3, 1], value) for value in (-1.0, 0.0, 1.0, 5.0, np.nan)])
    grid = image_grid(images, columns=3, value_range=(-1.0, 1.0))
    assert grid.dtype == np.uint8
    line, separator = [0, 0, 0, 96, 128, 128, 128, 96, 255, 255, 255], [96] * 11
    second = [255, 255, 255, 96, 0, 0, 0, 96, 96, 96, 96]
    np.testing.assert_array_equal(grid, [line, line, separator, second, second])
    assert SEPARATOR_GREY == 96


def test_grid_of_colour_images():
    images = np.zeros([2, 4, 4, 3])
    images[1, ..., 0] = 1.0
    grid = image_grid(images, columns=1)
    assert grid.shape == (9, 4, 3)
    assert grid[0, 0].tolist() == [0, 0, 0]
    assert grid[8, 3].tolist() == [255, 0, 0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(grid)))), grid)


@pytest.mark.parametrize(
    ("shape", "columns", "value_range"),
    [([4, 28, 28], 2, (0, 1)), ([4, 28, 28, 2], 2, (0, 1)), ([0, 28, 28, 1], 2, (0, 1)), ([4, 2, 2, 1], 0, (0, 1)),
     ([4, 2, 2, 1], 2, (1, 1))],
)  # fmt: skip
def test_grid_refuses_what_is_no_grid(shape, columns, value_range):
    with pytest.raises(ValueError, match="Expected"):
        image_grid(np.zeros(shape), columns, value_range)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def progress_into(stream, clock, terminal=False, width=100, total=1000, start=0):
    console = Console(file=stream, force_terminal=terminal, width=width, color_system=None)
    return RunProgress(total, start, "mnist", console=console, clock=clock)


def test_speed_leaves_compilation_out():
    clock = Clock()
    with progress_into(io.StringIO(), clock) as progress:
        assert progress.seconds_left() is None
        clock.now = 50.0  # Compiles for 40 s, then 10 steps/s.
        progress.update(100)
        assert progress.steps_per_second() == pytest.approx(2.0)
        for _ in range(3):
            clock.now += 10.0
            progress.update(int(100 + 10 * (clock.now - 50)))
            assert progress.steps_per_second() == pytest.approx(10.0)
        assert progress.seconds_left() == pytest.approx((1000 - 400) / 10)


def test_speed_of_a_resumed_run_counts_its_own_steps():
    clock = Clock()
    with progress_into(io.StringIO(), clock, start=500) as progress:
        clock.now = 10.0
        progress.update(600)
        assert progress.steps_per_second() == pytest.approx(10.0)


def test_speed_follows_the_last_minute():
    clock = Clock()
    with progress_into(io.StringIO(), clock, total=100_000) as progress:
        step = 0
        for speed in (100, 10):
            for _ in range(20):
                clock.now += 10.0
                step += 10 * speed
                progress.update(step)
                progress.update(step, "evaluated")  # The same step again does not hide the speed.
        assert progress.steps_per_second() == pytest.approx(10.0)


def test_plain_lines_come_every_thirty_seconds_and_at_the_end():
    stream, clock = io.StringIO(), Clock()
    with progress_into(stream, clock) as progress:
        for step in range(10, 210, 10):
            clock.now += 5.0
            progress.update(step, f"epoch {step / 100}  errors [93, 95]")
        progress.note("a note [with] brackets " + "x" * 100)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6  # At 5, 35, 65 and 95 s, the note, and the end.
    assert lines[0] == "mnist 10/1000 (1.0 %)  2.0 steps/s  ETA 0:08:15  epoch 0.1  errors [93, 95]"
    assert lines[4] == "a note [with] brackets " + "x" * 100
    assert lines[5].startswith("mnist 200/1000 (20.0 %)")
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_bar_keeps_the_remaining_time_readable(width):
    stream, clock = io.StringIO(), Clock()
    with progress_into(stream, clock, terminal=True, width=width, total=180_000) as progress:
        progress.note("[note]")
        for step in (600, 1200):
            clock.now += 10.0
            progress.update(step, "epoch 2.0  test errors 2038 (raw [9])")
    last = stream.getvalue().splitlines()[-2]  # The last line brings the cursor back.
    assert "1200/180000" in last
    assert "60.0 steps/s  ETA 0:49:40" in last
    assert "epoch 2.0  test" in last
    assert "[note]" in stream.getvalue()


def test_no_bar_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # As some CI services do.
    with RunProgress(10, 0, "mnist") as progress:
        progress.update(10, "epoch 1")
    output = capsys.readouterr().out
    assert output.startswith("mnist 10/10 (100.0 %)")
    assert "\x1b" not in output
