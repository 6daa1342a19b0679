"""Makes a study, or goes on with one, and serves it.

    python -m igan.annotation serve                                       # the newest run in runs/ against its own data
    python -m igan.annotation serve --real=tfds:cifar10/test --generated=runs/cifar10 --study=cifar10.db
    python -m igan.annotation serve --study=cifar10.db                    # goes on with what is in the file

The options of a study are fixed when it is made; a study that is there is served as it is.
"""

import argparse
import dataclasses
import ipaddress
import logging
import os
import socket
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igan import lock
from igan.annotation import audit, crowds, options, schema, server, sources, study
from igan.annotation.options import Options
from igan.annotation.pool import Source
from igan.errors import RunError, UserError, did_you_mean

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

RUNS = Path("runs")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ALL_ADDRESSES = ("0.0.0.0", "::")
LONGEST_CONSENT = 1 << 20
CROWD_FIELDS = ("codes", "completion", "crowd_person", "crowd_session")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("--study", type=Path, help="the file; default: study.db in the newest run's directory")
    parser.add_argument("--real", help="a folder, an .npy or .npz file, or tfds:NAME/SPLIT")
    parser.add_argument(
        "--generated", action="append", default=[], metavar="[NAME=]SOURCE", help="the same, or a run; may be repeated"
    )
    parser.add_argument("--data_dir", default="", help="where tensorflow-datasets keeps its data")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine alone")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any that is free")
    parser.add_argument("--public", default="", metavar="URL", help="how people reach it through a reverse proxy")
    group = parser.add_argument_group("options of a new study, which cannot be changed later")
    defaults = Options()
    kinds: dict[str, Any] = {"limit": float, "jpeg": int}
    for field in dataclasses.fields(Options):
        default = getattr(defaults, field.name)
        if field.name in ("crowd", "consent"):
            continue
        if isinstance(default, bool):
            group.add_argument(f"--{field.name}", action=argparse.BooleanOptionalAction, help=f"default: {default}")
        else:
            kind = kinds.get(field.name, type(default))
            group.add_argument(f"--{field.name}", type=kind, help=f"default: {default!r}")
    group.add_argument("--consent", type=Path, metavar="FILE", help="plain text that people agree to")
    group.add_argument("--crowd", help=f"people come from one of {', '.join(crowds.PRESETS)}, custom")
    group.add_argument("--codes", default="", help="of its outcomes: done=CODE,screened_out=CODE,no_consent=CODE")
    group.add_argument("--completion", default="", metavar="URL", help="where they go back to, with {code} in it")
    group.add_argument("--crowd_person", default="", metavar="NAME", help="the link's parameter with a person's id")
    group.add_argument("--crowd_session", default="", metavar="NAME", help="the one with the participation's id")


def run(arguments: argparse.Namespace) -> None:
    """Makes the study if it is not there, checks it, prints both links, and serves until a signal comes."""
    hosts_are_known(arguments.host, arguments.public)
    path = prepare(arguments)
    if not all(os.access(each, os.W_OK) for each in (path, path.absolute().parent)):
        raise UserError(f"answers are stored in {path}, and there nobody can write: copy it to another folder")
    taken = f"{path} is served by another process: stop that one first"
    # Listening from here on: who comes already waits for the audit, which takes a while.
    with lock.held(path.with_name(f"{path.name}.lock"), taken), listen(arguments.host, arguments.port) as listening:
        channels, shortcuts = audit.audit(path)
        print(audit.report(channels, shortcuts), file=sys.stderr)
        audit.refuse(channels)
        _serve(path, arguments, listening)


def prepare(arguments: argparse.Namespace) -> Path:
    """Returns the path of the study, which is made if it is not there.

    Raises UserError for options that are not those of the study that is there.
    """
    run_directory = None
    if not arguments.generated and (not arguments.study or not arguments.study.exists()):
        if arguments.real:
            raise UserError(
                f"--real={arguments.real} alone: what are its images compared with? Give --generated=SOURCE"
            )
        if arguments.study:  # Mistyped, rather than meant: a study of whatever run is the newest would be a surprise.
            _refuse_missing(arguments.study)
        run_directory = sources.newest_run(RUNS)
    if not arguments.study and not run_directory:
        raise UserError("the study needs a name: --study=FILE.db")
    path = (arguments.study or (run_directory or Path()) / "study.db").expanduser()
    asked = given(arguments)
    if path.exists():
        schema.check_file_system(path)
        _check_unchanged(path, asked, arguments)
        return path
    wanted = options.check(dataclasses.replace(Options(), **asked))
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.absolute().parent} for the study: make it, or give another --study")
    schema.check_file_system(path)
    study.create(path, wanted, open_sources(arguments, wanted, run_directory))
    return path


def _refuse_missing(path: Path) -> None:
    try:
        there = [each.name for each in path.expanduser().absolute().parent.iterdir() if schema.is_study(each)]
    except OSError:
        there = []
    raise UserError(
        f"there is no study {path}.{did_you_mean(path.name, there) if there else ''} A new one needs what it shows: add"
        " --generated=RUN, or --real=SOURCE --generated=SOURCE"
    )


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that were typed."""
    names = [field.name for field in dataclasses.fields(Options) if field.name not in ("crowd", "consent")]
    asked = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.consent:
        try:
            with arguments.consent.expanduser().open(encoding="utf-8") as file:
                asked["consent"] = file.read(LONGEST_CONSENT)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--consent={arguments.consent} cannot be read as text ({error})") from error
    if arguments.crowd:
        names = (arguments.crowd_person, arguments.crowd_session)
        asked["crowd"] = crowds.make(arguments.crowd, arguments.codes, arguments.completion, *names)
    elif stray := [name for name in CROWD_FIELDS if getattr(arguments, name)]:
        raise UserError(f"--{stray[0]} says how people come from a service: add --crowd=prolific, or another")
    return asked


def open_sources(arguments: argparse.Namespace, wanted: Options, run_directory: Path | None) -> list[Source]:
    """Returns where the images of a new study come from."""
    from igan.annotation import selection

    candidates = selection.candidates(wanted)
    if run_directory:
        real, generated = sources.both_of_run(run_directory, candidates, arguments.data_dir)
        found = [real, generated]
    elif arguments.real:
        found = [sources.open_real(arguments.real, arguments.data_dir)]
        found += [sources.open_generated(each, candidates, arguments.data_dir) for each in arguments.generated]
    elif len(arguments.generated) == 1 and sources.is_run(arguments.generated[0]):
        run = Path(arguments.generated[0]).expanduser()
        found = list(sources.both_of_run(run, candidates, arguments.data_dir))
    else:
        raise UserError("--generated needs real images beside it: --real=SOURCE, as --real=tfds:cifar10/test")
    return [selection.select(source, wanted) for source in found]


def hosts_are_known(host: str, public: str) -> None:
    """Raises UserError for a host or a public address that cannot be meant."""
    if public:
        parts = urllib.parse.urlsplit(public)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
            raise UserError(f"--public={public}: expected https://NAME, without a path")
    if not host:
        raise UserError("--host is empty: expected an address, as --host=127.0.0.1")


def allowed_hosts(host: str, port: int, public: str) -> list[str]:
    """Returns the values of the header Host that are answered.

    >>> allowed_hosts("127.0.0.1", 8000, "https://study.lab.test")[-1]
    'study.lab.test'
    """
    names: list[str] = [*LOOPBACK]
    if host not in LOOPBACK:
        names.append(host)
    if host in ALL_ADDRESSES:
        names += [socket.gethostname(), socket.getfqdn(), *_addresses()]
    found = [f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in dict.fromkeys(names)]
    if public:
        found.append(urllib.parse.urlsplit(public).netloc)
    return found


def _serve(path: Path, arguments: argparse.Namespace, listening: socket.socket) -> None:
    import uvicorn

    port = listening.getsockname()[1]
    base = arguments.public.rstrip("/") or f"http://{_shown(arguments.host)}:{port}"
    opened = study.open(path)
    link, crowd = f"{base}/join/{opened.link}", opened.settings.crowd
    sources.record_study(path, opened.options["sources"])
    opened.close()
    link += f"?{crowd.link}" if crowd and crowd.link else ""
    token = server.new_token()
    hosts = allowed_hosts(arguments.host, port, arguments.public)
    application = server.make(path, token, hosts, link, secure=base.startswith("https:"))
    print(f"for people:    {link}\nfor the owner: {base}/owner#token={token}", flush=True)
    if arguments.host not in LOOPBACK:
        print(
            "note: listening beyond this machine, without encryption: everybody in between can read answers and the"
            " owner's token. A reverse proxy with TLS is described in docs/human_evaluation.md",
            file=sys.stderr,
        )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = configuration(application, behind_proxy=bool(arguments.public))
    uvicorn.Server(config).run(sockets=[listening])


def configuration(application: "Starlette", *, behind_proxy: bool = False) -> "uvicorn.Config":
    """Returns how studies are served: patiently, and without a word of who asks."""
    import uvicorn

    from igan.annotation.security import Patience

    return uvicorn.Config(
        application,
        http=Patience,
        loop="asyncio",  # uvloop starts the process of results in a way at which JAX warns of a deadlock.
        ws="none",
        log_config=None,
        access_log=False,  # It would keep addresses of people.
        server_header=False,
        date_header=False,
        proxy_headers=behind_proxy,
        limit_concurrency=2000,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=16 * 1024,
    )


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket on which connections wait already, port 0 for any. Raises RunError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Its protocol is named, else asyncio lets the system wait 40 ms for more before it sends the rest of a reply.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)  # Before the links are printed, so that they work at once.
    except (OSError, OverflowError) as error:
        listening.close()
        raise RunError(f"cannot listen on {host}:{port} ({error}): choose another --port, or --port=0") from error
    return listening


def _check_unchanged(path: Path, asked: dict[str, Any], arguments: argparse.Namespace) -> None:
    opened = study.open(path)
    have, addresses = opened.settings, [source["address"] for source in opened.options["sources"]]
    opened.close()
    differ = [
        f"{name}: {getattr(have, name)}, not {value}" for name, value in asked.items() if getattr(have, name) != value
    ]
    typed = [*([arguments.real] if arguments.real else []), *arguments.generated]
    differ += [f"source: {text}" for text in typed if text not in addresses and text.partition("=")[2] not in addresses]
    if differ:
        raise UserError(
            f"{path} is there and is another study ({'; '.join(differ)}): leave the options away to go on with it, or"
            " give a new --study"
        )


def _shown(host: str) -> str:
    name = _addresses()[0] if host in ALL_ADDRESSES and _addresses() else host
    return f"[{name}]" if ":" in name else name


def _addresses() -> Sequence[str]:
    """Returns the addresses of this machine, the one towards others first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Sends nothing; the system only chooses a way there.
            first = [probe.getsockname()[0]]
        except OSError:
            first = []
    try:
        known = [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)]
    except OSError:
        known = []
    return [
        each for each in dict.fromkeys([*first, *known]) if not ipaddress.ip_address(each.split("%")[0]).is_loopback
    ]
