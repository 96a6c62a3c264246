"""Who may ask: requests that name this server, come from its own page, and know the password where there is one.

A page of any other site can have a browser send requests to 127.0.0.1. It cannot make it name this server as Host when
the name was resolved elsewhere (DNS rebinding), nor name this page as Origin.
"""

import base64
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dipsop.page import LOCAL

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets through what may be answered, and says in every answer what a browser may make of it.

    Parameters
    ----------
    app : ASGI application
    host : str
        What the server is bound to.
    password : str or None
    """

    def __init__(self, app: ASGIApp, host: str, password: str | None) -> None:
        self._app, self._host, self._password = app, host.lower(), password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            return _refused(403, "this name is not one of the server's: open the address that it printed.")
        if request.method not in ("GET", "HEAD") and _site(request.headers.get("origin", "")) != host:
            return _refused(403, "this came from another site: open the address that the server printed.")
        if self._password is not None and not _knows(request.headers, self._password):
            refused = _refused(401, "the password is missing or wrong.")
            refused.headers["WWW-Authenticate"] = 'Basic realm="dipsop", charset="UTF-8"'
            return refused
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this server: an address, or a name that nobody else can point here."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if self._host in LOCAL:
            return name in LOCAL
        own = socket.gethostname().lower()
        return name in {*LOCAL, self._host, own, f"{own}.local"} or _is_address(name)


def _site(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _knows(headers: Headers, password: str) -> bool:
    """Whether the password is there, whatever the user name; the comparison takes as long for any wrong one."""
    kind, _, said = headers.get("authorization", "").partition(" ")
    try:
        name_and_password = base64.b64decode(said, validate=True) if kind.lower() == "basic" else b""
    except ValueError:  # binascii.Error is one
        return False
    return secrets.compare_digest(name_and_password.partition(b":")[2], password.encode())


def _refused(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)
