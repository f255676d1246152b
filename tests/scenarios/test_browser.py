"""What a real browser lets pages do: those of other origins, and those that functions answer with."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.harness import ADMIN, MANIFEST, Client, Server

ECHO = """
def handler(event):
    return {"method": event["method"], "cookie": event["headers"].get("cookie"), "body": event["body"]}
"""
PAGE = """
HTML = '''%s'''


def handler(event):
    headers = {"Content-Type": "text/html; charset=utf-8"}
    cookies = ["mine=1; Path=/", "clowdy_session=forged; Path=/"]
    return {"statusCode": 200, "headers": headers, "cookies": cookies, "body": HTML}
"""
# What a script of a function might try against whoever is signed in on the same host.
ATTACK = """<!doctype html><title>function</title><body>
<form method="post" action="/api/invoke/PROJECT/secret" enctype="text/plain"><input name='{"input":1,"a' value='":1}'>
<button>Win</button></form>
<script>
async function tried(work) {
  try { return String(await work()).slice(0, 300) } catch (error) { return "blocked: " + error.name }
}
const read = async path => (await fetch(path, {credentials: "include"})).text()
async function framed(path) {
  const frame = document.createElement("iframe")
  frame.src = path
  const loaded = new Promise(done => { frame.onload = done })
  document.body.append(frame)
  await loaded
  return frame.contentWindow.document.body.innerText
}
async function attack() {
  const invoke = () => fetch("/api/invoke/PROJECT/secret", {method: "POST", credentials: "include", body: "{}"})
  document.title = JSON.stringify({
    origin: self.origin,
    cookie: await tried(() => document.cookie),
    storage: await tried(() => localStorage.length),
    home: await tried(() => read("/")),
    projects: await tried(() => read("/api/projects")),
    invoke: await tried(invoke),
    frame: await tried(() => framed("/")),
  })
}
attack()
</script>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as set-up installs it."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def signed_in(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """A browser that has the pages' password, and has used it."""
    context = browser.new_context(http_credentials={"username": "ana", "password": ADMIN})
    answer = context.new_page().goto(f"{server.url}/")
    assert answer is not None
    assert answer.status == 200
    yield context
    context.close()


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A web site of another origin."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, *_: Any) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{site.server_port}"
    site.shutdown()
    site.server_close()


def calls(page: Page, url: str, options: str = "{}") -> Any:
    """What a script of the page gets from `url`, or the name of its error."""
    asked = f"await (await fetch({url!r}, {options})).json()"
    return page.evaluate(f"async () => {{ try {{ return {asked} }} catch (error) {{ return error.name }} }}")


def own_host(server: Server, name: str) -> str:
    return f"http://{name}.localhost:{server.port}"


def test_a_page_elsewhere_calls_a_project_that_names_its_origin(
    server: Server, client: Client, name: str, browser: Browser, elsewhere: str
) -> None:
    manifest = MANIFEST.replace("GET /:", "ANY /*path:") + f"cors: {{origins: [{elsewhere!r}]}}\n"
    client.commit({"clowdy.yaml": manifest, "functions/hello.py": ECHO})
    client.push()
    page = browser.new_page()
    page.goto(elsewhere)
    sends = '{method: "PUT", headers: {"X-Mine": "1", "Content-Type": "application/json"}, body: "[1]"}'
    for base in (own_host(server, name), f"{server.url}/api/gateway/{name}"):
        assert calls(page, f"{base}/x", sends) == {"method": "PUT", "cookie": None, "body": [1]}
    page.goto(elsewhere.replace("127.0.0.1", "localhost"))
    assert calls(page, f"{own_host(server, name)}/x") == "TypeError"
    page.close()


def test_without_cors_no_page_elsewhere_reads_an_answer(
    server: Server, client: Client, name: str, browser: Browser, elsewhere: str
) -> None:
    client.hello()
    client.push()
    page = browser.new_page()
    page.goto(elsewhere)
    assert calls(page, f"{own_host(server, name)}/") == "TypeError"
    client.commit({"clowdy.yaml": MANIFEST + "cors: true\n"})
    client.push()
    assert calls(page, f"{own_host(server, name)}/") == {"message": "Hello"}
    page.close()


def test_a_functions_page_cannot_act_as_who_is_signed_in(
    server: Server, client: Client, name: str, signed_in: BrowserContext
) -> None:
    manifest = (
        "functions:\n  page: {}\n  secret: {public: false, handler: functions/page.py:handler}\nroutes: {GET /: page}\n"
    )
    client.commit({"clowdy.yaml": manifest, "functions/page.py": PAGE % ATTACK.replace("PROJECT", name)})
    client.push()
    page = signed_in.new_page()
    page.goto(f"{server.url}/api/gateway/{name}/")
    page.wait_for_function("document.title.startsWith('{')")
    seen = page.evaluate("JSON.parse(document.title)")
    assert seen.pop("origin") == "null"
    assert {what: answer for what, answer in seen.items() if not answer.startswith("blocked: ")} == {}
    page.click("button")
    page.wait_for_url("**/api/invoke/**")
    assert '"code":"unauthorized"' in page.evaluate("document.body.innerText")
    logged = server.api("GET", f"/api/projects/{name}/invocations").json()
    assert {call["function"] for call in logged} == {"page"}


def test_a_functions_cookies_do_not_leave_its_project_on_the_pages_host(
    server: Server, client: Client, name: str, signed_in: BrowserContext
) -> None:
    client.commit({"clowdy.yaml": MANIFEST, "functions/hello.py": PAGE % "<title>hello</title>"})
    client.push()
    signed_in.new_page().goto(f"{server.url}/api/gateway/{name}/")
    assert [(cookie["name"], cookie["path"]) for cookie in signed_in.cookies()] == [("mine", f"/api/gateway/{name}/")]


def test_on_a_host_of_its_own_a_functions_page_is_a_page_like_any(
    server: Server, client: Client, name: str, browser: Browser
) -> None:
    manifest = "functions:\n  page: {}\n  echo: {}\nroutes:\n  GET /: page\n  ANY /echo: echo\n"
    client.commit(
        {"clowdy.yaml": manifest, "functions/page.py": PAGE % "<title>hello</title>", "functions/echo.py": ECHO}
    )
    client.push()
    page = browser.new_page()
    page.goto(f"{own_host(server, name)}/")
    assert page.evaluate("self.origin") == own_host(server, name)
    assert page.evaluate("document.cookie") == "mine=1"
    assert page.evaluate("localStorage.length") == 0
    assert calls(page, "/echo") == {"method": "GET", "cookie": "mine=1", "body": None}
    page.close()


DOCS = """
import json

PAGE = b"<!doctype html><title>docs</title>"


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    page = scope["path"].endswith("/docs")
    kind, body = (b"text/html", PAGE) if page else (b"application/json", json.dumps({"path": scope["path"]}).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})
"""


def test_a_page_of_documentation_reads_what_it_documents_on_both_hosts_and_calls_it_on_its_own(
    server: Server, client: Client, name: str, browser: Browser
) -> None:
    client.commit(
        {"clowdy.yaml": "functions: {app: {handler: docs.py:app}}\nroutes: {ANY /*path: app}\n", "docs.py": DOCS}
    )
    client.push()
    page = browser.new_page()
    prefix = f"/api/gateway/{name}"
    page.goto(f"{server.url}{prefix}/docs")
    assert calls(page, f"{prefix}/openapi.json") == {"path": f"{prefix}/openapi.json"}
    assert calls(page, f"{prefix}/items") == "TypeError"
    page.goto(f"{own_host(server, name)}/docs")
    assert calls(page, "/openapi.json") == {"path": "/openapi.json"}
    assert calls(page, "/items") == {"path": "/items"}
    page.close()
