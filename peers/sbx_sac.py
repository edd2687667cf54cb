"""SBX's SAC with the RL Zoo's settings: what a user picks who has few steps.

What it took from where: the algorithm is the library's (SAC: Haarnoja et al. 2018, arXiv
1812.05905; SBX is Stable-Baselines3 in JAX), the settings are those of DLR-RM/rl-baselines3-zoo,
`hyperparams/sac.yml`; its MuJoCo tasks are of version 3. Different: it ends with the time instead
of after a number of steps, which none of these settings depends on. Tasks that are not in
`SETTINGS` get those of the Zoo's MuJoCo tasks. `use_sde` and `log_std_init`, which the Zoo has for
BipedalWalker, were tuned with Stable-Baselines3; in SBX the first repeats one draw of noise between
updates, the second does nothing. Its programs are compiled when they are first used, within the
budget: seconds.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import numpy as np
from sbx import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from harness.trial import Trial, connect

ENDLESS = 10**12  # steps: more than any budget
PUBLISH_SECONDS = 2.0  # between policies; it updates hundreds of times a second

MUJOCO: dict[str, Any] = {"learning_starts": 10_000}  # the library's settings otherwise

SETTINGS: dict[str, dict[str, Any]] = {
    "BipedalWalker-v3": {
        "learning_rate": 7.3e-4, "buffer_size": 300_000, "batch_size": 256, "gamma": 0.98,
        "tau": 0.02, "train_freq": 64, "gradient_steps": 64, "learning_starts": 10_000,
        "use_sde": True, "policy_kwargs": {"log_std_init": -3.0, "net_arch": [400, 300]},
    },
    "Swimmer-v5": {**MUJOCO, "gamma": 0.9999},
}  # fmt: skip


def build(task: str, seed: int) -> SAC:
    """The library's model with its environment."""
    env = make_vec_env(task, 1, seed=seed)
    return SAC("MlpPolicy", env, seed=seed, **SETTINGS.get(task, MUJOCO))


def policy(model: SAC) -> Callable[[Any, jax.Array], jax.Array]:
    """`act(params, obs)` that computes what `model.predict(…, deterministic=True)` does."""
    low, high = model.action_space.low, model.action_space.high

    def one(params: Any, obs: jax.Array) -> jax.Array:
        return model.policy.actor_state.apply_fn(params, obs[None]).mode()[0]

    def act(params: Any, obs: jax.Array) -> jax.Array:
        # One by one: the library's distribution wants to know the size of its batch.
        action = jax.vmap(one, in_axes=(None, 0))(params, obs)
        return low + 0.5 * (action + 1.0) * (high - low)

    return act


def weights(model: SAC) -> Any:
    """The parameters of `policy`."""
    return model.policy.actor_state.params


class Reporter(BaseCallback):
    """Logs and publishes every few seconds, and ends the training with the budget."""

    def __init__(self, trial: Trial, act: Callable[[Any, jax.Array], jax.Array]) -> None:
        super().__init__()
        self.trial, self.act = trial, act
        self.due = trial.time_left()

    def _on_step(self) -> bool:
        left = self.trial.time_left()
        if left <= self.due:
            self.due = left - PUBLISH_SECONDS
            self.report()
        return left > 0

    def report(self) -> None:
        """Where it stands, and the policy."""
        ended = self.model.ep_info_buffer  # of the last hundred episodes
        self.trial.log(
            self.num_timesteps,
            **{
                "charts/episodic_return": np.mean([e["r"] for e in ended]) if ended else np.nan,
                "charts/episodic_length": np.mean([e["l"] for e in ended]) if ended else np.nan,
            },
        )
        self.trial.publish(self.act, weights(self.model))


def main(trial: Trial) -> None:
    """Train until the budget is used up."""
    if not isinstance(trial.task.action_space, gymnasium.spaces.Box):
        raise SystemExit(f"{trial.task.id} has discrete actions; this file is for a Box of them.")
    model = build(trial.task.id, trial.seed)
    act = policy(model)
    trial.publish(act, weights(model))  # exports it before the clock runs
    trial.start()
    model.learn(ENDLESS, callback=Reporter(trial, act))


if __name__ == "__main__":
    main(connect())
