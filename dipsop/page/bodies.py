"""What comes in: files and options, none longer than it may be."""

import json
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from dipsop.errors import DipsopError
from dipsop.page import choices

MOST_BYTES_OF_OPTIONS = 10_000


class TooLarge(DipsopError):
    """More bytes come than are taken."""


async def receive(request: Request, path: Path, most: int, name: str) -> None:
    """Write the body of a request to a file; TooLarge, and no file, where it is longer than `most` bytes."""
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


async def choice_in(request: Request) -> choices.Choice:
    """Return the choice that a request brings; DipsopError where it is none."""
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
        raise DipsopError(choices.NO_OPTIONS)
    return choices.chosen(said)
