"""`dipsop doctor`: what a bug report needs."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dipsop.commands.options import OFF


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print it as a JSON object.", show_default=OFF)] = False,
) -> None:
    """Say what dipsop runs on here: versions, processor, number format, speed, GPU, memory, extras.

    Paste it into a bug report. It names no file and no person.
    """
    from dipsop.commands.display import aligned
    from dipsop.files import as_json
    from dipsop.jobs.doctor import report

    found = report()
    typer.echo(as_json(found) if json else aligned(in_words(found)))


def in_words(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the report as a person reads it, a line for each name."""
    gib = {name: f"{report[name] / 2**30:.1f} GiB" for name in ("memory", "memory_free")}
    lines = {
        "dipsop": f"{report['dipsop']}, Python {report['python']}",
        "libraries": ", ".join(f"{name} {version}" for name, version in report["libraries"].items()),
        "system": report["system"],
        "processor": f"{report['processor']}, {report['cores']} cores, {report['threads']} threads",
        "memory": f"{gib['memory']}, {gib['memory_free']} free",
        "GPU": report["gpu"],
        "computes": f"on {report['device']} in {report['dtype']}, {report['gflops']:g} GFLOP/s",
    }
    for name, missing in report["extras"].items():
        lines[f"[{name}]"] = "there" if not missing else f"not there: {', '.join(missing)}"
    return lines
