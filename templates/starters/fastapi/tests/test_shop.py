"""pip install -r requirements.txt httpx2, then: python3 tests/test_shop.py"""

import os
import sys
import tempfile
from pathlib import Path

os.environ["SHOP_DATABASE"] = os.path.join(tempfile.mkdtemp(), "shop.db")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fastapi.testclient import TestClient
from shop.main import app

TEA = {"name": "Tea", "price_cents": 450, "tags": ["green"]}


def test_an_item_is_added_read_changed_and_removed():
    with TestClient(app) as client:
        made = client.post("/items", json=TEA)
        assert made.status_code == 201
        path = f"/items/{made.json()['id']}"
        assert client.get(path).json() == {"id": made.json()["id"], **TEA}
        assert client.put(path, json={**TEA, "price_cents": 500}).json()["price_cents"] == 500
        assert client.delete(path).status_code == 204
        assert client.get(path).status_code == 404


def test_a_list_goes_on_after_the_last_id():
    with TestClient(app) as client:
        ids = [client.post("/items", json={**TEA, "name": name}).json()["id"] for name in "abc"]
        first = client.get("/items", params={"limit": 2, "after": ids[0] - 1}).json()
        assert [item["id"] for item in first] == ids[:2]
        assert [item["id"] for item in client.get("/items", params={"after": ids[1]}).json()] == ids[2:]


def test_what_is_no_item_is_refused_with_the_reason():
    with TestClient(app) as client:
        answer = client.post("/items", json={"name": "", "price_cents": -1})
        assert answer.status_code == 422
        assert {problem["loc"][-1] for problem in answer.json()["detail"]} == {"name", "price_cents"}


def test_an_id_that_no_item_can_have_is_refused():
    with TestClient(app) as client:
        assert client.get(f"/items/{2**63 - 1}").status_code == 404
        for path in (f"/items/{2**63}", "/items/0", f"/items?after={2**63}", "/items?after=-1"):
            assert client.get(path).status_code == 422
        assert client.put(f"/items/{2**63}", json=TEA).status_code == 422
        assert client.delete(f"/items/{2**63}").status_code == 422


def test_what_no_answer_can_hold_is_refused_as_well():
    with TestClient(app) as client:
        for body in (
            r'{"name": "\ud800", "price_cents": 1}',
            r'{"name": "Tea", "price_cents": 1, "tags": ["\ud800"]}',
            '{"name": "Tea", "price_cents": NaN}',
            r'{"\ud800": 1}',
        ):
            answer = client.post("/items", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422
            assert answer.json()["detail"][0]["loc"][0] == "body"


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("ok", name)
