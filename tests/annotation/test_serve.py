"""The command: sources, options that stay as they are, runs that are sampled, and words for what is wrong."""

import argparse
import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from igan.annotation import crowds, selection, serve, sources, study
from igan.annotation.__main__ import main
from igan.annotation.options import Options, check, from_plain
from igan.annotation.pool import Source
from igan.errors import UserError
from igan.metrics import images
from tests.command import REPOSITORY


@pytest.fixture
def folders(tmp_path):
    """An array of real images, and a folder of generated ones."""
    random = np.random.default_rng(0)
    np.save(tmp_path / "real.npy", random.integers(0, 128, (40, 8, 8)).astype(np.uint8))
    (tmp_path / "fake").mkdir()
    for number in range(40):
        pixels = random.integers(128, 256, (8, 8)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "fake" / f"{number}.png")
    return tmp_path


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(arguments)


def prepare(folders, *more: str):
    real, fake, path = (folders / name for name in ("real.npy", "fake", "s.db"))
    return serve.prepare(parse(f"--real={real}", f"--generated={fake}", f"--study={path}", "--questions=9", *more))


def test_a_study_is_made_once_and_then_gone_on_with(folders):
    path = prepare(folders, "--feedback=with", "--checks=2", "--title=Digits?")
    opened = study.open(path)
    assert opened.settings == Options(questions=9, feedback="with", checks=2, title="Digits?")
    names = [(source["name"], source["real"]) for source in opened.options["sources"]]
    assert names == [("real", True), ("fake", False)]
    assert prepare(folders, "--feedback=with") == path
    assert serve.prepare(parse(f"--study={path}")) == path
    with pytest.raises(UserError, match="feedback: with, not half"):
        prepare(folders, "--feedback=half")
    with pytest.raises(UserError, match="source: elsewhere"):
        serve.prepare(parse(f"--study={path}", "--generated=elsewhere"))
    assert study.open(path).definition == opened.definition


def test_a_study_whose_name_is_mistyped_is_not_made_anew(folders, monkeypatch):
    """Not even where there is a run that it could be made of."""
    path = prepare(folders)
    monkeypatch.setattr(sources, "newest_run", lambda _: pytest.fail("looked for a run"))
    with pytest.raises(UserError, match=r"no study .*t\.db\..*Did you mean 's\.db'.*--generated=RUN"):
        serve.prepare(parse(f"--study={path.with_name('t.db')}"))
    assert not path.with_name("t.db").exists()


def test_a_study_on_a_network_s_file_system_is_not_gone_on_with(folders, monkeypatch, capsys):
    path = prepare(folders)
    mounts = f"server:/lab {folders} nfs4 rw 0 0\n/dev/sda / ext4 rw 0 0\n"
    original = pathlib.Path.read_text
    monkeypatch.setattr(
        pathlib.Path,
        "read_text",
        lambda each, *rest, **more: mounts if str(each) == "/proc/self/mounts" else original(each, *rest, **more),
    )
    assert main(["serve", f"--study={path}", "--port=0"]) == 2
    assert "network's file system (nfs4)" in capsys.readouterr().err
    assert study.open(path).answers() == []  # Reading it is no danger.


def test_several_generators_have_names(folders):
    more = f"--generated=b={folders / 'fake'}"
    opened = study.open(prepare(folders, more))
    assert set(opened.hashes()) == {"real", "fake", "b"}
    with pytest.raises(UserError, match="NAME=SOURCE"):
        prepare(folders, more, more, f"--study={folders / 't.db'}")


def test_a_folder_whose_name_has_an_equals_sign_is_a_folder(folders):
    (folders / "fake").rename(folders / "lr=0.1")
    assert sources.open_generated(str(folders / "lr=0.1"), 10).name == "lr=0.1"
    assert sources.open_generated(f"mine={folders / 'lr=0.1'}", 10).name == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--real=r.npy"], "ive --generated=SOURCE"),
        (["--generated=f.npy", "--study=s.db"], "needs real images beside it"),
        (["--generated=f.npy"], "--study=FILE.db"),
        ([], "no trained run in runs"),
        (["--real=r.npy", "--generated=nowhere", "--study=s.db"], "there is no"),
        (["--codes=done=x", "--study=s.db", "--real=r", "--generated=g"], "--crowd=prolific"),
        (["--consent=none.txt", "--study=s.db", "--real=r", "--generated=g"], "cannot be read as text"),
    ],
)
def test_what_is_missing_is_said(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        serve.prepare(parse(*arguments))
    assert not (tmp_path / "s.db").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"questions": 0}, {"questions": 5000}, {"real_share": 1.0}, {"real_share": float("nan")}, {"feedback": "some"},
        {"mode": "three"}, {"limit": 0.01}, {"limit": float("nan")}, {"checks": -1}, {"checks": 51}, {"people": -1},
        {"margin": 0.5}, {"pool": 10}, {"jpeg": 0}, {"select": "best"}, {"title": "x" * 30_000},
        {"completion_code": "x", "crowd": crowds.PRESETS["prolific"]},
        {"staircase": True}, {"staircase": True, "feedback": "with", "mode": "side_by_side"}, {"checks_failed": 0},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError, match="--"):
        check(Options(**wrong))


def test_options_survive_the_file():
    options = Options(limit=0.5, title="ü", jpeg=90)
    assert from_plain(options.plain() | {"unknown": 1}) == options


def test_the_command_serves_and_ends(folders):
    """In a process of its own, as people type it."""
    arguments = [f"--real={folders / 'real.npy'}", f"--generated={folders / 'fake'}", f"--study={folders / 's.db'}"]
    command = [sys.executable, "-m", "igan.annotation", "serve", *arguments, "--questions=9", "--port=0"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folders
        ) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)  # Whatever fails.
        assert process.stdout and process.stderr
        people, owner = process.stdout.readline().split()[-1], process.stdout.readline().split()[-1]
        with urllib.request.urlopen(people, timeout=10) as reply:
            assert b"I agree, begin" in reply.read()
            assert not {"server", "date"} & {name.lower() for name in reply.headers}
        assert "#token=" in owner
        with urllib.request.urlopen(owner.partition("#")[0], timeout=10) as reply:
            assert b"Token" in reply.read()
        assert main(["serve", f"--study={folders / 's.db'}"]) == 2  # It is served already.
        process.send_signal(signal.SIGTERM)
        errors = process.stderr.read()
    token = owner.partition("token=")[2]
    assert "AUC" in errors and token not in errors and "127.0.0.1:" not in errors  # No log of who asked for what.


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_whoever_listens_beyond_this_machine_is_told_what_that_means(folders, monkeypatch, capsys, host, warned):
    path = prepare(folders)

    def serve_nobody(self, sockets):
        self.config.app.state.server.close()
        for each in sockets:
            each.close()

    monkeypatch.setattr("uvicorn.Server.run", serve_nobody)
    monkeypatch.setattr("igan.annotation.audit.audit", lambda _: ([], []))
    assert main(["serve", f"--study={path}", "--port=0", f"--host={host}"]) == 0
    captured = capsys.readouterr()
    assert "for people:" in captured.out and ("without encryption" in captured.err) is warned


def test_a_port_that_cannot_be_had_is_told_before_the_audit(folders, monkeypatch, capsys):
    monkeypatch.setattr("igan.annotation.audit.audit", lambda _: pytest.fail("a minute of waiting"))
    with serve.listen("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        assert main(["serve", f"--study={prepare(folders)}", f"--port={port}"]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_reply_is_sent_at_once():
    """Not when the packet is full or 40 ms are over, which is what a socket does that nobody tells (Nagle)."""

    async def connect() -> int:
        accepted = asyncio.get_running_loop().create_future()
        with serve.listen("127.0.0.1", 0) as listening:
            async with await asyncio.start_server(lambda _, writer: accepted.set_result(writer), sock=listening):
                _, other = await asyncio.open_connection(*listening.getsockname())
                writer = await accepted
                told = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                for each in (writer, other):
                    each.close()
                    await each.wait_closed()
        return told

    assert asyncio.run(connect()) == 1


@pytest.mark.parametrize(("command", "niceness", "own"), [("results", 0, 5), ("export", 12, 12), ("audit", 0, None)])
def test_who_answers_goes_before_who_reads(monkeypatch, tmp_path, command, niceness, own):
    """The priority of a process of its own is lowered, never raised, which the system would refuse."""
    told = []
    monkeypatch.setattr("os.getpriority", lambda *_: niceness)
    monkeypatch.setattr("os.setpriority", lambda kind, process, value: told.append(value))
    assert main([command, str(tmp_path / "none.db")]) == 2 and not told  # Within a process that goes on.
    monkeypatch.setattr("sys.argv", ["igan.annotation", command, str(tmp_path / "none.db")])
    assert main() == 2
    assert told == ([] if own is None else [own])


def test_the_audit_and_the_deletion_are_commands(folders, capsys):
    path = prepare(folders)
    assert main(["audit", str(path), "--images=30"]) == 0
    assert "AUC" in capsys.readouterr().out
    assert main(["delete", str(path), "nobody"]) == 2
    assert "nobody with the number" in capsys.readouterr().err


def test_the_best_share_by_a_score_is_kept():
    """Images whose logits are sharp and unlike the mean; by the definition of the divergence, row for row."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(200, 10)) * random.uniform(0.1, 5, (200, 1))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    by_hand = [sum(q * np.log(q / m) for q, m in zip(row, p.mean(0), strict=True)) for row in p]
    np.testing.assert_allclose(selection.divergences(logits), by_hand, rtol=1e-9)
    pixels = np.arange(200, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    source = Source("g", False, "g", "200 images", images.from_array("g", pixels))
    options = Options(select="top5%", select_score="inception_score")
    kept = selection.select(source, options, lambda _: logits)
    best = sorted(np.argsort(by_hand)[-10:])
    assert [int(each[0, 0, 0]) for each in kept.images.read(0, 10)] == best and kept.images.count == 10
    assert "top5% of 200" in kept.description
    real = source._replace(real=True)
    assert selection.select(real, options) is real
    with pytest.raises(UserError, match="Did you mean 'inception_score'"):
        selection.select(source, Options(select="top5%", select_score="inception"), lambda _: logits)
