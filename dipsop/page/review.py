"""The labels: the review page that `dipsop classify` leaves in a run folder, in a frame of its own.

It is a document with its script in it. The frame is a sandbox: it gets no hold of the page around it, and no way out.
"""

import secrets
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dipsop.classification.review import BESIDE, PAGE

HEADERS = {
    "Content-Security-Policy": (
        "sandbox allow-scripts allow-downloads allow-forms allow-modals; default-src 'none'; "
        "img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "
        "frame-ancestors 'self'"
    ),
    "Cross-Origin-Resource-Policy": "cross-origin",  # the sandbox is an origin of its own
}


class Review:
    """What there is to look through.

    Parameters
    ----------
    run : Path or None
        Folder of a run of `dipsop classify`.
    """

    def __init__(self, run: Path | None) -> None:
        self._run = run
        self._place = f"/labels/{secrets.token_urlsafe(12)}"  # so that no other site can name its pictures

    def told(self) -> dict[str, str]:
        """Where the review is, or a sentence why there is none."""
        if self._run is None:
            return {"sentence": "To look through the labels of a training, start dipsop page --run with its folder."}
        if not (self._run / PAGE).is_file():
            return {"sentence": f"{self._run.name} holds no {PAGE}: let dipsop classify come to its end first."}
        return {"address": f"{self._place}/{PAGE}"}

    def routes(self) -> list[BaseRoute]:
        """Where it is served."""
        if self._run is None:
            return []
        files = _Files(directory=self._run / BESIDE, check_dir=False)
        return [Route(f"{self._place}/{PAGE}", self._page), Mount(f"{self._place}/{BESIDE}", files)]

    def _page(self, request: Request) -> Response:
        if self._run is None or not (self._run / PAGE).is_file():
            return JSONResponse({"error": "the labels are not there any more: run dipsop classify again."}, 404)
        return FileResponse(self._run / PAGE, headers=HEADERS)


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Any) -> Response:
        """Return a file, with what a browser may make of it."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response
