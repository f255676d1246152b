"""The server's API as the verbs use it: JSON in, JSON out, and every failure in one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clowdy.schema.names import is_token
from clowdy.server.cli.address import is_loopback
from clowdy.server.cli.failure import Failure, NotThere
from clowdy.server.cli.target import Target

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0


class Lost(Failure):
    """The connection broke, or none came about."""


class Client:
    """Requests to one server with one token. `with Client(target) as client`."""

    def __init__(self, target: Target) -> None:
        import httpx

        self.server = target.server
        self._signed_in = target.token is not None
        headers = {b"User-Agent": b"clowdy", b"Accept": b"application/json"}
        if target.token:
            # The complaint of the HTTP library would show the token.
            if not is_token(target.token):
                raise Failure(f"the token for {target.server} has a control character or is not UTF-8")
            headers[b"Authorization"] = f"Bearer {target.token}".encode()
        try:
            self._http = httpx.Client(
                base_url=target.server,
                headers=headers,
                timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
                # A proxy cannot reach this machine's own loopback.
                trust_env=not is_loopback(urlsplit(target.server).hostname or ""),
            )
        except (UnicodeEncodeError, httpx.InvalidURL) as error:
            raise Failure(f"cannot talk to {target.server}: {_kind(error)}") from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **parameters: object) -> dict[str, Any]:
        """What the API says at `path`; parameters that are None are left out."""
        return self._object(self._answer("GET", path, parameters=parameters))

    def every(self, path: str, **parameters: object) -> list[dict[str, Any]]:
        """What the API lists at `path`."""
        answer = self._answer("GET", path, parameters=parameters)
        if not isinstance(answer, list):
            raise self._strange("an answer that is no list")
        return [self._object(item) for item in answer]

    def post(self, path: str, content: Any = None, *, seconds: float | None = None) -> dict[str, Any]:
        """What the API answers to `content`, a JSON value or the bytes of one.

        `seconds`: how long it may take, None for the usual time.
        """
        return self._object(self._answer("POST", path, content={} if content is None else content, seconds=seconds))

    def put(self, path: str, content: Any) -> dict[str, Any]:
        """What the API answers to `content`."""
        return self._object(self._answer("PUT", path, content=content))

    def delete(self, path: str, **parameters: object) -> dict[str, Any]:
        """What the API answers."""
        return self._object(self._answer("DELETE", path, parameters=parameters))

    @contextmanager
    def events(self, path: str, **parameters: object) -> Iterator[Iterator[dict[str, Any]]]:
        """The objects of a stream of server-sent events, from the moment that the server has accepted it.

        The stream raises Lost when it breaks, and ends when the server ends it.
        """
        import httpx

        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS, write=_ANSWER_SECONDS)
        with self._translated():
            request = self._http.build_request(
                "GET", path, params=_given(parameters), headers={"Accept": "text/event-stream"}, timeout=timeout
            )
            response = self._http.send(request, stream=True)
        try:
            if response.status_code != 200:
                with self._translated():
                    response.read()
                self._result(response)
            yield self._values(response)
        finally:
            response.close()

    def _answer(
        self,
        method: str,
        path: str,
        *,
        content: Any = None,
        parameters: Mapping[str, object] | None = None,
        seconds: float | None = None,
    ) -> Any:
        import httpx

        timeout = httpx.Timeout(seconds or _ANSWER_SECONDS, connect=_CONNECT_SECONDS)
        body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode("ascii")
        headers = {} if body is None else {"Content-Type": "application/json"}
        with self._translated():
            response = self._http.request(
                method, path, content=body, headers=headers, params=_given(parameters or {}), timeout=timeout
            )
        return self._result(response)

    def _values(self, response: httpx.Response) -> Iterator[dict[str, Any]]:
        data: list[str] = []
        with self._translated():
            for line in response.iter_lines():
                if line.startswith("data:"):
                    data.append(line[5:].removeprefix(" "))
                elif not line and data:
                    try:
                        value = json.loads("\n".join(data))
                    except RecursionError:
                        raise self._too_deep() from None
                    except ValueError:
                        raise self._strange("an event that is not JSON") from None
                    data.clear()
                    yield self._object(value)

    def _result(self, response: httpx.Response) -> Any:
        status = response.status_code
        if status in (301, 302, 303, 307, 308):
            raise Failure(f"{self.server} points to {response.headers.get('location', 'elsewhere')}: log in there")
        try:
            content = response.json()
        except RecursionError:
            raise self._too_deep() from None
        except ValueError:
            if status >= 500:
                raise Lost(f"{self.server} cannot answer now ({status}): try again") from None
            raise self._strange(f"{status} and something that is not JSON") from None
        if 200 <= status < 300:
            return content
        raise self._failure(status, content if isinstance(content, dict) else {})

    def _object(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._strange("something that is no object")
        return value

    def _strange(self, what: str) -> Failure:
        return Failure(f"{self.server} sent {what}: is this the address of a Clowdy server?")

    def _too_deep(self) -> Failure:
        return Failure(f"{self.server} sent an answer that is nested too deep to be read")

    def _failure(self, status: int, content: Mapping[str, Any]) -> Failure:
        detail = content.get("detail")
        text = detail if isinstance(detail, str) else f"{self.server} answered {status}"
        if status == 401:
            if not self._signed_in:
                return Failure(f"not signed in to {self.server}: run clowdy login {self.server}")
            return Failure(f"{self.server} refused the token ({text}): run clowdy login {self.server}")
        if isinstance(detail, list):
            text = "; ".join(str(item.get("msg", item)) if isinstance(item, dict) else str(item) for item in detail)
        details = _problem_lines(content.get("problems"))
        if status >= 500 and content.get("request_id"):
            text = f"{text} (request {content['request_id']})"
        return (NotThere if status == 404 else Failure)(text, details=details)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.ConnectError as error:
            raise Lost(self._unreachable(error)) from None
        except httpx.TimeoutException:
            raise Lost(f"{self.server} did not answer in time: is it busy, or is something in between?") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Lost(f"the connection to {self.server} broke: {_kind(error)}; try again") from None

    def _unreachable(self, error: Exception) -> str:
        if is_loopback(urlsplit(self.server).hostname or ""):
            return f"no server answers at {self.server}: start it with make run, or clowdy serve"
        return f"cannot reach {self.server} ({_kind(error)}): is it running, and is this its address?"


def _given(parameters: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items() if value is not None}


def _kind(error: Exception) -> str:
    return str(error) or type(error).__name__


def _problem_lines(problems: object) -> list[str]:
    if not isinstance(problems, list) or not problems:
        return []
    from clowdy.hooks.report import problem_text
    from clowdy.schema.problems import Problem

    lines: list[str] = []
    for problem in problems:
        with suppress(KeyError, TypeError, ValueError):
            place = (str(problem["file"]), int(problem["line"]), int(problem["col"]))
            words = (str(problem["code"]), str(problem["message"]), str(problem.get("hint") or ""))
            lines += problem_text(Problem(*place, *words))
    return lines
