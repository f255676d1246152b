"""Plain Python, nothing to install: python3 tests/test_webhook.py"""

import hashlib
import hmac
import io
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["WEBHOOK_SECRET"] = "a-secret-for-tests"

from webhook import app

NEWS = {"action": "opened", "repository": {"full_name": "ana/shop"}, "sender": {"login": "ben"}}


def send(body, signature=None, event="issues"):
    """Status and answer."""
    right = "sha256=" + hmac.new(b"a-secret-for-tests", body, hashlib.sha256).hexdigest()
    environ = {
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "HTTP_X_HUB_SIGNATURE_256": right if signature is None else signature,
        "HTTP_X_GITHUB_EVENT": event,
    }
    seen = []
    answer = b"".join(app(environ, lambda status, headers: seen.append(status)))
    return int(seen[0].split()[0]), json.loads(answer or b"{}")


def test_what_is_signed_is_taken():
    assert send(json.dumps(NEWS).encode()) == (204, {})


def test_what_is_not_signed_or_was_changed_on_the_way_is_not():
    body = json.dumps(NEWS).encode()
    for signature in ("", "sha256=", "sha256=" + "0" * 64, "sha1=x", "é"):
        assert send(body, signature)[0] == 401
    right = "sha256=" + hmac.new(b"a-secret-for-tests", body, hashlib.sha256).hexdigest()
    assert send(body + b" ", right)[0] == 401


def test_what_is_signed_and_no_news_is_told_so():
    assert send(b"{")[0] == 400
    assert send(b"[" * 100_000) == (400, {"detail": "the body is not JSON"})
    assert send(b"[1]")[0] == 204


def test_news_may_hold_anything():
    for value in ("\ud800", None, 1, ["x"], {"login": "\ud800"}):
        assert send(json.dumps({"action": value, "repository": value, "sender": value}).encode()) == (204, {})


def test_news_are_passed_on_and_a_failure_is_worth_another_try():
    received = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["FORWARD_URL"] = f"http://127.0.0.1:{server.server_port}/"
    assert send(json.dumps(NEWS).encode())[0] == 204
    assert received == [{"text": "issues opened in ana/shop by ben"}]
    server.shutdown()
    server.server_close()
    assert send(json.dumps(NEWS).encode())[0] == 502
    del os.environ["FORWARD_URL"]


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("ok", name)
