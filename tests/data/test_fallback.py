import contextlib
import http.server
import importlib.util
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from igan.data import load, tfds_source
from igan.errors import UserError


@pytest.fixture(autouse=True)
def nothing_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


@pytest.fixture
def tensorflow_installed(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: "found" if name == "tensorflow" else find_spec(name, *rest)
    )


@pytest.fixture
def tensorflow_missing(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorflow" else find_spec(name, *rest)
    )


@contextlib.contextmanager
def server(status: int | None) -> Iterator[str]:
    """An HTTP server on this machine that answers with the status, or accepts and never answers for None."""
    silence = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if status is None:
                silence.wait(20)
                return
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *_) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}/"
        finally:
            silence.set()
            listening.shutdown()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_any_answer_is_a_network(monkeypatch, status):
    with server(status) as address:
        monkeypatch.setattr(tfds_source, "DOWNLOAD_HOST", address)
        assert tfds_source.network_is_reachable()


def test_refused_connection_is_no_network(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(tfds_source, "DOWNLOAD_HOST", f"http://127.0.0.1:{unused.getsockname()[1]}/")
        assert not tfds_source.network_is_reachable()


def test_silent_host_is_no_network(monkeypatch):
    with server(None) as address:
        monkeypatch.setattr(tfds_source, "DOWNLOAD_HOST", address)
        start = time.monotonic()
        assert not tfds_source.network_is_reachable()
        assert time.monotonic() - start < 6


def test_hanging_name_server_delays_the_fallback_by_less_than_ten_seconds(monkeypatch, tensorflow_installed):
    release = threading.Event()

    def hang(*_, **__):
        release.wait(60)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    dataset = load("mnist", "auto", "")
    seconds = time.monotonic() - start
    release.set()
    assert dataset.name == "mnist5k" and seconds < 10


def test_fallback_is_announced_with_its_reason_and_the_remedy(tmp_path, monkeypatch, tensorflow_installed):
    monkeypatch.setattr(tfds_source, "network_is_reachable", lambda: False)
    dataset = load("mnist", "auto", str(tmp_path))
    assert dataset.name == "mnist5k"
    assert dataset.notice is not None and "\n" not in dataset.notice
    for part in (f"not prepared in {tmp_path} ", "(no network)", "4,000 train / 1,000 test", "--config.data.dir"):
        assert part in dataset.notice
    assert "pip install" not in dataset.notice  # TensorFlow is there, and would not help


def test_without_tensorflow_nobody_asks_the_network(tmp_path, monkeypatch, tensorflow_missing):
    monkeypatch.setattr(tfds_source, "network_is_reachable", lambda: pytest.fail("asked"))
    notice = load("mnist", "auto", str(tmp_path)).notice
    assert (
        notice is not None and "TensorFlow" in notice and 'pip install -e ".[prepare]" in the folder of igan' in notice
    )


@pytest.mark.parametrize("environment", [True, False])
def test_directory_nobody_typed_may_be_missing_and_is_named(tmp_path, monkeypatch, tensorflow_missing, environment):
    missing = tmp_path / "home" / "tensorflow_datasets"
    if environment:
        missing = tmp_path / "unmounted"
        monkeypatch.setenv("TFDS_DATA_DIR", str(missing))
    notice = load("mnist", "auto", "").notice
    assert notice is not None and f"{missing} (no such directory)" in notice
    with pytest.raises(UserError, match="unmounted" if environment else "tensorflow_datasets"):
        load("mnist", "tfds", "")


def test_failed_preparation_is_the_reason_given(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def fail(name: str, data_dir: str):
        raise OSError(28, "No space left on device\nand more lines")

    monkeypatch.setattr(tfds_source, "obstacle_to_preparing", lambda: None)
    monkeypatch.setattr(tfds, "builder", fail)
    dataset = load("mnist", "auto", str(tmp_path))
    assert dataset.name == "mnist5k" and dataset.notice is not None
    assert "No space left on device" in dataset.notice and "\n" not in dataset.notice
    for name, source in (("mnist", "tfds"), ("cifar10", "auto")):
        with pytest.raises(UserError, match="No space left on device"):
            load(name, source, str(tmp_path))
