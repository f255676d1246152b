"""ASGI and WSGI applications behind the real gateway, under the pages' host and under their own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.harness import Server

PROJECT = "apps"
MANIFEST = """
functions:
  web: {handler: web.py:app, parallel: 50, concurrency: 1, timeout: 10}
  old: {handler: old.py:app, type: wsgi}
  plain: {handler: old.py:plain}
routes:
  GET /plain: plain
  ANY /old/*path: old
  ANY /*path: web
checks:
  - {request: GET /echo, status: 200}
"""
WEB = """
import asyncio, json, os
ready = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        ready.append(1)
        await send({"type": "lifespan.startup.complete"})
        return await receive()
    path = scope["path"].removeprefix(scope["root_path"])
    async def start(status=200, *headers):
        await send({"type": "http.response.start", "status": status, "headers": headers})
    async def body(data, more=False):
        await send({"type": "http.response.body", "body": data, "more_body": more})
    if path.startswith("/echo"):
        taken = 0
        while (message := await receive())["more_body"]:
            taken += len(message["body"])
        taken += len(message["body"])
        shown = {key: scope[key] for key in ("path", "root_path", "scheme", "method", "server", "client")}
        shown |= {"body": taken, "raw_path": scope["raw_path"].decode(), "ready": ready, "context": scope["clowdy"]}
        await start(200, (b"content-type", b"application/json"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
        await body(json.dumps(shown).encode())
    elif path == "/slow":
        name = scope["query_string"].decode()
        print(name)
        await asyncio.sleep(1)
        print(name)
        await start()
        await body(f"{name} {os.getpid()} {scope['clowdy'].request_id}".encode())
    elif path == "/never":
        await asyncio.sleep(60)
    elif path == "/events":
        await start(200, (b"content-type", b"text/event-stream"))
        for number in range(3):
            await body(b"data: %d\\n\\n" % number, True)
            await asyncio.sleep(0.3)
        await body(b"")
    elif path == "/breaks":
        await start()
        await body(b"one", True)
        await asyncio.sleep(0.5)
        raise KeyError("plan")
    elif path == "/wrong":
        await start(200, (b"content-length", b"10"))
        await body(b"one", True)
        await body(b"two")
    else:
        raise KeyError("plan")
"""
OLD = """
import json

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["HTTP_HOST"]]).encode()]

def plain(event):
    return event
"""


@pytest.fixture(scope="module")
def apps(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    client = server.client(tmp_path_factory.mktemp("apps") / "work", PROJECT)
    client.commit({"clowdy.yaml": MANIFEST, "web.py": WEB, "old.py": OLD})
    client.push()
    yield f"{server.url}/api/gateway/{PROJECT}"


def own_host(server: Server) -> dict[str, str]:
    return {"Host": f"{PROJECT}.localhost:{server.port}"}


def test_an_application_is_mounted_under_both_kinds_of_url(server: Server, apps: str) -> None:
    answer = httpx.post(f"{apps}/echo/a%20b/?x=1", content=b"x" * 3_000_000)
    shown = answer.json()
    assert (shown["root_path"], shown["path"]) == (f"/api/gateway/{PROJECT}", f"/api/gateway/{PROJECT}/echo/a b/")
    assert shown["raw_path"] == f"/api/gateway/{PROJECT}/echo/a%20b/"
    assert (shown["body"], shown["ready"], shown["method"]) == (3_000_000, [1], "POST")
    assert shown["server"] == ["127.0.0.1", server.port]
    assert shown["client"][0] == "127.0.0.1"
    assert shown["context"]["release"] == 1
    assert shown["context"]["request_id"] == answer.headers["X-Request-Id"]
    assert len(answer.headers.get_list("Set-Cookie")) == 2
    shown = httpx.get(f"{server.url}/echo/a%20b", headers=own_host(server)).json()
    assert (shown["root_path"], shown["path"], shown["raw_path"]) == ("", "/echo/a b", "/echo/a%20b")
    assert shown["server"] == [f"{PROJECT}.localhost", server.port]


def test_a_wsgi_application_is_mounted_in_the_same_way(server: Server, apps: str) -> None:
    host = f"127.0.0.1:{server.port}"
    assert httpx.get(f"{apps}/old/x/").json() == [f"/api/gateway/{PROJECT}", "/old/x/", host]
    here = own_host(server)
    assert httpx.get(f"{server.url}/old", headers=here).json() == ["", "/old", here["Host"]]


def test_one_instance_takes_many_slow_calls_and_keeps_them_apart(server: Server, apps: str) -> None:
    httpx.get(f"{apps}/echo")

    def slow(number: int) -> httpx.Response:
        return httpx.get(f"{apps}/slow?call-{number}", timeout=20)

    began = time.monotonic()
    with ThreadPoolExecutor(50) as threads:
        late = threads.submit(lambda: httpx.get(f"{apps}/never", timeout=20))
        answers = list(threads.map(slow, range(49)))
        assert time.monotonic() - began < 8
        assert late.result().json()["code"] == "timeout"
    processes = {answer.text.split()[1] for answer in answers}
    assert len(processes) == 1
    for number, answer in enumerate(answers):
        name, _, request_id = answer.text.split()
        assert (name, request_id) == (f"call-{number}", answer.headers["X-Request-Id"])
        row = server.api("GET", f"/api/invocations/{request_id}").json()
        assert row["log"] == f"call-{number}\n" * 2
    # By another instance, while the call that never ends is asked to.
    assert httpx.get(f"{apps}/slow?after").status_code == 200


def test_server_sent_events_of_an_application_arrive_one_by_one(apps: str) -> None:
    with httpx.stream("GET", f"{apps}/events") as answer:
        arrived = [(time.monotonic(), piece) for piece in answer.iter_bytes()]
    assert [piece for _, piece in arrived] == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]
    assert arrived[2][0] - arrived[0][0] > 0.3


@pytest.mark.parametrize(("path", "code"), [("/breaks", "function_failed"), ("/wrong", "bad_response")])
def test_an_answer_that_breaks_off_is_cut(server: Server, apps: str, path: str, code: str) -> None:
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)), httpx.stream("GET", f"{apps}{path}") as answer:
        answer.read()
    time.sleep(0.1)
    assert server.api("GET", f"/api/invocations/{answer.headers['X-Request-Id']}").json()["code"] == code
    assert httpx.get(f"{apps}/echo").status_code == 200


def test_an_exception_of_an_application_is_a_failed_function(server: Server, apps: str) -> None:
    answer = httpx.get(f"{apps}/raises")
    assert (answer.status_code, answer.json()["code"]) == (500, "function_failed")
    assert "KeyError" not in answer.text
    row = server.api("GET", f"/api/invocations/{answer.json()['request_id']}").json()
    assert "KeyError: 'plan'" in row["log"]


def test_an_application_takes_calls_through_the_gateway_alone(server: Server, apps: str) -> None:
    for function in ("web", "old"):
        answer = server.api("POST", f"/api/invoke/{PROJECT}/{function}", json={"input": {}})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
        assert "through the gateway alone" in answer.json()["detail"]


def test_a_client_that_leaves_frees_its_application(server: Server, apps: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as leaving:
        leaving.sendall(f"GET /api/gateway/{PROJECT}/never HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(0.3)
    assert httpx.get(f"{apps}/echo").status_code == 200


BAD_STARTS = {
    "import": ("import nowhere\napp = None\n", "there is no module nowhere"),
    "lifespan": (WEB.replace("ready.append(1)", "raise ValueError('no database')"), "ValueError: no database"),
    "parallel": ("def app(environ, start_response): ...\n", "parallel above 1 is for async handlers and ASGI"),
}


@pytest.mark.parametrize("how", BAD_STARTS)
def test_an_application_that_cannot_start_is_refused_and_the_old_version_serves(
    server: Server, tmp_path_factory: pytest.TempPathFactory, how: str
) -> None:
    name = f"bad-{how}"
    client = server.client(tmp_path_factory.mktemp(name) / "work", name)
    manifest = "functions:\n  web: {handler: web.py:app, parallel: 2}\nroutes:\n  ANY /*path: web\n"
    client.commit({"clowdy.yaml": manifest, "web.py": WEB})
    client.push()
    source, reason = BAD_STARTS[how]
    client.commit({"web.py": source})
    assert reason in client.push(fails=True)
    assert server.call(name, "/echo").status_code == 200
