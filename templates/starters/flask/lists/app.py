"""A list of things to do that each visitor keeps in a cookie of their own: forms, cookies and templates."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from flask import Flask, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

COOKIE = "things"
MOST = 20
LONGEST = 80

app = Flask(__name__)


@app.get("/")
def show() -> str:
    return render_template("list.html", things=kept(), longest=LONGEST)


@app.post("/add")
def add() -> Response:
    text = " ".join(request.form.get("text", "").split())[:LONGEST]
    things = kept()
    if text and len(things) < MOST:
        things.append({"text": text, "done": False})
    return back(things)


@app.post("/toggle/<int:place>")
def toggle(place: int) -> Response:
    things = kept()
    if place < len(things):
        things[place]["done"] = not things[place]["done"]
    return back(things)


@app.post("/clear")
def clear() -> Response:
    return back([thing for thing in kept() if not thing["done"]])


def kept() -> list[dict]:
    """What the visitor's cookie holds. It can hold anything: what is not such a list is none."""
    try:
        found = json.loads(urlsafe_b64decode(request.cookies.get(COOKIE, "")))
        return [{"text": str(one["text"])[:LONGEST], "done": one["done"] is True} for one in found[:MOST]]
    except (ValueError, TypeError, KeyError):
        return []


def back(things: list[dict]) -> Response:
    """To the list again, which the cookie now holds. A form that is sent twice would otherwise add twice."""
    response = redirect(url_for("show"), 303)
    value = urlsafe_b64encode(json.dumps(things, separators=(",", ":")).encode()).decode()
    response.set_cookie(
        COOKIE, value, max_age=30 * 86400, httponly=True, samesite="Lax", path=request.script_root or "/"
    )
    return response
