"""Downloads that work, break off, are answered by another file, or find no network."""

import contextlib
import hashlib
import http.server
import socket
import threading
import time

import numpy as np
import pytest

from igan.errors import RunError, UserError
from igan.metrics import fetch, inception, weights

CONTENT = bytes(range(256)) * 1000


class Server(http.server.ThreadingHTTPServer):
    content = CONTENT
    cut = len(CONTENT)  # Where the first answer breaks off.
    honours_range = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []

    def address(self, name: str = "weights.pth") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        assert isinstance(server, Server)
        wanted = self.headers["Range"]
        server.requests.append((self.path, wanted))
        if self.path == "/gone.pth":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.honours_range else 0
        stop, server.cut = server.cut, len(server.content)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start:stop])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """Serves CONTENT as if it were the published file; its conversion is tested elsewhere."""
    arrays = {name: np.ones(shape, np.float32) for name, shape in inception.shapes(["64"]).items()}
    monkeypatch.setattr(weights, "SOURCE_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(fetch.torch_file, "read", lambda content: {})
    monkeypatch.setattr(fetch, "fold", lambda state: arrays)
    with Server() as server:
        monkeypatch.setattr(fetch, "ADDRESSES", (server.address(),))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def names(cache) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_download_leaves_the_converted_weights_alone(server, cache, capsys):
    assert fetch.main([]) == 0
    stored = weights.path_in_cache()
    assert names(cache) == [stored.name] and str(stored) in capsys.readouterr().out
    loaded = weights.load()
    assert loaded.digest == hashlib.sha256(CONTENT).hexdigest()[:8] and loaded.arrays["conv/bias"].sum() == 32


@pytest.mark.parametrize("honours_range", [True, False])
def test_an_interrupted_download_goes_on(server, cache, capsys, honours_range):
    server.cut, server.honours_range = 100_000, honours_range
    assert fetch.main([]) == 1
    assert "broke off after 100,000 of 256,000 bytes" in capsys.readouterr().err
    assert names(cache) == [fetch.FILE.replace(".pth", ".part")]
    with pytest.raises(UserError, match=r"there are no Inception weights at .*: run 'python -m igan.metrics.fetch'"):
        weights.load()
    assert fetch.main([]) == 0
    assert server.requests == [("/weights.pth", None), ("/weights.pth", "bytes=100000-")]
    assert names(cache) == [weights.path_in_cache().name]


def test_another_file_is_refused_and_not_kept(server, cache):
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(UserError, match=r"has the SHA-256 \w{16}\.\.\. and not \w{16}\.\.\."):
        fetch.fetch()
    assert names(cache) == []


def test_a_partial_file_of_something_else_is_not_accepted(server, cache):
    cache.mkdir(parents=True)
    (cache / fetch.FILE).with_suffix(".part").write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match="SHA-256"):
        fetch.fetch()
    assert names(cache) == []
    assert fetch.main([]) == 0


def test_the_second_address_stands_in_for_the_first(server, cache, monkeypatch):
    monkeypatch.setattr(fetch, "ADDRESSES", (server.address("gone.pth"), server.address("other.pth")))
    assert fetch.main([]) == 0
    assert [path for path, _ in server.requests] == ["/gone.pth", "/other.pth"]


def test_no_network_says_what_to_do(server, cache, monkeypatch, capsys):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        closed = listener.getsockname()[1]
    monkeypatch.setattr(fetch, "ADDRESSES", (f"http://127.0.0.1:{closed}/weights.pth",))
    assert fetch.main([]) == 2
    message = capsys.readouterr().err
    assert "cannot be downloaded" in message and fetch.ADDRESSES[0] in message and "fetch --from=" in message
    assert message.count("\n") == 1


def test_a_network_that_does_not_answer_is_given_up_soon(server, monkeypatch):
    monkeypatch.setattr(fetch, "SECONDS", 0.3)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        monkeypatch.setattr(fetch, "ADDRESSES", (f"http://127.0.0.1:{silent.getsockname()[1]}/weights.pth",) * 2)
        start = time.monotonic()
        with pytest.raises(UserError, match="cannot be downloaded"):
            fetch.fetch()
        assert time.monotonic() - start < 2


def test_from_a_file(server, cache, tmp_path, capsys):
    file = tmp_path / "weights.pth"
    assert fetch.main([f"--from={file}"]) == 2
    assert f"there is no {file}: download http" in capsys.readouterr().err
    file.write_bytes(CONTENT[:-5])
    assert fetch.main([f"--from={file}"]) == 2
    assert "it is another file or was cut off" in capsys.readouterr().err and file.exists()
    file.write_bytes(CONTENT)
    assert fetch.main([f"--from={file}"]) == 0
    assert file.exists() and names(cache) == [weights.path_in_cache().name] and not server.requests


def test_a_full_disk_is_one_line(server, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch.cache.tempfile, "mkstemp", fail)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        fetch.fetch()


def test_fold_is_the_two_layers_in_one(random):
    gamma, beta, mean = (random.normal(size=32) for _ in range(3))
    variance, kernel = random.random(32) + 0.1, random.normal(size=(32, 3, 3, 3))
    state = {
        "Conv2d_1a_3x3.conv.weight": kernel,
        "Conv2d_1a_3x3.bn.weight": gamma,
        "Conv2d_1a_3x3.bn.bias": beta,
        "Conv2d_1a_3x3.bn.running_mean": mean,
        "Conv2d_1a_3x3.bn.running_var": variance,
        "fc.weight": random.normal(size=(5, 4)),
        "fc.bias": random.normal(size=5),
    }
    arrays = fetch.fold(state)
    patch = random.normal(size=(3, 3, 3))  # height, width, channels
    convolved = np.einsum("hwc,ochw->o", patch, kernel)
    expected = (convolved - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    folded = np.einsum("hwc,hwco->o", patch, arrays["conv/kernel"]) + arrays["conv/bias"]
    np.testing.assert_allclose(folded, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(arrays["softmax/kernel"].T, state["fc.weight"], rtol=1e-6)
    for missing in ("Conv2d_1a_3x3.bn.running_var", "fc.bias"):
        with pytest.raises(UserError, match="this is not the Inception network"):
            fetch.fold({name: array for name, array in state.items() if name != missing})


def test_a_download_that_stops_in_the_middle_is_a_run_error(server, monkeypatch):
    class Broken:
        headers = {"Content-Length": "10"}  # noqa: RUF012

        def read(self, size):
            raise ConnectionResetError("reset by peer")

    with pytest.raises(RunError, match=r"broke off \(reset by peer\)"):
        path = weights.path_in_cache().with_suffix(".part")
        path.parent.mkdir(parents=True)
        fetch._receive(Broken(), path, 0)
