"""One edit after the other: agents, what they are told, and what they may not touch.

May import: `judgement`, and what is below.
"""

__all__ = ["agents", "brief", "constants", "leash", "memory", "tuners", "turns"]
