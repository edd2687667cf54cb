"""The shipped file and what a user would pick instead, through the same door.

    python scripts/bench_peers.py --runs 3
    python scripts/bench_peers.py --only "plain PPO" --cores 1 --runs 3 --tasks Hopper-v5,Ant-v5

`matrix.py` runs them. Prints all scores, and each file's difference from the shipped one.
"""

from matrix import ROOT, SHIPPED, main

FILES = {
    SHIPPED: "agent_space/train.py",
    "plain PPO": "peers/plain_ppo.py",
}


def source(name: str) -> str:
    """The text of a training file."""
    return (ROOT / FILES[name]).read_text()


if __name__ == "__main__":
    main(__doc__, list(FILES), source)
