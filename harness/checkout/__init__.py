"""The checkout that is worked in: its git, what was changed in it, and who is at work.

It knows nothing of runs or scores.

May import: `system`, and what that may.
"""

__all__ = ["beginning", "branch", "git", "holder", "integrity", "sources", "syntax"]
