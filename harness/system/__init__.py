"""The operating system beneath us: processes, programs, disks, streams, and the machine.

May import: `errors`, `places`.
"""

__all__ = [
    "keeper",
    "machine",
    "origin",
    "processes",
    "programs",
    "pulse",
    "storage",
    "streams",
    "words",
]
