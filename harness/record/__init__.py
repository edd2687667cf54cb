"""What is kept of all runs: the ledger with its chain of hashes, and each run's folder.

May import: `checkout`, `contract`, `evaluate`, and what is below.
"""

__all__ = ["entries", "head", "ledger", "life", "runs", "snapshot"]
