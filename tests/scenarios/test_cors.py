"""Pages of other origins call a project that lets them."""

from __future__ import annotations

from tests.harness import HELLO, MANIFEST, Client, Server

SHOP = "https://shop.example"


def test_a_page_of_a_named_origin_may_call_and_another_may_not(server: Server, client: Client, name: str) -> None:
    client.commit({"clowdy.yaml": MANIFEST + f'cors: {{origins: ["{SHOP}"]}}\n', "functions/hello.py": HELLO})
    client.push()

    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-a"}
    preflight = server.call(name, method="OPTIONS", headers={"Origin": SHOP, **asked})
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, SHOP)
    assert preflight.headers["Access-Control-Allow-Headers"] == "x-a"
    answer = server.call(name, headers={"Origin": SHOP})
    assert (answer.json(), answer.headers["Access-Control-Allow-Origin"]) == ({"message": "Hello"}, SHOP)
    other = server.call(name, headers={"Origin": "https://other.example"})
    assert (other.status_code, other.headers.get("Access-Control-Allow-Origin")) == (200, None)
