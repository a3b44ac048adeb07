"""Pages: one HTML file that needs nothing else, for light and dark screens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from carlib.style import text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARED = ("frame.html", "macros.html", "page.css")  # of all pages


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A figure as PNG for light and dark screens, and its sides in px on the page; 0: its own."""

    light: bytes
    dark: bytes
    width: int = 0
    height: int = 0

    @property
    def light_url(self) -> str:
        """The light one as the address of itself."""
        return text.url(self.light, "png")

    @property
    def dark_url(self) -> str:
        """The dark one as the address of itself."""
        return text.url(self.dark, "png")


def drawing(draw: Callable[..., Figure], *what: Any) -> Drawing:
    """Draw a figure for light screens and for dark ones.

    Args:
        draw: Takes ``what`` and a Theme.
        what: Of the figure.
    """
    from carlib.style.drawing import DARK, LIGHT, png

    light, dark = draw(*what, LIGHT), draw(*what, DARK)
    width, height = (round(inches * 100) for inches in light.get_size_inches())
    return Drawing(png(light), png(dark), width, height)


def render(package: str, **said: Any) -> bytes:
    """Return the page that ``page.html`` of a package makes of what is said, as UTF-8.

    Args:
        package: Whose; its page extends ``frame.html``.
        said: The template's variables; texts of theirs are escaped.
    """
    import jinja2

    def read(name: str) -> str:
        room = "carlib.style" if name in SHARED else package
        return files(room).joinpath(name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=jinja2.FunctionLoader(read)
    )
    environment.filters.update(
        percent=text.percent,
        number=text.number,
        clock=text.clock,
        count=text.count,
        moment=text.moment,
    )
    css = environment.filters["safe"](read("page.css"))
    page = environment.get_template("page.html").render(**said, css=css)
    # A lone surrogate, from an odd file name, has no UTF-8 form.
    return page.encode("utf-8", "replace")
