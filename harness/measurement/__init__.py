"""A training and its evaluation: what gives one policy and one score, here or on a cluster.

It decides nothing, and writes nothing but what a run leaves.

May import: `confinement`, `contract`, `engines`, `evaluate`, and what is below.
"""

__all__ = [
    "cluster",
    "exchange",
    "instrument",
    "rehearsal",
    "scoring",
    "sites",
    "startup",
    "tracking",
    "training",
]
