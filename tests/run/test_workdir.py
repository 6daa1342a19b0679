"""The small files of a work directory."""

import json
import os
from pathlib import Path

import pytest

from igan.config import default
from igan.errors import RunError, UserError
from igan.recorded import plain
from igan.run import workdir


def test_a_new_directory_decides_nothing(tmp_path: Path) -> None:
    config = default()
    assert workdir.settle(config, tmp_path) == config


def test_the_same_config_goes_on_and_what_may_change_may(tmp_path: Path) -> None:
    config = default()
    workdir.write(tmp_path / "config.json", plain(config))
    config.epochs, config.evaluation.interval, config.checkpoint.keep = 7, 8, 9
    config.reporting.samples, config.steps_per_chunk = 4, 3
    assert workdir.settle(config, tmp_path) == config


def test_another_config_is_refused_with_the_fields(tmp_path: Path) -> None:
    config = default()
    workdir.write(tmp_path / "config.json", plain(config))
    config.seed, config.networks.generator_layers = 5, (3,)
    with pytest.raises(UserError, match=r"generator_layers: was \[500, 500\], now \[3\]; seed: was 1, now 5"):
        workdir.settle(config, tmp_path)


def test_a_run_goes_on_with_the_source_it_found(tmp_path: Path) -> None:
    before = default()
    before.data.source = "embedded"
    workdir.write(tmp_path / "config.json", plain(before))
    config = default()
    assert workdir.settle(config, tmp_path).data.source == "embedded"
    assert config.data.source == "auto"  # The caller's config is not touched.
    config.data.source = "tfds"
    with pytest.raises(UserError, match=r"data\.source: was 'embedded', now 'tfds'"):
        workdir.settle(config, tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"[]", b"null", b"5", b'{"data": {}}', b'{"data": 3}', b"\xff\xfe\x00", b"\x00" * 300]
)
def test_a_damaged_config_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        workdir.settle(default(), tmp_path)
    assert "config.json" in str(caught.value) or "holds a run of another config" in str(caught.value)
    assert "--workdir" in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_for_the_config_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UserError, match="--workdir"):
        workdir.settle(default(), tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.json"
    workdir.write(path, {"steps": 1})

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="No space left on device"):
        workdir.write(path, {"steps": 2})
    assert json.loads(path.read_text()) == {"steps": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["summary.json"]


def test_a_directory_is_made_and_probed(tmp_path: Path) -> None:
    with workdir.held(tmp_path / "a" / "b"):
        assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [".lock"]
    (tmp_path / "file").touch()
    for impossible in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="--workdir"), workdir.held(impossible):
            pass


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with workdir.held(tmp_path):
        message = f"process {os.getpid()} is training in {tmp_path}: wait for it, stop it, or choose another --workdir"
        with pytest.raises(UserError, match=message), workdir.held(tmp_path):
            pass
    with workdir.held(tmp_path):
        pass


def test_a_lock_that_was_removed_meanwhile_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = workdir.lock.fcntl.flock

    def after_its_holder_has_gone(file, operation: int) -> None:
        (tmp_path / ".lock").unlink()
        lock(file, operation)

    monkeypatch.setattr(workdir.lock.fcntl, "flock", after_its_holder_has_gone)
    with pytest.raises(UserError, match="has just ended in"), workdir.held(tmp_path):
        pass


def test_nothing_is_left_of_a_run_that_wrote_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError), workdir.held(tmp_path / "a" / "b"):
        raise UserError("refused")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError), workdir.held(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "config.json").touch()
        raise UserError("failed later")
    assert sorted(each.name for each in (tmp_path / "a" / "b").iterdir()) == [".lock", "config.json"]


def test_what_is_younger_than_a_run_has_its_default(tmp_path: Path) -> None:
    """A field, a section's field and a technique that were not there yet: it goes on, and can be looked at."""
    before = plain(default())
    del before["deterministic"], before["data"]["fingerprint"], before["techniques"]["label_smoothing"]
    del before["techniques"]["feature_matching"]["distance"]
    workdir.write(tmp_path / "config.json", before)
    assert workdir.settle(default(), tmp_path) == default()
    assert plain(workdir.load(tmp_path)) == plain(default())
    other = default()
    other.deterministic = True
    with pytest.raises(UserError, match="deterministic: was False, now True"):
        workdir.settle(other, tmp_path)


def test_a_learning_rate_that_falls_keeps_its_epochs(tmp_path: Path) -> None:
    config = default()
    config.generator.constant_share = 0.5
    workdir.write(tmp_path / "config.json", plain(config))
    config.epochs = 7
    with pytest.raises(UserError, match="epochs: was 300, now 7, which the learning rate follows"):
        workdir.settle(config, tmp_path)


def test_half_of_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "200").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds checkpoints but no config\.json: restore it"):
        workdir.settle(default(), tmp_path)
    workdir.write(tmp_path / "config.json", plain(default()))
    workdir.write(tmp_path / "summary.json", {"steps": 1200})
    workdir.settle(default(), tmp_path)
    (tmp_path / "checkpoints" / "200").rmdir()
    with pytest.raises(UserError, match=r"has no checkpoint left of its 1,200 updates: restore the folder"):
        workdir.settle(default(), tmp_path)


def test_metrics_and_best(tmp_path: Path) -> None:
    assert workdir.metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "seconds": 2.0}\n{"step": 2, "seconds": 3.0}\n')
    assert [line["step"] for line in workdir.metrics(tmp_path)] == [1, 2]
    assert workdir.best([{"errors": [9, 5]}, {"errors": [7, 6]}], "errors") == [7, 5]


def test_versions_name_what_the_numbers_depend_on() -> None:
    found = workdir.versions()
    assert {"python", "jax", "jaxlib", "flax", "optax", "numpy"} <= found.keys()
    assert found["jax"][0].isdigit()
