"""Names that stand in URLs and repository ids: lower-case letters, digits and single hyphens."""

import re

from tunery.core.errors import InvalidInput

LONGEST_SLUG = 64
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


def check_slug(text: str, *, field: str) -> str:
    """The text itself. Raises InvalidInput when it can't stand in a URL."""
    if len(text) > LONGEST_SLUG or _SLUG.fullmatch(text) is None:
        raise InvalidInput(
            f"{text!r} can't be a name: use up to {LONGEST_SLUG} lower-case letters and digits, joined by hyphens",
            field=field,
        )
    return text


def slugify(text: str) -> str:
    """The nearest slug, at most 40 characters; empty when nothing of the text can stand in one."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")
