"""Who steps the tasks; `backends` says which engine steps which.

An engine knows no task by name.

May import: `tasks`, `contract`, `checkout`, `system`.
"""

__all__ = ["backends", "compiled", "device", "engine", "processors", "warp_cache"]
