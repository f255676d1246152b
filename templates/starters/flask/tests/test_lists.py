"""pip install -r requirements.txt, then: python3 tests/test_lists.py"""

import sys
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


def test_a_list_has_an_end_and_so_has_a_thing():
    client = app.test_client()
    for _ in range(MOST + 5):
        client.post("/add", data={"text": "x" * (LONGEST + 5)})
    page = client.get("/").text
    assert page.count("x" * LONGEST) == MOST
    assert "x" * (LONGEST + 1) not in page


def test_a_cookie_that_holds_anything_else_is_an_empty_list():
    client = app.test_client()
    for value in ("", "!", "bnVsbA==", "W3sidGV4dCI6MX1d"):
        client.set_cookie("things", value)
        assert "Nothing yet." in client.get("/").text


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("ok", name)
