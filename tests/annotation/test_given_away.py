"""Nothing tells before the answer which image is real: words, ids, headers and lengths."""

import re

from igan.annotation import store

TRUTH = re.compile(r"\b(truth|real_first|is_real|fake|g0)\b")


def pages(browser, client):
    """Everything that a participant receives before the first answer."""
    name, newcomer = browser.question(), browser.another()
    for path in ("/question", f"/image/{name}/a", "/stop", "/static/page.js", "/static/page.css"):
        yield client.get(path)
    for path in (f"/join/{browser.link}", f"/example/{browser.link}/real", f"/example/{browser.link}/generated"):
        yield newcomer.get(path)  # Whoever has begun is sent on from there.


def test_nothing_received_before_the_answer_says_which_is_real(make, browse):
    browser = browse(make(feedback="with"))
    client = browser.begin()
    hashes = [each for of_source in browser.server.study.hashes().values() for each in of_source]
    for reply in pages(browser, client):
        assert reply.status_code == 200
        received = reply.content + repr(reply.headers).encode()
        assert not TRUTH.search(received.decode("latin-1"))
        assert not any(each.encode() in received for each in hashes)
    question = client.get("/question").text
    assert question.count('value="real"') == question.count('value="generated"') == 1  # The two buttons.


def test_a_reply_does_not_say_what_the_next_image_is(make, browse):
    browser = browse(make(feedback="with", questions=40))
    browser.begin()
    name, by_class = browser.question(), {True: set(), False: set()}
    while name:
        following = browser.answer(name, "real").json()["next"]
        if following:
            text = repr(following).replace(following["question"], "ID")
            by_class[browser.truth(following["question"])].add(re.sub(r"\d+", "N", text))
        name = following["question"] if following else ""
    assert by_class[True] == by_class[False] and len(by_class[True]) == 1


def test_images_of_both_classes_come_with_the_same_headers_and_lengths(make, browse):
    browser = browse(make(questions=30))
    client = browser.begin()
    found = {True: set(), False: set()}
    while name := browser.question():
        reply = client.get(f"/image/{name}/a")
        found[browser.truth(name)].add((tuple(sorted(reply.headers.items())), len(reply.content)))
        browser.answer(name, "real")
    assert found[True] == found[False] and len(found[True]) == 1
    headers = dict(next(iter(found[True]))[0])
    assert headers["cache-control"] == "no-store"
    assert not {"etag", "last-modified", "content-encoding", "server", "date"} & set(headers)


def test_two_people_never_share_an_id_and_ids_have_128_bits(make, browse):
    browser = browse(make())
    for _ in range(5):
        browser.begin(browser.another())
    names = [row[0] for row in browser.server.reader.execute("SELECT id FROM question")]
    assert len(set(names)) == 40 and all(len(name) == 22 for name in names)


def test_an_image_has_another_id_for_each_person_and_the_same_bytes(make, browse):
    """People who compare what they were sent cannot tell by ids that it is one image."""
    browser = browse(make(count=9))  # Of nine each sees eight, so that most are seen by all.
    clients = [browser.begin(browser.another()) for _ in range(3)]
    asked: dict[int, list[tuple[str, str]]] = {}
    for client in clients:
        while name := browser.question(client):
            (item,) = store.one(browser.server.reader, "SELECT item FROM question WHERE id = ?", name)
            picture = client.get(f"/image/{name}/a")
            assert name not in picture.headers.values()
            asked.setdefault(item, []).append((name, picture.content.hex()))
            browser.answer(name, "real", client)
    several = [each for each in asked.values() if len(each) > 1]
    assert several
    for each in several:
        assert len({name for name, _ in each}) == len(each) and len({content for _, content in each}) == 1
        assert not any(name in content for name, content in each)
