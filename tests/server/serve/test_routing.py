"""Which route answers: specificity, methods, encodings."""

import itertools

import pytest

from clowdy.schema.manifest import RouteSpec
from clowdy.server.serve.routing import BadPath, Match, MethodNotAllowed, RouteTable, decode


def table(*routes: str) -> RouteTable:
    specs = []
    for route in routes:
        method, path = route.split(" ", 1)
        specs.append(RouteSpec(method, path, route))
    return RouteTable.compile(specs)


def found(routes: RouteTable, method: str, path: str) -> tuple[str, dict[str, str]]:
    match = routes.match(method, path)
    assert isinstance(match, Match), match
    return match.route.function, match.params


SPECIFICITY = ["GET /users/me", "GET /users/:id", "GET /users/*rest", "GET /:kind/me", "ANY /*all"]


@pytest.mark.parametrize("order", list(itertools.permutations(SPECIFICITY))[::7])
def test_the_order_in_the_file_does_not_matter(order: tuple[str, ...]) -> None:
    routes = table(*order)

    assert found(routes, "GET", "/users/me") == ("GET /users/me", {})
    assert found(routes, "GET", "/users/7") == ("GET /users/:id", {"id": "7"})
    assert found(routes, "GET", "/users/7/books") == ("GET /users/*rest", {"rest": "7/books"})
    assert found(routes, "GET", "/orders/me") == ("GET /:kind/me", {"kind": "orders"})
    assert found(routes, "GET", "/orders/you") == ("ANY /*all", {"all": "orders/you"})
    assert found(routes, "PUT", "/users/me") == ("ANY /*all", {"all": "users/me"})


def test_a_method_beats_any_on_one_path_and_a_literal_beats_the_method() -> None:
    routes = table("ANY /a/:id", "GET /a/:id", "ANY /a/b")

    assert found(routes, "GET", "/a/1")[0] == "GET /a/:id"
    assert found(routes, "POST", "/a/1")[0] == "ANY /a/:id"
    assert found(routes, "GET", "/a/b")[0] == "ANY /a/b"


def test_a_path_that_lacks_the_method_falls_back_to_a_less_specific_one_that_has_it() -> None:
    routes = table("GET /users/me", "POST /users/:id")

    assert found(routes, "POST", "/users/me") == ("POST /users/:id", {"id": "me"})


@pytest.mark.parametrize("path", ["/files", "/files/"])
def test_the_rest_also_matches_nothing(path: str) -> None:
    assert found(table("ANY /files/*path"), "GET", path) == ("ANY /files/*path", {"path": ""})


def test_a_trailing_slash_is_ignored() -> None:
    routes = table("GET /a", "GET /", "GET /u/:id")

    assert found(routes, "GET", "/a/")[0] == "GET /a"
    assert found(routes, "GET", "/")[0] == "GET /"
    assert found(routes, "GET", "/u/1/") == ("GET /u/:id", {"id": "1"})


@pytest.mark.parametrize("path", ["/a//", "//a", "/u/", "/u//", "/A", "/a/b", "/a%20", ""])
def test_nothing_else_is_forgiven(path: str) -> None:
    assert table("GET /a", "GET /u/:id").match("GET", path) is None


def test_head_is_served_by_get_and_by_any() -> None:
    routes = table("GET /a", "ANY /b", "POST /c")

    match = routes.match("HEAD", "/a")
    assert isinstance(match, Match)
    assert (match.route.method, match.method) == ("GET", "GET")
    match = routes.match("HEAD", "/b")
    assert isinstance(match, Match)
    assert (match.route.method, match.method) == ("ANY", "GET")
    assert routes.match("HEAD", "/c") == MethodNotAllowed("POST, OPTIONS")


def test_head_is_what_get_is_also_where_another_route_would_take_it() -> None:
    routes = table("ANY /a", "GET /*rest", "POST /b")

    for path in ("/a", "/b", "/c"):
        assert routes.match("HEAD", path) == routes.match("GET", path)


def test_allow_names_every_method_that_some_route_of_the_path_takes() -> None:
    routes = table("GET /a/:id", "DELETE /a/b", "PATCH /a/*rest", "ANY /any")

    assert routes.match("POST", "/a/b") == MethodNotAllowed("GET, HEAD, PATCH, DELETE, OPTIONS")
    assert routes.match("OPTIONS", "/a/c") == MethodNotAllowed("GET, HEAD, PATCH, OPTIONS")
    assert routes.match("OPTIONS", "/any") == MethodNotAllowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
    assert routes.match("TRACE", "/any") == MethodNotAllowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
    assert found(routes, "PROPFIND", "/any")[0] == "ANY /any"


def test_segments_are_decoded_after_splitting() -> None:
    routes = table("GET /u/:id", "GET /u/:id/books", "GET /f/*path", "GET /café")

    assert found(routes, "GET", "/u/a%2Fbooks") == ("GET /u/:id", {"id": "a/books"})
    assert found(routes, "GET", "/u/%C3%A9%20x") == ("GET /u/:id", {"id": "é x"})
    assert found(routes, "GET", "/u/a+b") == ("GET /u/:id", {"id": "a+b"})
    assert found(routes, "GET", "/u/1%0A") == ("GET /u/:id", {"id": "1\n"})
    assert found(routes, "GET", "/u/%252F") == ("GET /u/:id", {"id": "%2F"})
    assert found(routes, "GET", "/f/a/../b") == ("GET /f/*path", {"path": "a/../b"})
    assert found(routes, "GET", "/caf%c3%a9")[0] == "GET /café"
    assert found(routes, "GET", "/%75/1")[0] == "GET /u/:id"


def test_a_percent_sign_in_a_route_is_itself() -> None:
    routes = table("GET /%41")

    assert routes.match("GET", "/%41") is None
    assert found(routes, "GET", "/%2541")[0] == "GET /%41"


@pytest.mark.parametrize("path", ["/u/%00", "/u/%FF", "/u/%", "/u/%4", "/u/%zz", "/u/100%", "/u/%C0%AF", "/u/\udcff"])
def test_broken_encodings_are_refused(path: str) -> None:
    with pytest.raises(BadPath):
        table("GET /u/:id").match("GET", path)


def test_decoding_happens_once() -> None:
    assert decode("%2525") == "%25"


def test_a_route_deeper_than_python_recurses_is_found() -> None:
    path = "/a" * 4000
    routes = table(f"GET {path}", "GET /*rest")

    assert found(routes, "GET", path)[0] == f"GET {path}"
    assert found(routes, "GET", "/a" * 3999)[0] == "GET /*rest"


def test_a_hostile_table_costs_no_more_than_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Literals and parameters that could be combined in 2^14 ways are walked once each."""
    shapes = ["".join(f"/{'a' if mask >> bit & 1 else ':p' + str(bit)}" for bit in range(8)) for mask in range(256)]
    routes = table(*(f"GET {shape}/end" for shape in shapes))

    assert routes.match("GET", "/a" * 9) is None
