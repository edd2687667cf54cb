"""Brax's PPO on MJX, with the settings of Brax's own notebook.

    python -m harness.run --train peers/brax_ppo.py --backend mjx

What it took from where: the algorithm is the library's (Freeman et al. 2021, arXiv 2106.13281), the
settings are those of google/brax, `notebooks/training.ipynb`, of Ant, HalfCheetah and Humanoid;
other tasks get HalfCheetah's, also the pendulums, Reacher and Pusher, which have some of their own
there, and Hopper and Walker2d, which the notebook gives to SAC. Different: it ends with the time;
the environment restarts itself with fresh first states, which Brax's own wrappers do not; it uses
one device; where there are fewer environments than in the notebook, as on a CPU, batches are
smaller by the same factor. Brax compiles when it trains, so that here the compilation counts in
the budget.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from brax.envs import Env, State
from brax.training.agents.ppo import train as brax_ppo

from harness.trial import Trial, connect

ENDLESS = 10**6  # updates: more than any budget


@dataclass(frozen=True)
class Settings:
    """Of a task; by default those of HalfCheetah."""

    num_envs: int = 2048
    batch_size: int = 512  # unrolls
    num_minibatches: int = 32
    num_updates_per_batch: int = 8
    unroll_length: int = 20
    discounting: float = 0.95
    entropy_cost: float = 1e-3
    reward_scaling: float = 1.0


SETTINGS = {
    "Ant-v5": Settings(
        num_envs=4096, batch_size=2048, num_updates_per_batch=4, unroll_length=5,
        discounting=0.97, entropy_cost=1e-2, reward_scaling=10.0,
    ),
    "Humanoid-v5": Settings(
        batch_size=1024, unroll_length=10, discounting=0.97, reward_scaling=0.1
    ),
}  # fmt: skip


class Ended(Exception):  # noqa: N818
    """The budget is used up."""


def scaled(action: jax.Array, space: Any) -> jax.Array:
    """Brax's actions, in [-1, 1], as the action space has them."""
    return space.low + 0.5 * (action + 1.0) * (space.high - space.low)


class Batched(Env):
    """The trial's vector environment under Brax's interface, in which the batch is Brax's own."""

    backend = "mjx"

    def __init__(self, env: Any) -> None:
        self.env = env

    def reset(self, rng: jax.Array) -> State:
        """Fresh first states, from the first of the keys [N]."""
        return self._state(self.env.reset(rng[0]))

    def step(self, state: State, action: jax.Array) -> State:
        """Apply actions [N, action] in [-1, 1]; episodes that end begin anew."""
        return self._state(
            self.env.step(state.pipeline_state, scaled(action, self.env.action_space))
        )

    def _state(self, after: Any) -> State:
        ended = (after.terminated | after.truncated).astype(jnp.float32)
        cut = (after.truncated & ~after.terminated).astype(jnp.float32)
        length = after.episode_length.astype(jnp.float32)
        info = {
            "truncation": cut,
            "episode_done": ended,
            "episode_metrics": {"return": after.episode_return, "length": length},
        }
        return State(after, after.obs, after.reward, ended, {}, info)

    @property
    def observation_size(self) -> int:
        """Numbers in an observation."""
        return self.env.observation_space.shape[0]

    @property
    def action_size(self) -> int:
        """Numbers in an action."""
        return self.env.action_space.shape[0]


class Nothing(Batched):
    """In place of Brax's evaluation environment: it is not evaluated, but reset once."""

    def reset(self, rng: jax.Array) -> State:
        """A state of nothing."""
        none = jnp.zeros(rng.shape[0])
        return State(None, none, none, none, {}, {})


class Reporter:
    """Logs and publishes after every update, and ends the training with the budget."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.act: Callable[[Any, jax.Array], jax.Array] | None = None
        self.episodes: dict[str, float] = {}

    def policy(self, step: int, make_policy: Callable[..., Any], params: Any) -> None:
        """Publish; what Brax calls `policy_params_fn`."""
        del step
        if self.act is None:
            space = self.trial.task.action_space

            def act(params: Any, obs: jax.Array) -> jax.Array:
                action, _ = make_policy(params, deterministic=True)(obs, None)
                return scaled(action, space)

            self.act = act
        statistics, policy, _ = params
        self.trial.publish(self.act, (statistics, policy))

    def progress(self, step: int, metrics: dict[str, float]) -> None:
        """Log; Brax calls it with the last episodes first, and then with the update's losses."""
        if "episode/sps" in metrics:
            self.episodes = metrics
            return
        self.trial.log(
            step,
            **{
                "charts/episodic_return": self.episodes.get("episode/return", np.nan),
                "charts/episodic_length": self.episodes.get("episode/length", np.nan),
                "losses/policy_loss": metrics["training/policy_loss"],
                "losses/value_loss": metrics["training/v_loss"],
            },
        )
        if self.trial.time_left() <= 0:
            raise Ended


def replicated(tree: Any, devices: Sequence[Any]) -> Any:
    """`jax.device_put_replicated`, which Brax 0.14 calls and JAX 0.10 has not any more."""
    return jax.tree.map(lambda x: jnp.stack([x] * len(devices)), tree)


def main(trial: Trial) -> None:
    """Train until the budget is used up."""
    if not isinstance(trial.task.action_space, gymnasium.spaces.Box):
        raise SystemExit(f"{trial.task.id} has discrete actions; this file is for a Box of them.")
    jax.device_put_replicated = replicated
    settings = SETTINGS.get(trial.task.id, Settings())
    env = Batched(trial.make_env(min(settings.num_envs, trial.num_envs_hint)))
    num_envs = env.env.num_envs
    batch_size = max(1, settings.batch_size * num_envs // settings.num_envs)
    steps = batch_size * settings.num_minibatches * settings.unroll_length  # of an update
    reporter = Reporter(trial)
    trial.start()
    with contextlib.suppress(Ended):
        brax_ppo.train(
            environment=env, eval_env=Nothing(env.env), wrap_env=False, run_evals=False,
            max_devices_per_host=1, seed=trial.seed, episode_length=1,
            num_timesteps=ENDLESS * steps, num_evals=ENDLESS + 1,
            num_envs=num_envs, batch_size=batch_size, num_minibatches=settings.num_minibatches,
            num_updates_per_batch=settings.num_updates_per_batch,
            unroll_length=settings.unroll_length, discounting=settings.discounting,
            entropy_cost=settings.entropy_cost, reward_scaling=settings.reward_scaling,
            learning_rate=3e-4, normalize_observations=True,
            log_training_metrics=True, training_metrics_steps=steps,
            policy_params_fn=reporter.policy, progress_fn=reporter.progress,
        )  # fmt: skip


if __name__ == "__main__":
    main(connect())
