"""Who is calling, and whether they may. One answer for the API, for git and for the pages."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from enum import Enum

from clowdy.server.errors import NotAllowed, NotAuthenticated, NotFound
from clowdy.server.people.limits import Failures, TooManyAttempts
from clowdy.server.people.tokens import PRESET_ID, Principal, Scope, Tokens

MISSING = "Missing auth token"
INVALID = "Invalid token"

_LONGEST = 4096


class Right(Enum):
    """What somebody wants to do. CREATE and SERVER concern no project."""

    READ = "read"
    DEPLOY = "deploy"
    ADMIN = "admin"
    CREATE = "create"
    SERVER = "server"


_LEAST = {
    Right.READ: Scope.READ,
    Right.DEPLOY: Scope.DEPLOY,
    Right.ADMIN: Scope.ADMIN,
    Right.CREATE: Scope.ADMIN,
    Right.SERVER: Scope.ADMIN,
}
# What a refusal says of each.
_WORDS = {
    Right.READ: "to read this",
    Right.DEPLOY: "to push, to go back or to cancel",
    Right.ADMIN: "to change secrets or the project itself",
    Right.CREATE: "to make a project",
    Right.SERVER: "what concerns the whole server",
}
_ORDER = (Scope.READ, Scope.DEPLOY, Scope.ADMIN)


class Authorizer:
    """Identifies callers by their Authorization header and judges what they may do."""

    def __init__(self, tokens: Tokens, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._failures = Failures(clock)
        # What came to functions and is no token of ours, but may be a try at a preset one.
        self._guesses = Failures(clock)

    async def identify(self, authorization: str | None, *, address: str | None = None, basic: bool = True) -> Principal:
        """Who is calling; raises NotAuthenticated, whose text does not tell unknown tokens from wrong ones.

        The token is a bearer token or, where `basic` is allowed, the password of any user.
        """
        text = token_of(authorization, basic=basic)
        if text is None:
            raise NotAuthenticated(MISSING)
        # A token with 256 random bits is let in from any address: nobody finds one by trying. A preset one may be weak.
        exhausted = self._failures.exhausted(address)
        principal = self._tokens.match(text)
        if principal is not None and not (exhausted and principal.token_id == PRESET_ID):
            return principal
        if exhausted:
            raise TooManyAttempts
        # It may have been made a moment ago by another process on this machine.
        await self._tokens.refresh()
        principal = self._tokens.match(text)
        if principal is None:
            self._failures.add(address)
            raise NotAuthenticated(INVALID)
        return principal

    def authorize(self, principal: Principal, right: Right, project_id: str | None = None) -> None:
        """Returns if the principal may do this; raises NotFound for what is not theirs to see, else NotAllowed."""
        if project_id is not None and principal.project_id not in {None, project_id}:
            raise NotFound("Project not found")
        least = _LEAST[right]
        if _ORDER.index(principal.scope) < _ORDER.index(least):
            raise NotAllowed(f"this token has scope {principal.scope}: {_WORDS[right]} takes scope {least}")
        if project_id is None and right in {Right.CREATE, Right.SERVER} and principal.project_id is not None:
            raise NotAllowed("this token is for one project")

    def may(self, principal: Principal, right: Right, project_id: str | None = None) -> bool:
        """Whether `authorize` would return."""
        try:
            self.authorize(principal, right, project_id)
        except (NotAllowed, NotFound):
            return False
        return True

    def sees(self, principal: Principal, project_id: str) -> bool:
        """Whether the project is among those that the principal can see at all."""
        return principal.project_id in {None, project_id}

    def is_own_token(self, text: str) -> bool:
        """Whether a text is a token of this server, which no function may see."""
        return self._tokens.is_own(text)

    def may_read_logs(self, authorization: str | None, project_id: str, address: str | None = None) -> bool:
        """Whether this header's token may read the project's logs; judged at once, by what is in memory."""
        text = token_of(authorization, basic=True)
        if text is None:
            return False
        principal = self._tokens.match(text)
        if principal is None:
            # Most are an application's own tokens, which say nothing against an address.
            (self._failures if self._tokens.is_own(text) else self._guesses).add(address)
            return False
        exhausted = self._failures.exhausted(address) or self._guesses.exhausted(address)
        return self.sees(principal, project_id) and not (exhausted and principal.token_id == PRESET_ID)


def token_of(authorization: str | None, *, basic: bool) -> str | None:
    """The token in an Authorization header: a bearer token, or the password of Basic; None when there is none."""
    if authorization is None or len(authorization) > _LONGEST:
        return None
    scheme, _, value = authorization.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value or None
    if scheme.lower() == "basic" and basic:
        try:
            decoded = base64.b64decode(value, validate=True).decode("utf-8", "surrogateescape")
        except binascii.Error:
            return None
        return decoded.partition(":")[2] or None
    return None
