"""Route patterns and the requests that they take."""

from __future__ import annotations

import pytest

from clowdy.schema.rejection import Rejection
from clowdy.schema.routes import RequestLine, has_route, parse_request, parse_route
from clowdy.schema.suggest import Suggester


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("GET /", "GET /"),
        ("get /a/", "GET /a"),
        ("ANY /files/*path", "ANY /files/*path"),
        ("PATCH  /users/:id/posts/:post_id", "PATCH /users/:id/posts/:post_id"),
        ("GET /café/a b/v1.2/x:y/100%", "GET /café/a b/v1.2/x:y/100%"),
        ("DELETE /...", "DELETE /..."),
    ],
)
def test_patterns_have_one_spelling(text: str, normal: str) -> None:
    assert str(parse_route(text, Suggester())) == normal


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "route-method", "GET, POST, PUT, PATCH, DELETE, ANY"),
        ("/users", "route-method", 'did you mean "GET /users"?'),
        ("GTE /", "route-method", 'did you mean "GET"?'),
        ("Get /", "route-method", 'did you mean "GET"?'),
        ("HEAD /", "route-method", "served by GET"),
        ("OPTIONS /", "route-method", "answered by the gateway"),
        ("GET", "route-path", "does not begin with /"),
        ("GET users", "route-path", 'did you mean "/users"?'),
        ("GET //", "route-path", "empty segment"),
        ("GET /a//b", "route-path", "empty segment"),
        ("GET /a/../b", "route-path", '".."'),
        ("GET /./b", "route-path", '"."'),
        ("GET /a?b=1", "route-path", "has a ?"),
        ("GET /a#b", "route-path", "has a #"),
        ("GET /a%2Fb", "route-path", "percent escape"),
        ("GET /a\nb", "route-path", "control"),
        ("GET /a\x00", "route-path", "control"),
        ("GET /a\u202eb", "route-path", "invisible"),
        ("GET /:", "route-path", "not a parameter"),
        ("GET /:1x", "route-path", "not a parameter"),
        ("GET /:user-id", "route-path", "not a parameter"),
        ("GET /:id.json", "route-path", "not a parameter"),
        ("GET /*", "route-path", "*rest"),
        ("GET /*rest/more", "route-path", "put it last"),
        ("GET /a*b", "route-path", "inside a segment"),
        ("GET /:id/b/:id", "route-path", "two parameters"),
        ("GET /:id/*id", "route-path", "two parameters"),
        ("GET /{id}", "route-path", 'did you mean ":id"?'),
        ("GET /<int:id>", "route-path", 'did you mean ":id"?'),
        ("GET /[id]", "route-path", 'did you mean ":id"?'),
    ],
)
def test_what_a_route_may_not_say(text: str, code: str, words: str) -> None:
    with pytest.raises(Rejection) as caught:
        parse_route(text, Suggester())
    assert caught.value.code == code
    assert words in f"{caught.value.message}: {caught.value.hint}"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("GET /a/:b", "GET /a/:c", True),
        ("GET /a/*b", "GET /a/*c/", True),
        ("GET /a", "ANY /a", False),
        ("GET /a/:b", "GET /a/*b", False),
        ("GET /a/:b", "GET /a/b", False),
        ("GET /a", "GET /A", False),
    ],
)
def test_routes_of_one_shape_are_the_same(one: str, other: str, same: bool) -> None:
    shapes = {parse_route(text, Suggester()).shape for text in (one, other)}
    assert (len(shapes) == 1) is same


@pytest.mark.parametrize(
    ("request_text", "route", "takes"),
    [
        ("GET /users/1", "GET /users/:id", True),
        ("GET /users/1/", "GET /users/:id", True),
        ("HEAD /users/1?full=1", "GET /users/:id", True),
        ("GET /users", "GET /users/:id", False),
        ("GET /users/", "GET /users/:id", False),
        ("POST /users/1", "GET /users/:id", False),
        ("POST /users/1", "ANY /users/:id", True),
        ("GET /files", "GET /files/*path", True),
        ("GET /files/a/b", "GET /files/*path", True),
        ("GET /", "GET /*all", True),
        ("GET /", "GET /", True),
        ("GET /caf%C3%A9", "GET /café", True),
        ("GET /a%2Fb", "GET /:one", True),
        ("GET /a%2Fb", "GET /a/b", False),
    ],
)
def test_which_requests_a_route_takes(request_text: str, route: str, takes: bool) -> None:
    assert has_route(parse_request(request_text), [parse_route(route, Suggester())]) is takes


def test_a_request_line_keeps_its_query() -> None:
    assert parse_request("GET /a%20b?c=d") == RequestLine("GET", "/a%20b?c=d")


@pytest.mark.parametrize(
    "text", ["", "/", "GET", "ANY /", "get /", "GET a", "GET /a b", "GET /a#b", "GET /\x1b", "GET http://x/"]
)
def test_what_is_no_request(text: str) -> None:
    with pytest.raises(Rejection) as caught:
        parse_request(text)
    assert caught.value.code == "check-request"
