"""Crowdsourcing services that send people by a link with ids in it and take them back by a link with a code in it.

Names and addresses are those of the services' public documentation of 2026; none was tried with the real service.
"""

import dataclasses
import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping

from igan.errors import UserError, did_you_mean

OUTCOMES = ("done", "screened_out", "no_consent")
LONGEST_ID = 200


@dataclasses.dataclass(frozen=True)
class Crowd:
    """How people come and go."""

    name: str
    person: str  # The name of the parameter with the person's id at the service.
    session: str  # Of the parameter with the id of this one participation; may be the same.
    completion: str  # The address people go back to, with {code} in it; empty: they are shown the code alone.
    codes: dict[str, str]  # Of each outcome; an outcome without one ends on a page without a link.
    link: str  # The parameters of the link to give to the service, with its placeholders.


PRESETS: Mapping[str, Crowd] = {
    "prolific": Crowd(
        name="Prolific",
        person="PROLIFIC_PID",
        session="SESSION_ID",
        completion="https://app.prolific.com/submissions/complete?cc={code}",
        codes={},
        link="PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}",
    ),
    "connect": Crowd(
        name="CloudResearch Connect",
        person="participantId",
        session="assignmentId",
        completion="https://connect.cloudresearch.com/participant/project/complete?code={code}",
        codes={},
        link="",  # The service appends its parameters itself.
    ),
    "respondent": Crowd(
        name="Respondent",
        person="respondent_profile_id",
        session="respondent_session_id",
        completion="https://app.respondent.io/complete?cc={code}",
        codes={},
        link="",
    ),
}


def make(preset: str, codes: str, completion: str = "", person: str = "", session: str = "") -> Crowd:
    """Returns a service from what the command line says.

    Args:
      preset: a key of `PRESETS`, or `custom`, which needs all other arguments.
      codes: `done=C1,screened_out=C2,no_consent=C3`; at least the first.
      completion: replaces the preset's address.
      person, session: replace the preset's names of parameters.

    Raises UserError for what is missing or unknown.

    >>> make("prolific", "done=C1AB").codes
    {'done': 'C1AB'}
    """
    if preset not in (*PRESETS, "custom"):
        raise UserError(f"unknown crowdsourcing service '{preset}'.{did_you_mean(preset, [*PRESETS, 'custom'])}")
    base = PRESETS.get(preset, Crowd("the service", "", "", "", {}, ""))
    by_outcome = dict(_pair(each) for each in codes.split(",") if each)
    if "done" not in by_outcome:
        raise UserError(
            "--crowd needs the code for those who finish: --codes=done=CODE,screened_out=CODE,no_consent=CODE"
        )
    person, session = person or base.person, session or base.session or person
    crowd = dataclasses.replace(
        base,
        person=person,
        session=session,
        link=_renamed(base.link, {base.person: person, base.session: session}),
        completion=completion or base.completion,
        codes=by_outcome,
    )
    if not crowd.person:
        raise UserError("--crowd=custom needs the name of the parameter with a person's id: --crowd_person=NAME")
    if crowd.completion and not _is_address(crowd.completion):
        raise UserError(f"--completion={crowd.completion}: expected https://SERVICE/...{{code}}")
    return crowd


def ids(crowd: Crowd, query: Mapping[str, str]) -> tuple[str, str] | None:
    """Returns the ids of a person and of the session from a link's parameters, or None where one is missing or odd."""
    found = query.get(crowd.person, ""), query.get(crowd.session, "")
    # A placeholder that the service did not fill in would make one person of all.
    if any(not 0 < len(each) <= LONGEST_ID or not each.isprintable() or "{" in each for each in found):
        return None
    return found


def hidden(key: bytes, kind: str, outside: str) -> bytes:
    """Returns what is stored of an outside id: whoever has not the study's key cannot tell whose it is."""
    return hmac.new(key, f"outside {kind} {outside}".encode(), hashlib.sha256).digest()


def way_back(crowd: Crowd, outcome: str) -> tuple[str, str]:
    """Returns the address and the code of an outcome; empty where there is none."""
    code = crowd.codes.get(outcome, "")
    if not code or not crowd.completion:
        return "", code
    return crowd.completion.replace("{code}", urllib.parse.quote(code, safe="")), code


def _renamed(link: str, names: Mapping[str, str]) -> str:
    """Returns a link's parameters under other names, which are those that are looked for when people come."""
    pairs = [pair.partition("=") for pair in link.split("&") if pair]
    return "&".join(f"{names.get(name, name)}={value}" for name, _, value in pairs)


def _pair(text: str) -> tuple[str, str]:
    outcome, _, code = text.partition("=")
    if outcome not in OUTCOMES or not code:
        raise UserError(f"--codes has '{text}': expected OUTCOME=CODE with an outcome of {', '.join(OUTCOMES)}")
    return outcome, code


def _is_address(text: str) -> bool:
    parts = urllib.parse.urlsplit(text)
    local = parts.hostname in ("127.0.0.1", "localhost")
    return "{code}" in text and bool(parts.netloc) and (parts.scheme == "https" or (parts.scheme == "http" and local))
