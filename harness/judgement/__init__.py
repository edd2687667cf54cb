"""Keep or discard: what the record says of a branch, the rule, and the runs that it asks for.

May import: `measurement`, `record`, and what is below.
"""

__all__ = [
    "ablation",
    "audit",
    "batches",
    "chance",
    "confirmation",
    "contest",
    "estimate",
    "experiment",
    "history",
    "layout",
    "noise",
    "objective",
    "pace",
    "power",
    "progress",
    "prospects",
    "purpose",
    "replicates",
    "rulings",
    "search",
    "simulation",
    "stopping",
    "summaries",
]
