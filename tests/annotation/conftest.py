"""Small studies and a client that behaves as a browser does."""

import contextlib
import pathlib
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("apsw", reason='needs the extra "annotation"')
pytest.importorskip("starlette", reason='needs the extra "annotation"')
pytest.importorskip("httpx2", reason="Starlette's test client needs httpx2")

import uvicorn
from starlette.testclient import TestClient

from igan.annotation import serve, server, store, study
from igan.annotation.options import Options
from igan.annotation.pool import Source
from igan.metrics import images

OWNER = "the-owner's-token"


def sources(count: int = 60, generators: int = 1, size: int = 8) -> list[Source]:
    """Real images are darker than 128, generated ones lighter, so that tests can tell what people should not."""
    random = np.random.default_rng(0)

    def source(name: str, low: int, high: int) -> Source:
        array = random.integers(low, high, (count, size, size, 3)).astype(np.uint8)
        return Source(name, low == 0, f"{name}.npy", f"{count} images", images.from_array(name, array))

    return [source("real", 0, 128), *(source(f"g{number}", 128, 256) for number in range(generators))]


@pytest.fixture
def make(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """Returns a function that makes a study with these options and returns its path."""

    def build(name: str = "study.db", generators: int = 1, count: int = 60, given: Any = None, **options: Any):
        path = tmp_path / name
        study.create(path, Options(**({"questions": 8, "pool": count} | options)), given or sources(count, generators))
        return path

    return build


class Running:
    """A server in a thread, for clients that need a socket."""

    def __init__(self, path) -> None:
        self.path = path
        self.listening = serve.listen("127.0.0.1", 0)
        host = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.base = f"http://{host}"
        application = server.make(path, OWNER, [host])
        self.link = f"{self.base}/join/{application.state.server.study.link}"
        self.server = uvicorn.Server(serve.configuration(application))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(10)
        self.listening.close()


class Browser:
    """A participant's browser without scripts, on the test client."""

    def __init__(self, path: pathlib.Path) -> None:
        self.application = server.make(path, OWNER, ["testserver"], "http://testserver/join/...")
        self.server = self.application.state.server
        self.server.by_person.burst = 1e9  # Tests ask quicker than people.
        self.link = self.server.study.link
        self.client = self.another()

    def another(self) -> TestClient:
        """Returns another browser on the same server."""
        return TestClient(self.application, follow_redirects=False)

    def begin(self, client: TestClient | None = None, query: str = "") -> TestClient:
        """Consents, and returns the client."""
        client = client or self.client
        page = client.get(f"/join/{self.link}{query}")
        assert page.status_code == 200, page.text
        form = re.search(r'name="form" value="([^"]+)"', page.text)
        assert form
        reply = client.post(f"/join/{self.link}{query}", data={"form": form[1]})
        assert reply.status_code == 303, reply.text
        return client

    def question(self, client: TestClient | None = None) -> str:
        """Returns the id of the current question, or "" at the end."""
        page = (client or self.client).get("/question")
        found = re.search(r'name="question" value="([^"]+)"', page.text)
        return found[1] if found else ""

    def truth(self, question: str) -> bool:
        """Returns what the file says, and nobody may know."""
        row = self.server.reader.execute("SELECT person FROM question WHERE id = ?", (question,)).fetchone()
        found = store.asked(self.server.reader, row[0], question)
        assert found
        return found.truth

    def answer(self, question: str, said: str, client: TestClient | None = None, **fields: str) -> Any:
        """Sends an answer as a script does."""
        data = {"question": question, "said": said} | fields
        return (client or self.client).post("/answer", data=data, headers={"accept": "application/json"})


@pytest.fixture
def browse():
    """Returns a function that opens a study in a browser; closes all of them at the end."""
    opened: list[Browser] = []

    def start(path: pathlib.Path) -> Browser:
        opened.append(Browser(path))
        return opened[-1]

    yield start
    for each in opened:
        with contextlib.suppress(Exception):  # Closed by the test.
            each.server.close()
