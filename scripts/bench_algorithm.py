"""What each ingredient of the shipped PPO is worth, and what was tried beside them.

    python scripts/bench_algorithm.py --cores 1 --budget 180 --tasks Hopper-v5,Ant-v5
    python scripts/bench_algorithm.py --only shipped --runs 3

Every variant is the shipped file with a few lines replaced, as it was when they were measured: its
copy lies with their evidence, and `agent_space/train.py` may go on. `matrix.py` runs them, with the
seeds 1, 2, 3, … Prints all scores, and each variant's difference from the shipped file.
"""

from matrix import ROOT, SHIPPED, main

FILE = ROOT / "docs" / "evidence" / "issue8" / "train.py"

Replacements = tuple[tuple[str, str], ...]


def _constant(name: str, old: str, new: str) -> tuple[str, str]:
    return f"\n{name} = {old} ", f"\n{name} = {new} "


# Values are read in the statistics of before the update throughout, though from its second epoch on
# they are learned in the new ones: the two differ in the first updates only.
RECOMPUTED: Replacements = (
    ("        rows = jax.random.permutation(key, len(batch.obs))",
     "        fresh = batch(state.params)\n"
     "        rows = jax.random.permutation(key, len(fresh.obs))"),
    ("minibatch(state: TrainState, rows: jax.Array)", "minibatch(state, rows, fresh)"),
    ("lambda x: x[rows], batch)", "lambda x: x[rows], fresh)"),
    ("jax.lax.scan(minibatch, state, rows)",
     "jax.lax.scan(partial(minibatch, fresh=fresh), state, rows)"),
    ("def value_of(obs: jax.Array)", "def value_of(obs, params=state.params)"),
    ("net.apply(state.params, normalise(", "net.apply(params, normalise("),
    ("""
    batch = Batch(obs, action, log_prob, advantage, normalise(value_stats, target))
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
""", """
    def batch(params):
        value = value_of(raw_obs, params)
        advantage = gae(value, value_of(outcome.next_obs, params), outcome)
        target = normalise(value_stats, advantage + value)
        made = Batch(obs, action, log_prob, advantage, target)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), made)
"""),
)  # fmt: skip

VARIANTS: dict[str, Replacements] = {
    SHIPPED: (),
    "KL target not annealed": (("TARGET_KL * state.left", "TARGET_KL"),),
    "KL target annealed quadratically": (("TARGET_KL * state.left", "TARGET_KL * state.left**2"),),
    "KL target annealed in the second half": (
        ("TARGET_KL * state.left", "TARGET_KL * jnp.minimum(1.0, 2 * state.left)"),
    ),
    "no KL rule": (("jnp.maximum(state.learning_rate, least)", "LEARNING_RATE * state.left"),),
    "values at the policy's rate": (
        ("jnp.maximum(state.learning_rate, least)", "state.learning_rate"),
    ),
    "values at 5e-4 at least": (_constant("MIN_VALUE_LEARNING_RATE", "1e-3", "5e-4"),),
    "no entropy bonus": ((" - entropy_coef * entropy", ""),),
    "entropy bonus from 0.02": (_constant("ENTROPY_COEF", "0.01", "0.02"),),
    "entropy bonus from 0.03": (_constant("ENTROPY_COEF", "0.01", "0.03"),),
    "entropy bonus of 0.001 throughout": (
        _constant("ENTROPY_COEF", "0.01", "0.001"),
        _constant("FINAL_ENTROPY_COEF", "0.0001", "0.001"),
    ),
    "no bootstrap at the time limit": (
        ("jnp.where(outcome.terminated, 0.0, next_value)",
         "jnp.where(outcome.terminated | outcome.truncated, 0.0, next_value)"),
    ),
    "values not normalised": (
        ("value_stats = add_samples(state.value_stats, target.ravel())",
         "value_stats = state.value_stats"),
        ("normalise(value_stats, target))\n", "target)\n"),  # which clips them, too
    ),
    "advantages anew every epoch": RECOMPUTED,
    "swish": (("nn.tanh]", "nn.swish]"),),
    "128 units": (_constant("HIDDEN", "(64, 64)", "(128, 128)"),),
    "ELU 256-128-64": (
        _constant("HIDDEN", "(64, 64)", "(256, 128, 64)"), ("nn.tanh]", "nn.elu]")
    ),
    "64 environments": (("trial.num_envs_hint)", "trial.num_envs_hint // 2)"),),
    "256 environments": (("trial.num_envs_hint)", "trial.num_envs_hint * 2)"),),
    "half the minibatches": (_constant("NUM_MINIBATCHES", "8", "4"),),
    "8 epochs": (_constant("NUM_EPOCHS", "5", "8"),),
    "lambda 0.9": (_constant("GAE_LAMBDA", "0.95", "0.9"),),
    "horizon of 100 steps": (_constant("HORIZON", "150.0", "100.0"),),
    "advantages not clipped": (_constant("MAX_ADVANTAGE", "3.0", "100.0"),),
    "log std from 0": (_constant("INITIAL_LOG_STD", "-0.5", "0.0"),),
    "means without bounds": (("Gaussian(nn.tanh(out), ", "Gaussian(out, "),),
    "noise at most 1": ((", self.log_std)\n", ", jnp.minimum(self.log_std, 0.0))\n"),),
    "noise of at least 0.1": (
        (", self.log_std)\n", ", jnp.logaddexp(self.log_std, jnp.log(0.1)))\n"),
    ),
}  # fmt: skip


def source(name: str) -> str:
    """The text of a variant, or of several joined by " + ".

    Raises:
      ValueError: the file has not what a variant replaces, or has it twice.
    """
    text = FILE.read_text()
    for part in name.split(" + "):
        for old, new in VARIANTS[part]:
            if text.count(old) != 1:
                raise ValueError(f"{part}: {old!r} is in {FILE.name} {text.count(old)} times.")
            text = text.replace(old, new)
    return text


if __name__ == "__main__":
    main(__doc__, list(VARIANTS), source)
