"""The shipped file and what a user would pick instead, through the same door.

    python scripts/bench_peers.py --runs 2
    python scripts/bench_peers.py --only "SB3 PPO" --runs 2 --tasks Hopper-v5

`matrix.py` runs them. Prints all scores, and each file's difference from the shipped one;
`tabulate_runs.py` compares their curves. Brax's PPO wants MJX and is none of them: see its file.
"""

from matrix import ROOT, SHIPPED, main

FILES = {
    SHIPPED: "agent_space/train.py",
    "plain PPO": "algorithms/plain_ppo.py",
    "SB3 PPO": "peers/sb3_ppo.py",
    "SBX SAC": "peers/sbx_sac.py",
}


def source(name: str) -> str:
    """The text of a training file."""
    return (ROOT / FILES[name]).read_text()


if __name__ == "__main__":
    main(__doc__, list(FILES), source)
