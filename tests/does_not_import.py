"""A module of a user that fails while it is imported."""

raise ZeroDivisionError("an ordinary bug")
