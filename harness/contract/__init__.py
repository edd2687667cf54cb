"""What crosses the wall between a training and its parent: messages, and a policy as bytes.

All of it is checked by whoever receives it, for the other side may be hostile.

May import: `errors`, `places`.
"""

__all__ = ["artifact", "messages", "order", "policy", "program", "reports", "schema", "wire"]
