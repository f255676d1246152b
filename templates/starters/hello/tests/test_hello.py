"""Plain Python, nothing to install: python3 tests/test_hello.py"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "functions"))

from hello import handler


def test_everybody_is_greeted():
    assert handler({"query": {}}) == {"message": "Hello, world!"}


def test_a_name_in_the_address_is_used():
    assert handler({"query": {"name": "Ada"}}) == {"message": "Hello, Ada!"}


def test_a_direct_call_has_the_event_that_it_sends():
    assert handler({"name": "Grace"}) == {"message": "Hello, Grace!"}


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("ok", name)
