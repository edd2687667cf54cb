"""What was found, for a reader: figures, charts, the page, pictures and videos.

May import: `judgement`, and what is below; nothing of a night.
"""

__all__ = [
    "aftermath",
    "charts",
    "curves",
    "episodes",
    "film",
    "findings",
    "hours",
    "meaning",
    "opengl",
    "page",
    "panels",
    "reader",
    "script",
    "singles",
    "standing",
    "video",
]
