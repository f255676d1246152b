"""What a function may do, and what happens when it does what it may not."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness import Server

SOURCES = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "misdeeds").glob("*.py"))}


@pytest.fixture(scope="module")
def project(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    name = "functions"
    client = server.client(tmp_path_factory.mktemp("functions") / "work", name)
    lines = ["env: {STAGE: prod}", "functions:"]
    lines += [f"  {function}: {{timeout: {2 if function == 'loops' else 20}}}" for function in SOURCES]
    lines += ["routes:", "  GET /items/:id: echo", "  ANY /echo/*rest: echo"]
    lines += [f"  GET /{function}: {function}" for function in SOURCES] + ["  GET /connects/:port: connects"]
    client.commit(
        {"clowdy.yaml": "\n".join(lines) + "\n"}
        | {f"functions/{function}.py": text for function, text in SOURCES.items()}
    )
    client.push()
    yield name


def get(server: Server, path: str, **more: object) -> httpx.Response:
    return server.call("functions", path, **more)


def test_the_event_has_the_parts_of_the_request(server: Server, project: str) -> None:
    event = get(server, "/items/a%20b?x=1&x=2&y=", headers={"X-Some": "one"}).json()
    assert event["method"] == "GET"
    assert event["path"] == "/items/a%20b" or event["path"] == "/items/a b"
    assert event["params"] == {"id": "a b"}
    assert event["query"] == {"x": "2", "y": ""}
    assert event["multiQuery"]["x"] == ["1", "2"]
    assert event["headers"]["x-some"] == "one"
    assert event["body"] is None


@pytest.mark.parametrize(
    ("body", "expected", "encoded"),
    [
        (b'{"a": [1]}', {"a": [1]}, False),
        (b"plain", "plain", False),
        (b"\xff\x00", base64.b64encode(b"\xff\x00").decode(), True),
    ],
)
def test_bodies_arrive_as_json_text_or_base64(
    server: Server, project: str, body: bytes, expected: object, encoded: bool
) -> None:
    event = get(server, "/echo/x", method="POST", content=body).json()
    assert event["body"] == expected
    assert event.get("isBase64Encoded", False) is encoded


def test_the_context_says_who_is_called(server: Server, project: str) -> None:
    answer = get(server, "/context")
    context = answer.json()
    assert context["name"] == "context"
    assert context["project"] == project
    assert context["release"] == 1
    assert context["trigger"] == "gateway"
    assert context["request_id"] == answer.headers["X-Request-Id"]
    assert 0 < context["remaining"] <= 20_000


def test_results_become_the_answers_that_they_say(server: Server, project: str) -> None:
    text = get(server, "/text")
    assert (text.text, text.headers["Content-Type"].split(";")[0]) == ("plain text", "text/plain")
    assert get(server, "/raw").content == b"\x00\xff"
    full = get(server, "/full")
    assert (full.status_code, full.headers["X-One"], full.json()) == (201, "1", {"ok": True})
    assert len(full.headers.get_list("Set-Cookie")) == 2
    assert all("Path=/api/gateway/functions/" in cookie for cookie in full.headers.get_list("Set-Cookie"))
    encoded = get(server, "/encoded")
    assert (encoded.content, encoded.headers["Content-Type"]) == (b"\x00\xff", "image/x")
    assert get(server, "/coroutine").text == "awaited"


def test_strangers_never_see_a_traceback_and_the_log_has_it(server: Server, project: str) -> None:
    answer = get(server, "/fails")
    body = answer.json()
    assert answer.status_code == 500
    assert (body["detail"], body["code"]) == ("Function failed", "function_failed")
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert "KeyError" not in answer.text
    row = server.api("GET", f"/api/invocations/{body['request_id']}").json()
    assert "KeyError: 'plan'" in row["log"]
    assert "before it fails" in row["log"]
    signed_in = server.api("GET", f"/api/gateway/{project}/fails").json()
    assert "KeyError" in signed_in["error"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/exits", 502, "crashed"),
        ("/loops", 504, "timeout"),
        ("/hogs", 502, "out_of_memory"),
        ("/unjson", 502, "bad_response"),
        ("/injects", 502, "bad_response"),
        ("/badstatus", 502, "bad_response"),
        ("/badname", 502, "bad_response"),
        ("/badbase", 502, "bad_response"),
        ("/large", 502, "bad_response"),
    ],
)
def test_each_misdeed_has_its_code_and_the_next_call_works(
    server: Server, project: str, path: str, status: int, code: str, runtime: str
) -> None:
    if runtime == "process" and path == "/hogs":
        pytest.skip("the process driver limits no memory")
    answer = get(server, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "Set-Cookie" not in answer.headers
    assert get(server, "/text").text == "plain text"
    assert get(server, path).status_code == status


@pytest.mark.parametrize("path", ["/forks", "/floods", "/closes", "/scribbles", "/threads", "/sysexit"])
def test_what_a_function_does_to_itself_stays_with_it(server: Server, project: str, path: str, runtime: str) -> None:
    if runtime == "process" and path == "/forks":
        pytest.skip("the process driver limits no processes")
    answer = get(server, path)
    assert answer.status_code in (200, 500, 502), answer.text
    assert get(server, "/text").text == "plain text"


def test_a_flood_of_output_is_cut_in_the_log(server: Server, project: str) -> None:
    answer = get(server, "/floods")
    assert answer.text == "flooded"
    row = server.api("GET", f"/api/invocations/{answer.headers['X-Request-Id']}").json()
    assert 100_000 < len(row["log"]) < 300 * 1024


def test_only_tmp_can_be_written(server: Server, project: str, runtime: str) -> None:
    if runtime == "process":
        pytest.skip("the process driver does not isolate")
    assert get(server, "/writes").json() == ["/tmp"]


def test_nothing_is_reached_without_network(server: Server, project: str, runtime: str) -> None:
    if runtime == "process":
        pytest.skip("the process driver does not isolate")
    answer = get(server, f"/connects/{server.port}")
    assert answer.text != "connected"
    time.sleep(0.1)
    log = server.api("GET", f"/api/invocations/{answer.headers['X-Request-Id']}").json()["log"]
    assert "network is off for this function: set network: true in clowdy.yaml" in log


def test_the_environment_is_what_the_manifest_says(server: Server, project: str) -> None:
    environment = get(server, "/environment").json()
    assert environment["STAGE"] == "prod"
    assert environment["HOME"] == "/tmp"
    assert environment["CLOWDY_PROJECT"] == project
    assert environment["CLOWDY_FUNCTION"] == "environment"
    assert environment["TZ"] == "UTC"
    allowed = {"STAGE", "HOME", "PATH", "LANG", "TZ", "CLOWDY_PROJECT", "CLOWDY_FUNCTION", "CLOWDY_VERSION"}
    assert set(environment) <= allowed


def test_module_state_lives_as_long_as_its_instance(server: Server, project: str) -> None:
    first = get(server, "/counts").json()
    assert get(server, "/counts").json() == first + 1


def test_clowdys_own_credentials_never_reach_a_function(server: Server, project: str) -> None:
    from tests.harness import ADMIN

    basic = base64.b64encode(f"any:{ADMIN}".encode()).decode()
    for headers in (
        {"Authorization": f"Bearer {ADMIN}"},
        {"Authorization": f"Basic {basic}"},
        {"X-Api-Key": ADMIN},
    ):
        assert ADMIN not in json.dumps(get(server, "/items/1", headers=headers).json())
        assert "authorization" not in get(server, "/items/1", headers=headers).json()["headers"]
    foreign = get(server, "/items/1", headers={"Authorization": "Bearer foreign"}).json()
    assert foreign["headers"]["authorization"] == "Bearer foreign"


def test_direct_invoke_by_id_and_by_name(server: Server, project: str) -> None:
    functions = {item["name"]: item for item in server.api("GET", f"/api/projects/{project}/functions").json()}
    public = httpx.post(f"{server.url}/api/invoke/{functions['echo']['id']}", json={"input": {"a": 1}}).json()
    assert (public["success"], public["output"]) == (True, {"a": 1})
    assert set(public) >= {"success", "output", "duration_ms", "invocation_id", "cold_start"}
    failed = httpx.post(f"{server.url}/api/invoke/{functions['fails']['id']}", json={})
    assert failed.status_code == 200
    assert failed.json()["success"] is False
    assert failed.json()["error"] == "Function failed"
    for function in ("echo", "nowhere"):
        assert httpx.post(f"{server.url}/api/invoke/{project}/{function}", json={}).status_code == 401
    named = server.api("POST", f"/api/invoke/{project}/echo", json={"input": 5}).json()
    assert named["output"] == 5
    assert httpx.post(f"{server.url}/api/invoke/000000000000", json={}).json()["detail"] == "Function not found"


def test_a_project_of_which_nothing_is_live_has_no_routes(own_server: Server, tmp_path: Path) -> None:
    def detail(name: str) -> str:
        answer = own_server.call(name, "/x")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        return str(answer.json()["detail"])

    assert detail("early") == "Project not found"
    assert own_server.api("POST", "/api/projects", json={"name": "early"}).status_code in (200, 201)
    assert detail("early") == "No routes configured for this project"
    own_server.kill()
    own_server.start()
    assert detail("early") == "No routes configured for this project"

    client = own_server.client(tmp_path / "work", "early")
    client.hello()
    client.push()
    assert own_server.call("early", "/").json() == {"message": "Hello"}
    assert detail("early") == "No route matches GET /x"
    assert own_server.api("DELETE", "/api/projects/early", params={"confirm": "early"}).status_code == 200
    assert detail("early") == "Project not found"
