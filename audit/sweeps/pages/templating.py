"""How values get into the page's templates: made harmless first, then escaped.

Everything from outside passes through two nets: `finalize` makes hidden characters visible in every
value that a template puts out, and autoescape turns it into text. The content security policy lets
nothing run and nothing load; the one style sheet is admitted by its digest.
"""

import base64
import hashlib
from collections.abc import Callable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from audit.sweeps.pages import advice, wording
from audit.sweeps.pages.canvas import Drawing


def content_security_policy(style: str) -> str:
    """Return the policy under which nothing loads but the page's own style sheet."""
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def environment() -> Environment:
    """Return what renders the templates of this package."""
    made = Environment(
        loader=PackageLoader("audit.sweeps.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "count": wording.count,
        "figure": wording.figure,
        "share": wording.share,
        "moment": wording.moment,
        "name": wording.name,
        "short": wording.short_digest,
        "log10": wording.log10,
        "money": wording.money,
        "outcome": advice.outcome,
        "role": advice.role,
        "change": advice.CHANGES.__getitem__,
        "brief": _brief,
        "drawn": _drawn,
    }
    made.filters.update(filters)
    return made


def _finalized(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return wording.shown(value)


def _brief(text: str) -> str:
    return wording.shown(text, longest=300)


def _drawn(drawing: Drawing) -> Markup:
    # an ElementTree wrote it: all text in it is escaped
    return Markup(drawing.inline)  # noqa: S704


@cache
def style_sheet() -> str:
    """Return the page's style sheet."""
    loader = environment().loader
    if loader is None:
        raise AssertionError("the environment is made with a loader")
    # taken as it is, never rendered: its digest stands in the policy
    return loader.get_source(environment(), "style.css.jinja")[0]
