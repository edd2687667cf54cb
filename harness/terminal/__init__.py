"""What all command lines share: errors as messages, exit codes, options, a live display.

May import: everything but the commands.
"""

__all__ = ["cli", "display", "options"]
