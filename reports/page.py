"""From a template and its values to one self-contained HTML file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from data_pipeline.disk import write_atomic
from reports.tables import Cell, Group

TEMPLATES = Path(__file__).parent / "templates"


def write_page(output: Path, template: str, values: Mapping[str, Any]) -> Path:
    """Render `template` with `values` into `output`, whole or not at all.

    Raises
    ------
    OSError
        Naming the file, when it cannot be written.
    """
    write_atomic(output, render(template, values).encode("utf-8"))
    return output


def render(template: str, values: Mapping[str, Any]) -> str:
    """The page as text; every value is escaped unless it is Markup of our own."""
    return environment().get_template(template).render(values)


@functools.cache
def environment() -> jinja2.Environment:
    """The templates of this package; an undefined value is an error, not a blank."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.tests["group"] = lambda row: isinstance(row, Group)
    made.filters["cell"] = lambda value: value if isinstance(value, Cell) else Cell(value)
    made.globals["style"] = Markup(made.get_template("style.css").render())
    return made
