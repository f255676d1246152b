"""Takes signed webhooks, as GitHub and many others send them, and passes a line of each on."""

import hashlib
import hmac
import json
import os
import urllib.error
import urllib.request

LONGEST = 1024 * 1024


def app(environ, start_response):
    """Answers 204 for what is signed and passed on, 401 for what is not signed by who knows the secret."""
    status, detail = receive(environ)
    body = json.dumps({"detail": detail}).encode() if detail else b""
    start_response(status, [("Content-Type", "application/json")] if detail else [])
    return [body] if body else []


def receive(environ):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > LONGEST:
        return "413 Content Too Large", "the body is over 1 MB"
    body = environ["wsgi.input"].read(length)
    if not signed(body, environ.get("HTTP_X_HUB_SIGNATURE_256", "")):
        return "401 Unauthorized", "the signature is not right"
    try:
        news = json.loads(body)
    except (ValueError, RecursionError):
        return "400 Bad Request", "the body is not JSON"
    text = line(environ.get("HTTP_X_GITHUB_EVENT", "event"), news)
    print(text)
    try:
        forward(text)
    except (urllib.error.URLError, OSError) as error:
        # Whoever sends webhooks tries again after a 5xx.
        print("not passed on:", error)
        return "502 Bad Gateway", "the news could not be passed on"
    return "204 No Content", ""


def signed(body, signature):
    """Whether `signature` is that of the body's exact bytes; takes as long for a wrong one as for the right one."""
    wanted = "sha256=" + hmac.new(os.environ["WEBHOOK_SECRET"].encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted.encode(), signature.encode("latin-1", "replace"))


def line(event, news):
    """What happened, in one line."""
    news = news if isinstance(news, dict) else {}
    where, who = name(news.get("repository"), "full_name"), name(news.get("sender"), "login")
    return f"{event} {name(news, 'action', '')} in {where} by {who}".replace("  ", " ")


def name(thing, key, otherwise="?"):
    """A text in what was sent, where there is one. JSON can hold half a surrogate pair, which cannot be printed."""
    found = thing.get(key) if isinstance(thing, dict) else None
    return found.encode("utf-8", "replace").decode() if isinstance(found, str) else otherwise


def forward(text):
    """Sends the line on, in the form that chats take."""
    url = os.environ.get("FORWARD_URL")
    if url:
        data = json.dumps({"text": text}).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10):
            pass
