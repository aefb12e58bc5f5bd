"""The pages: rendered here, complete without a script, and kept current by asking for their changing part again."""

from greenlight.board.pages.blueprint import blueprint
from greenlight.board.pages.errors import error_page, is_for_people

__all__ = ["blueprint", "error_page", "is_for_people"]
