"""The routes: what the page can ask, and what it gets. All state is in sessions.py, all computing in fits.py."""

import asyncio
import json
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dipsop import __version__
from dipsop.errors import DipsopError
from dipsop.page import choices, sessions
from dipsop.page.fits import Fits
from dipsop.page.guard import LOCAL, Guard
from dipsop.page.item import LAYERS, Item
from dipsop.page.sessions import NotThere, Tab, Tabs
from dipsop.restoration.config import PRESETS, HeldOut

STATIC = Path(__file__).parent / "static"
LOOKS = ("before", "first", "live", "after", "found", "thumb")
COOKIE = "dipsop-visitor"
MOST_BYTES_OF_OPTIONS = 10_000
SECONDS_BETWEEN_SWEEPS = 20.0
REVIEW = "labels.html"  # what `dipsop classify` leaves in a run folder to look through, and what it shows
REVIEW_FILES = "labels_files"
# The review page is a document of its own, with its script in it; it gets no hold of this one, and no way out.
REVIEW_POLICY = (
    "sandbox allow-scripts allow-downloads allow-forms allow-modals; default-src 'none'; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; frame-ancestors 'self'"
)


class TooLarge(DipsopError):
    """More bytes come than are taken."""


@dataclass(frozen=True)
class Page:
    """What a server has: its tabs, and the run of `dipsop classify` that it shows.

    Parameters
    ----------
    tabs : Tabs
    host : str
        What it is bound to.
    review : Path or None
        The run folder.
    secret : str
        In the path of the review, so that no other site can name its pictures.
    """

    tabs: Tabs
    host: str
    review: Path | None
    secret: str

    def about(self) -> dict[str, Any]:
        """What the page has to know of choices, defaults and limits."""
        default = choices.Choice()
        return {
            "version": __version__,
            "local": self.host in LOCAL,
            "most_bytes": sessions.MOST_BYTES,
            "kinds": [{"value": name, "words": words} for name, (words, _) in choices.KINDS.items()],
            "presets": [
                {"value": name, "words": words, "steps": PRESETS[name].steps, "searches": _searches(name)}
                for name, words in choices.WORDS_OF_PRESETS.items()
            ],
            "strengths": [{"value": value, "words": words} for value, words in choices.STRENGTHS.items()],
            "defaults": {name: getattr(default, name) for name in ("kind", "preset", "strength", "seed")},
            "again_steps": choices.AGAIN_STEPS,
            "labels": self._labels(),
        }

    def _labels(self) -> dict[str, str]:
        """Where the review of labels is, or a sentence why there is none."""
        if self.review is None:
            return {"sentence": "To look through the labels of a training, start dipsop page --run with its folder."}
        if not (self.review / REVIEW).is_file():
            return {"sentence": f"{self.review.name} holds no {REVIEW}: run dipsop classify to its end first."}
        return {"address": f"/labels/{self.secret}/{REVIEW}"}


def _searches(preset: str) -> bool:
    return isinstance(PRESETS[preset], HeldOut)


def application(host: str = "127.0.0.1", password: str | None = None, run: Path | None = None) -> Starlette:
    """Return the server as an ASGI application.

    Parameters
    ----------
    host : str
        What it is going to be bound to.
    password : str or None
        Asked of everybody, by HTTP basic authentication.
    run : Path or None
        Folder of a run of `dipsop classify`.
    """
    secret = secrets.token_urlsafe(12)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="dipsop-page-", ignore_cleanup_errors=True) as folder:
            tabs = Tabs(Path(folder), Fits())
            app.state.page = Page(tabs, host, run, secret)
            sweeping = asyncio.create_task(_sweep(tabs))
            try:
                yield
            finally:
                sweeping.cancel()
                await run_in_threadpool(tabs.close_all)

    picture = "/tabs/{tab}/pictures/{picture}"
    routes = [
        Route("/", index),
        Route("/about", about),
        Route("/tabs", open_tab, methods=["POST"]),
        Route("/tabs/{tab}", tell),
        Route("/tabs/{tab}/close", close_tab, methods=["POST"]),
        Route("/tabs/{tab}/all.zip", pack),
        Route("/tabs/{tab}/pictures", upload, methods=["POST"]),
        Route(picture, remove, methods=["DELETE"]),
        Route(f"{picture}/start", start, methods=["POST"]),
        Route(f"{picture}/command", command, methods=["POST"]),
        Route(f"{picture}/stop", stop, methods=["POST"]),
        Route(f"{picture}/brush/{{layer}}", paint, methods=["PUT"]),
        Route(f"{picture}/looks/{{look}}", look),
        Route(f"{picture}/files/{{part}}", take_home),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    if run is not None:
        routes += [
            Route(f"/labels/{secret}/{REVIEW}", review),
            Mount(f"/labels/{secret}/{REVIEW_FILES}", _ReviewFiles(directory=run / REVIEW_FILES, check_dir=False)),
        ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Guard, host=host, password=password)],
        exception_handlers={NotThere: _refuse_404, TooLarge: _refuse_413, DipsopError: _refuse_422},
    )


async def _sweep(tabs: Tabs) -> None:
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_SWEEPS)
        await run_in_threadpool(tabs.sweep)


def _refusal(status: int, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status)


def _refuse_404(request: Request, error: Exception) -> Response:
    return _refusal(404, error)


def _refuse_413(request: Request, error: Exception) -> Response:
    return _refusal(413, error)


def _refuse_422(request: Request, error: Exception) -> Response:
    return _refusal(422, error)


def _page(request: Request) -> Page:
    page: Page = request.app.state.page
    return page


def _tab(request: Request) -> Tab:
    return _page(request).tabs.get(request.path_params["tab"], request.cookies.get(COOKIE))


def _item(request: Request) -> Item:
    return _tab(request).item(request.path_params["picture"])


async def _receive(request: Request, path: Path, most: int, name: str) -> None:
    """Write the body of a request to a file; TooLarge, and no file, where it is longer than `most`."""
    too_large = TooLarge(f"{name} is larger than {most >> 20} MB: crop or scale it down.")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > most:
        raise too_large
    written = 0
    try:
        with path.open("xb") as file:
            async for chunk in request.stream():
                written += len(chunk)
                if written > most:
                    raise too_large
                await run_in_threadpool(file.write, chunk)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _choice(request: Request) -> choices.Choice:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES_OF_OPTIONS:
            raise TooLarge("the options are too long: reload the page.")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise DipsopError("the options are not what they must be: reload the page.")
    return choices.chosen(said)


def index(request: Request) -> Response:
    """The page itself; a browser that comes for the first time gets a name that nobody can guess."""
    response = FileResponse(STATIC / "index.html")
    if COOKIE not in request.cookies:
        response.set_cookie(COOKIE, secrets.token_urlsafe(24), httponly=True, samesite="strict")
    return response


def about(request: Request) -> Response:
    """Choices, defaults and limits."""
    return JSONResponse(_page(request).about())


def open_tab(request: Request) -> Response:
    """A tab begins."""
    visitor = request.cookies.get(COOKIE)
    if not visitor:
        raise NotThere("cookies are needed to keep your pictures apart from others': allow them for this page.")
    return JSONResponse({"tab": _page(request).tabs.open(visitor)})


def tell(request: Request) -> Response:
    """All that is to be shown; asked every second, which is also the sign that the tab is there."""
    return JSONResponse({"pictures": _tab(request).told()})


def close_tab(request: Request) -> Response:
    """A tab ends, and its pictures go."""
    _tab(request)
    _page(request).tabs.close(request.path_params["tab"])
    return Response(status_code=204)


async def upload(request: Request) -> Response:
    """A picture comes in; what cannot be taken stays in the queue with the sentence why."""
    tab = _tab(request)
    item = tab.add(request.query_params.get("name", ""))
    try:
        await _receive(request, item.source, sessions.MOST_BYTES, item.name)
    except TooLarge as error:
        item.problem = str(error)
    except (ClientDisconnect, OSError):
        await run_in_threadpool(tab.remove, item)
        raise DipsopError(f"{item.name} did not come in whole: drop it again.") from None
    else:
        await run_in_threadpool(item.read)
    return JSONResponse(item.told(tab.fits))


def remove(request: Request) -> Response:
    """A picture is taken away."""
    tab = _tab(request)
    tab.remove(_item(request))
    return Response(status_code=204)


async def start(request: Request) -> Response:
    """A run is asked for."""
    tab, item, choice = _tab(request), _item(request), await _choice(request)
    await run_in_threadpool(item.start, choice, tab.visitor, tab.fits)
    return JSONResponse(item.told(tab.fits))


async def command(request: Request) -> Response:
    """The command line that does what is chosen."""
    item = _item(request)
    return JSONResponse({"command": item.command(await _choice(request))})


def stop(request: Request) -> Response:
    """A run ends with what there is."""
    tab, item = _tab(request), _item(request)
    item.stop(tab.fits)
    return JSONResponse(item.told(tab.fits))


async def paint(request: Request) -> Response:
    """What the brush made comes in, as a picture that is white where it painted."""
    item, layer = _item(request), request.path_params["layer"]
    if layer not in LAYERS or not item.about:
        raise NotThere("there is nothing to paint on: reload the page.")
    painted = item.folder / f"{secrets.token_hex(8)}.painted"
    await _receive(request, painted, sessions.MOST_BYTES, "what was painted")
    try:
        await run_in_threadpool(item.paint, layer, painted)
    finally:
        painted.unlink(missing_ok=True)
    return Response(status_code=204)


def look(request: Request) -> Response:
    """Something that is shown of a picture."""
    item, name = _item(request), request.path_params["look"]
    if name not in LOOKS or not (path := item.look(name)).is_file():
        raise NotThere("this is not there (any more): reload the page.")
    return FileResponse(path, media_type="image/png")


def take_home(request: Request) -> Response:
    """A file of the result."""
    files = _item(request).files()
    if request.path_params["part"] not in files:
        raise NotThere("there is no such result (any more): reload the page.")
    path, name = files[request.path_params["part"]]
    return FileResponse(path, filename=name, media_type="application/octet-stream")


def pack(request: Request) -> Response:
    """All results in one file."""
    path = _tab(request).packed()
    return FileResponse(path, filename="restored.zip", background=BackgroundTask(path.unlink, missing_ok=True))


def review(request: Request) -> Response:
    """The review page of a run of `dipsop classify`."""
    run = _page(request).review
    if run is None or not (run / REVIEW).is_file():
        raise NotThere("the labels are not there any more: run dipsop classify again.")
    return FileResponse(run / REVIEW, headers=_review_headers())


class _ReviewFiles(StaticFiles):
    """The thumbnails of the review page; its frame has an origin of its own, and must be let to show them."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_review_headers())
        return response


def _review_headers() -> dict[str, str]:
    return {"Content-Security-Policy": REVIEW_POLICY, "Cross-Origin-Resource-Policy": "cross-origin"}
