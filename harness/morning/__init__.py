"""What was found, for a reader: figures, charts, the page, pictures and videos.

May import: `judgement`, and what is below; nothing of a night.
"""

__all__ = [
    "charts",
    "curves",
    "film",
    "findings",
    "opengl",
    "page",
    "panels",
    "script",
    "standing",
    "video",
]
