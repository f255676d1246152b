"""pip install -r requirements.txt, then: python3 tests/test_lists.py"""

import sys
from base64 import urlsafe_b64encode
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lists.app import LONGEST, MOST, app


def test_what_is_added_is_in_the_list_of_that_visitor_alone():
    ana, ben = app.test_client(), app.test_client()
    answer = ana.post("/add", data={"text": " Buy   <tea> "})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert "Buy &lt;tea&gt;" in ana.get("/").text
    assert "Nothing yet." in ben.get("/").text


def test_what_is_done_can_be_removed():
    client = app.test_client()
    for text in ("Bread", "Jam"):
        client.post("/add", data={"text": text})
    client.post("/toggle/0")
    assert 'class="done">Bread' in client.get("/").text
    client.post("/clear")
    assert "Bread" not in client.get("/").text
    assert "Jam" in client.get("/").text


def test_a_list_has_an_end_and_says_so():
    client = app.test_client()
    for _ in range(MOST):
        assert client.post("/add", data={"text": "x" * LONGEST}).status_code == 303
    answer = client.post("/add", data={"text": "One <more>"})
    assert answer.status_code == 400
    assert "The list is full" in answer.text
    assert 'value="One &lt;more&gt;"' in answer.text
    assert client.get("/").text.count("x" * LONGEST) == MOST


def test_what_is_too_long_is_not_cut():
    client = app.test_client()
    answer = client.post("/add", data={"text": "x" * (LONGEST + 1)})
    assert (answer.status_code, "too long" in answer.text) == (400, True)
    assert "Nothing yet." in client.get("/").text


def test_a_cookie_is_never_more_than_browsers_keep():
    for letter, fits in (("ж", 15), ("漢", 10), ("𝄞", 8)):
        client = app.test_client()
        added = 0
        for _ in range(MOST):
            answer = client.post("/add", data={"text": letter * LONGEST})
            if answer.status_code == 303:
                added += 1
                assert len(answer.headers["Set-Cookie"]) <= 4096
            else:
                assert "The list is full" in answer.text
        assert (letter, added) == (letter, fits)
        assert client.get("/").text.count(letter * LONGEST) == fits
        for place in range(added):
            for _ in range(2):
                assert len(client.post(f"/toggle/{place}").headers["Set-Cookie"]) <= 4096


def test_a_cookie_that_holds_anything_else_is_an_empty_list():
    client = app.test_client()
    texts = ("null", '[{"text": 1}]', '["a"]', '{"a": 1}', "[" * 3000, '[{"text": "\\ud800", "done": true}]')
    values = ["", "!", *(urlsafe_b64encode(text.encode()).decode() for text in texts)]
    for value in values:
        client.set_cookie("things", value)
        assert "Nothing yet." in client.get("/").text


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("ok", name)
