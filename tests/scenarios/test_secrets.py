"""Secrets: outside git, never shown, replaced at once."""

from __future__ import annotations

import pytest

from tests.harness import Client, Server

VALUE = "sk_live_0123456789abcdef"
MANIFEST = "functions:\n  pay: {}\nroutes:\n  GET /: pay\nenv:\n  STRIPE_KEY: {secret: true}\n"
PAY = """import os

print("import", os.environ["STRIPE_KEY"])


def handler(event):
    print(os.environ["STRIPE_KEY"])
    return len(os.environ["STRIPE_KEY"])
"""


def test_a_push_without_a_value_is_refused_and_says_how_to_set_it(client: Client) -> None:
    client.commit({"clowdy.yaml": MANIFEST, "functions/pay.py": PAY})
    output = client.push(fails=True)
    assert "STRIPE_KEY has no value" in output
    assert "clowdy secret set STRIPE_KEY" in output


def test_a_value_set_before_the_first_push_reaches_the_function_and_nothing_else(
    server: Server, client: Client, name: str
) -> None:
    assert server.api("PUT", f"/api/projects/{name}/secrets/STRIPE_KEY", json={"value": VALUE}).status_code == 200
    client.commit({"clowdy.yaml": MANIFEST, "functions/pay.py": PAY})
    output = client.push()
    assert VALUE not in output
    assert server.call(name).json() == len(VALUE)
    rows = server.api("GET", f"/api/projects/{name}/invocations").json()
    assert VALUE not in str(rows)
    assert VALUE not in str(server.api("GET", f"/api/projects/{name}/pushes?all=1").json())
    # The spool is what a crash leaves to be read again: it is emptied soon, and only the server can read it.
    found = [path for path in server.data.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]
    assert {path.parent.name for path in found} <= {"spool"}


def test_a_changed_value_replaces_instances_at_once(server: Server, client: Client, name: str) -> None:
    server.api("PUT", f"/api/projects/{name}/secrets/STRIPE_KEY", json={"value": VALUE})
    client.commit({"clowdy.yaml": MANIFEST, "functions/pay.py": PAY})
    client.push()
    assert server.call(name).json() == len(VALUE)
    server.api("PUT", f"/api/projects/{name}/secrets/STRIPE_KEY", json={"value": VALUE + "more"})
    answer = server.call(name)
    assert (answer.json(), answer.headers["X-Clowdy-Release"]) == (len(VALUE) + 4, "1")
    listed = server.api("GET", f"/api/projects/{name}/secrets").json()
    assert [(item["name"], item["set"]) for item in listed] == [("STRIPE_KEY", True)]


def test_one_that_the_live_release_declares_needs_force_to_go(server: Server, client: Client, name: str) -> None:
    server.api("PUT", f"/api/projects/{name}/secrets/STRIPE_KEY", json={"value": VALUE})
    client.commit({"clowdy.yaml": MANIFEST, "functions/pay.py": PAY})
    client.push()
    assert server.api("DELETE", f"/api/projects/{name}/secrets/STRIPE_KEY").status_code in (409, 422, 400)
    assert server.api("DELETE", f"/api/projects/{name}/secrets/STRIPE_KEY?force=1").status_code == 200
    answer = server.call(name)
    assert (answer.status_code, answer.json()["code"]) == (503, "start_failed")


LEAKS = """import os


def handler(event):
    return {"statusCode": 500, "body": os.environ["STRIPE_KEY"]}
"""


@pytest.mark.parametrize(
    ("manifest", "code"),
    [
        (MANIFEST, 'import os\nraise RuntimeError(os.environ["STRIPE_KEY"])\ndef handler(event): pass\n'),
        (f"{MANIFEST}checks: [{{request: GET /, status: 200}}]\n", LEAKS),
    ],
)
def test_the_reason_of_a_refusal_does_not_show_a_value(
    server: Server, client: Client, name: str, manifest: str, code: str
) -> None:
    server.api("PUT", f"/api/projects/{name}/secrets/STRIPE_KEY", json={"value": VALUE})
    client.commit({"clowdy.yaml": manifest, "functions/pay.py": code})
    output = client.push(fails=True)
    assert "[remote rejected] main -> main (clowdy.yaml:" in output
    assert "********)" in output
    assert VALUE not in output
    assert VALUE not in server.api("GET", f"/api/projects/{name}/pushes?all=1").text
    found = [path for path in server.data.rglob("clowdy.db*") if VALUE.encode() in path.read_bytes()]
    assert not found


def test_a_value_is_changed_by_those_who_may_change_the_project(server: Server, client: Client, name: str) -> None:
    client.hello()
    client.push()
    made = server.api("POST", "/api/tokens", json={"name": f"ci-{name}", "scope": "deploy", "project": name}).json()
    path = f"/api/projects/{name}/secrets/STRIPE_KEY"
    for answer in (
        server.api("PUT", path, token=made["token"], json={"value": VALUE}),
        server.api("DELETE", path, token=made["token"]),
    ):
        assert answer.status_code == 403
        assert "to change secrets or the project itself takes scope admin" in answer.json()["detail"]
