"""A list of things to do that each visitor keeps in a cookie of their own: forms, cookies and templates."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from flask import Flask, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

COOKIE = "things"
MOST = 20
LONGEST = 80
# Browsers drop a cookie of more than 4096 bytes without a word: this leaves room for its name and attributes.
COOKIE_BYTES = 3800

app = Flask(__name__)


@app.get("/")
def show() -> str:
    return page(kept())


@app.post("/add")
def add() -> Response | tuple[str, int]:
    text = " ".join(request.form.get("text", "").split())
    things = kept()
    if len(text) > LONGEST:
        return page(things, f"That is too long: write at most {LONGEST} characters.", text), 400
    if not text:
        return back(things)
    longer = [*things, {"text": text, "done": False}]
    if len(longer) > MOST or len(encoded(longer)) > COOKIE_BYTES:
        return page(things, "The list is full: first remove something that is done.", text), 400
    return back(longer)


@app.post("/toggle/<int:place>")
def toggle(place: int) -> Response:
    things = kept()
    if place < len(things):
        things[place]["done"] = not things[place]["done"]
    return back(things)


@app.post("/clear")
def clear() -> Response:
    return back([thing for thing in kept() if not thing["done"]])


def page(things: list[dict], problem: str = "", text: str = "") -> str:
    """The list; after a problem with what was wrong, and the text that was not added still in its field."""
    return render_template("list.html", things=things, longest=LONGEST, problem=problem, text=text)


def kept() -> list[dict]:
    """What the visitor's cookie holds. It can hold anything: what is not such a list is none."""
    try:
        found = json.loads(urlsafe_b64decode(request.cookies.get(COOKIE, "")))
        things = [{"text": str(one["text"])[:LONGEST], "done": one["done"] == 1} for one in found[:MOST]]
        # JSON can hold what no page can, half a surrogate pair: that raises here.
        encoded(things)
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
    return things


def encoded(things: list[dict]) -> str:
    """The cookie's value. As long for what is done as for what is not, and letters of any script are not escaped."""
    short = [{**thing, "done": int(thing["done"])} for thing in things]
    return urlsafe_b64encode(json.dumps(short, ensure_ascii=False, separators=(",", ":")).encode()).decode()


def back(things: list[dict]) -> Response:
    """To the list again, which the cookie now holds. A form that is sent twice would otherwise add twice."""
    response = redirect(url_for("show"), 303)
    response.set_cookie(
        COOKIE, encoded(things), max_age=30 * 86400, httponly=True, samesite="Lax", path=request.script_root or "/"
    )
    return response
