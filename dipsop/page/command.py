"""`dipsop page`: serve the page, here, and open the browser."""

import errno
import os
import signal
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from dipsop.errors import DipsopError
from dipsop.files import reason, shown, temporary_folder
from dipsop.page import LOCAL

PORT = 7860
PORTS = 10  # tried from PORT on, where none was named


def page(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Where to listen.", show_default=f"{PORT}, or the next that is free"),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address alone, do not open it.", show_default="off")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen at; another needs --password.")] = LOCAL[0],
    password: Annotated[
        str | None, typer.Option(help="Asked of everybody who opens the page.", show_default="none")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="A folder of dipsop classify, to look through.", show_default="none"),
    ] = None,
) -> None:
    """Restore pictures in the browser: drop, look, brush, save. Nothing leaves this computer.

    Ctrl-C ends it; the pictures that were dropped are gone then, with all that was not saved.
    """
    if password == "":
        raise typer.BadParameter("is empty: choose one.", param_hint="--password")
    if host not in LOCAL and password is None:
        raise typer.BadParameter(f"{host} can be reached by others: say --password too.", param_hint="--host")
    if run is not None and not os.path.isdir(run):  # Path's raises where the system does not let one look
        raise DipsopError(f"{shown(run)} is not a folder: name one that dipsop classify wrote.")
    try:
        import uvicorn

        from dipsop.page.server import application
    except ImportError as error:
        if error.name not in ("starlette", "uvicorn", "anyio"):
            raise
        raise DipsopError("the page needs a small web server: pip install 'dipsop[page]'.") from None
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which nohup wants
        # The terminal was closed: an end like any other.
        signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    temporary_folder("dipsop-page-").cleanup()  # so that where none can be made is said, and not by the server
    listening = listen(host, port)
    address = address_of(host, listening.getsockname()[1])
    if host not in LOCAL:
        print("Others can reach this page. Password and pictures travel unencrypted.", file=sys.stderr)
    print(f"dipsop page is at {address} (Ctrl-C ends it)", flush=True)
    if not no_browser:
        threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
    config = uvicorn.Config(
        application(host, password, run),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    with listening, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens at a port: the one named, or the first that is free of some.

    Raises
    ------
    DipsopError
        The port is taken, or there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = PORT + PORTS - 1 if port is None else port
    for number in range(PORT if port is None else port, last + 1):
        try:
            return socket.create_server((host, number), family=family)
        except OSError as error:
            for_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
            if number == last or not for_port:
                remedy = "--port, or --port 0" if for_port else "--host"
                raise DipsopError(
                    f"{host} port {number} cannot be listened at ({reason(error)}): say another {remedy}."
                ) from None
    raise AssertionError("there is a last port")


def address_of(host: str, port: int) -> str:
    """Return what to open in a browser on this computer."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{here}]:{port}/" if ":" in here else f"http://{here}:{port}/"
