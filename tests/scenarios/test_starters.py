"""Every starter, from `clowdy init` to its first answers, with its requirements really installed."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import subprocess
import sys
import zlib
from base64 import urlsafe_b64encode
from pathlib import Path

import httpx
import pytest

from tests.harness import ADMIN, Client, Server


@pytest.fixture
def begin(server: Server, tmp_path: Path, name: str):
    """Makes a project from a starter, as `clowdy init` does."""

    def made(starter: str) -> Client:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CLOWDY_URL": server.url, "CLOWDY_TOKEN": ADMIN}
        clowdy = Path(sys.executable).with_name("clowdy")
        subprocess.run(
            [clowdy, "init", name, "--starter", starter], cwd=tmp_path, env=environment, check=True, capture_output=True
        )
        # The harness has a remote of its own, with its token in it.
        subprocess.run(["git", "remote", "remove", "clowdy"], cwd=tmp_path / name, check=True)
        return server.client(tmp_path / name, name)

    return made


def png(width: int, height: int, colour: bytes, rows: bytes | None = None) -> bytes:
    """A picture of one colour, or with other `rows` than it says."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    if rows is None:
        rows = b"".join(b"\0" + colour * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_fastapi_keeps_items_and_documents_itself(server: Server, begin, name: str) -> None:
    begin("fastapi").push()
    base = f"{server.url}/api/gateway/{name}"
    with httpx.Client() as http:
        made = http.post(f"{base}/items", json={"name": "Tea", "price_cents": 450})
        assert made.status_code == 201
        item = made.json()
        assert item == {"id": 1, "name": "Tea", "price_cents": 450, "tags": []}
        assert http.get(f"{base}/items/1").json() == item
        assert http.get(f"{base}/items").json() == [item]
        assert http.post(f"{base}/items", json={"name": ""}).status_code == 422
        for refused in ({"name": "\ud800", "price_cents": 1}, {"name": "a", "price_cents": 1, "tags": ["\ud800"]}):
            assert http.post(f"{base}/items", content=json.dumps(refused)).status_code == 422
        assert http.get(f"{base}/items/{10**20}").status_code == 422
        assert http.get(f"{base}/items?after={10**20}").status_code == 422
        assert (
            http.head(f"{base}/items/1").headers["Content-Length"]
            == http.get(f"{base}/items/1").headers["Content-Length"]
        )
        assert http.delete(f"{base}/items/1").status_code == 204
        assert http.get(f"{base}/items/1").status_code == 404
        assert f"/api/gateway/{name}/openapi.json" in http.get(f"{base}/docs").text
        assert "/items/{item_id}" in http.get(f"{base}/openapi.json").json()["paths"]
        moved = http.get(f"{base}/items/")
        assert moved.status_code == 307
        assert moved.headers["Location"].endswith(f"/api/gateway/{name}/items")


def test_flask_has_forms_cookies_and_templates(server: Server, begin, name: str) -> None:
    begin("flask").push()
    with httpx.Client(headers={"Host": f"{name}.localhost"}, follow_redirects=False) as http:
        assert "Nothing yet." in http.get(f"{server.url}/").text
        added = http.post(f"{server.url}/add", data={"text": "Buy <tea>"})
        assert (added.status_code, added.headers["Location"]) == (303, "/")
        cookie = added.headers["Set-Cookie"].partition(";")[0]
        assert "Buy &lt;tea&gt;" in http.get(f"{server.url}/", headers={"Cookie": cookie}).text
        full = False
        for _ in range(20):
            added = http.post(f"{server.url}/add", data={"text": "ж" * 80}, headers={"Cookie": cookie})
            full = full or "The list is full" in added.text
            assert full == (added.status_code == 400)
            assert len(added.headers.get("Set-Cookie", "")) <= 4096
            cookie = cookie if full else added.headers["Set-Cookie"].partition(";")[0]
        assert full
        assert http.get(f"{server.url}/", headers={"Cookie": cookie}).text.count("ж" * 80) == 15
        for hostile in (b"[" * 3000, b'[{"text":"\\ud800","done":true}]'):
            headers = {"Cookie": f"things={urlsafe_b64encode(hostile).decode()}"}
            assert "Nothing yet." in http.get(f"{server.url}/", headers=headers).text


def test_data_makes_a_thumbnail_of_an_upload(server: Server, begin, name: str) -> None:
    begin("data").push()
    picture = png(400, 200, b"\x33\x66\x99")
    small = server.call(name, "/thumbnail?size=100", "POST", content=picture)
    assert (small.status_code, small.headers["Content-Type"]) == (200, "image/jpeg")
    assert small.content.startswith(b"\xff\xd8")
    assert server.call(name, "/colours?count=2", "POST", content=picture).json()[0]["colour"] == "#336699"
    refused = server.call(name, "/thumbnail", "POST", content=b"no picture")
    assert refused.status_code == 400
    huge = server.call(name, "/thumbnail", "POST", content=png(60_000, 60_000, b"", b""))
    assert (huge.status_code, huge.json()) == (400, {"detail": "its pixels are more than 24,000,000"})


def test_webhook_takes_what_is_signed(server: Server, begin, name: str) -> None:
    secret = "0123456789abcdef"
    client = begin("webhook")
    assert "WEBHOOK_SECRET has no value" in client.push(fails=True)
    assert server.api("PUT", f"/api/projects/{name}/secrets/WEBHOOK_SECRET", json={"value": secret}).is_success
    client.push()
    body = json.dumps(
        {"action": "opened", "repository": {"full_name": "ana/shop"}, "sender": {"login": "ben"}}
    ).encode()
    right = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    for signature, status in ((right, 204), ("sha256=00", 401), ("", 401)):
        headers = {"X-Hub-Signature-256": signature, "X-GitHub-Event": "issues"}
        assert server.call(name, "/", "POST", content=body, headers=headers).status_code == status
    deep = b"[" * 100_000
    headers = {"X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), deep, hashlib.sha256).hexdigest()}
    told = server.call(name, "/", "POST", content=deep, headers=headers)
    assert (told.status_code, told.json()) == (400, {"detail": "the body is not JSON"})
    logs = server.api("GET", f"/api/projects/{name}/invocations").text
    assert "issues opened in ana/shop by ben" in logs
