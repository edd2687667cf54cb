"""How a process of somebody else is confined, what it may use, and what it sees.

It knows nothing of the record, nor of what runs in it.

May import: `checkout`, `system`.
"""

__all__ = ["launcher", "sandbox", "view"]
