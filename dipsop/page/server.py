"""The routes: what the page can ask, and what it gets. All state is in sessions.py, all computing in fits.py."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dipsop.errors import DipsopError
from dipsop.files import reason, temporary_folder
from dipsop.page import LOCAL, choices, sessions
from dipsop.page.bodies import TooLarge, choice_in, receive
from dipsop.page.fits import Fits
from dipsop.page.guard import Guard
from dipsop.page.item import LAYERS, Item
from dipsop.page.review import Review
from dipsop.page.sessions import NotThere, Tab, Tabs

STATIC = Path(__file__).parent / "static"
LOOKS = ("before", "first", "live", "after", "found", "thumb")
COOKIE = "dipsop-visitor"
SECONDS_BETWEEN_SWEEPS = 20.0


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
    labels = Review(run)

    def about(request: Request) -> Response:
        limits = {"most_bytes": sessions.MOST_BYTES, "local": host in LOCAL}
        return JSONResponse(choices.told() | limits | {"labels": labels.told()})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with temporary_folder("dipsop-page-") as folder:
            app.state.tabs = tabs = Tabs(Path(folder), Fits())
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
        *labels.routes(),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Guard, host=host, password=password)],
        exception_handlers={
            NotThere: _refusing(404),
            TooLarge: _refusing(413),
            DipsopError: _refusing(422),
            OSError: _no_room,
        },
    )


async def _sweep(tabs: Tabs) -> None:
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_SWEEPS)
        await run_in_threadpool(tabs.sweep)


def _refusing(status: int) -> Callable[[Request, Exception], Response]:
    return lambda request, error: JSONResponse({"error": str(error)}, status)


def _no_room(request: Request, error: Exception) -> Response:
    why = reason(error) if isinstance(error, OSError) else error
    said = f"the computer that runs dipsop could not keep its files ({why}): free space there, and try again."
    return JSONResponse({"error": said}, 507)


def _tabs(request: Request) -> Tabs:
    tabs: Tabs = request.app.state.tabs
    return tabs


def _tab(request: Request) -> Tab:
    return _tabs(request).get(request.path_params["tab"], request.cookies.get(COOKIE))


def _item(request: Request) -> Item:
    return _tab(request).item(request.path_params["picture"])


def index(request: Request) -> Response:
    """The page itself; a browser that comes for the first time gets a name that nobody can guess."""
    response = FileResponse(STATIC / "index.html")
    if COOKIE not in request.cookies:
        # Lax, not strict: otherwise whoever follows a link from elsewhere gets another name, and loses what is open.
        response.set_cookie(COOKIE, secrets.token_urlsafe(24), httponly=True, samesite="lax")
    return response


def open_tab(request: Request) -> Response:
    """A tab begins."""
    visitor = request.cookies.get(COOKIE)
    if not visitor:
        raise NotThere("cookies are needed to keep your pictures apart from others': allow them for this page.")
    return JSONResponse({"tab": _tabs(request).open(visitor)})


def tell(request: Request) -> Response:
    """All that is to be shown; asked every second, which is also the sign that the tab is there."""
    return JSONResponse({"pictures": _tab(request).told()})


def close_tab(request: Request) -> Response:
    """A tab ends, and its pictures go."""
    _tab(request)
    _tabs(request).close(request.path_params["tab"])
    return Response(status_code=204)


async def upload(request: Request) -> Response:
    """A picture comes in; what cannot be taken stays in the queue with the sentence why."""
    tab = _tab(request)
    item = tab.add(request.query_params.get("name", ""))
    try:
        await receive(request, item.source, sessions.MOST_BYTES, item.name)
    except TooLarge as error:
        item.problem = str(error)
    except ClientDisconnect:
        await run_in_threadpool(tab.remove, item)
        raise DipsopError(f"{item.name} did not come in whole: drop it again.") from None
    except OSError:
        await run_in_threadpool(tab.remove, item)
        raise
    else:
        await run_in_threadpool(item.read)
        if await request.is_disconnected():  # taken away meanwhile
            await run_in_threadpool(tab.remove, item)
    return JSONResponse(item.told(tab.fits))


def remove(request: Request) -> Response:
    """A picture is taken away."""
    tab = _tab(request)
    tab.remove(_item(request))
    return Response(status_code=204)


async def start(request: Request) -> Response:
    """A run is asked for."""
    tab, item, choice = _tab(request), _item(request), await choice_in(request)
    await run_in_threadpool(item.start, choice, tab.visitor, tab.fits)
    return JSONResponse(item.told(tab.fits))


async def command(request: Request) -> Response:
    """The command line that does what is chosen."""
    item, stay = _item(request), request.query_params.get("stay") == "true"
    return JSONResponse({"command": item.command(await choice_in(request), stay)})


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
    await receive(request, painted, sessions.MOST_BYTES, "what was painted")
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
