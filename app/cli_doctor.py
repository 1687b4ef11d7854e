"""`recollect doctor`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from app.logs import set_up_logging
from app.terminal import out, read_settings

COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """Look for what keeps the service from working, and say what to do. Nothing is changed or fetched.

    Exit status: 1 if something must be done.
    """
    from app.doctor import State, examine

    settings = read_settings()
    set_up_logging("critical")
    table, problems = Table("", "what", "found", "to do"), 0
    for item in examine(settings):
        problems += item.state is State.PROBLEM
        if as_json:
            out.print(json.dumps(asdict(item)), markup=False, highlight=False, soft_wrap=True)
        state = f"[{COLOURS[item.state]}]{item.state}[/]"
        table.add_row(state, item.subject, escape(item.found), escape(item.advice))
    if not as_json:
        out.print(table)
    raise typer.Exit(1 if problems else 0)
