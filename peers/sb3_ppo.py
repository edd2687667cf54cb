"""Stable-Baselines3's PPO with the settings that the RL Zoo tuned for each task.

What it took from where: the algorithm is the library's (Raffin et al. 2021, JMLR 22(268)), the
settings are those of DLR-RM/rl-baselines3-zoo, `hyperparams/ppo.yml`; its MuJoCo tasks are of
version 3. As there, environments are Gymnasium's own, stepped in turn in one process, observations
and rewards are normalized. Different: it ends with the time instead of after a number of steps,
which none of these settings depends on. Tasks that are not in `SETTINGS` get the library's, also
where the Zoo has some: BipedalWalkerHardcore's fall with the steps, Pendulum's are not normalized.
The policy is carried over by its weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from harness.trial import Trial, connect

ENDLESS = 10**12  # steps: more than any budget

NETWORK: dict[str, Any] = {
    "log_std_init": -2.0,
    "ortho_init": False,
    "activation_fn": torch.nn.ReLU,
    "net_arch": {"pi": [256, 256], "vf": [256, 256]},
}  # of the tasks on which the Zoo tuned it; the library's is tanh, 64 and 64


@dataclass(frozen=True)
class Settings:
    """Of a task; by default the library's, with which the Zoo runs Ant."""

    num_envs: int = 1
    ppo: dict[str, Any] = field(default_factory=dict)  # what PPO is constructed with


SETTINGS = {
    "BipedalWalker-v3": Settings(
        num_envs=32,
        ppo={
            "n_steps": 2048, "batch_size": 64, "n_epochs": 10, "gamma": 0.999, "gae_lambda": 0.95,
            "learning_rate": 3e-4, "clip_range": 0.18, "ent_coef": 0.0,
        },
    ),
    "HalfCheetah-v5": Settings(
        ppo={
            "n_steps": 512, "batch_size": 64, "n_epochs": 20, "gamma": 0.98, "gae_lambda": 0.92,
            "learning_rate": 2.0633e-05, "clip_range": 0.1, "ent_coef": 0.000401762,
            "max_grad_norm": 0.8, "vf_coef": 0.58096, "policy_kwargs": NETWORK,
        },
    ),
    "Hopper-v5": Settings(
        ppo={
            "n_steps": 512, "batch_size": 32, "n_epochs": 5, "gamma": 0.999, "gae_lambda": 0.99,
            "learning_rate": 9.80828e-05, "clip_range": 0.2, "ent_coef": 0.00229519,
            "max_grad_norm": 0.7, "vf_coef": 0.835671, "policy_kwargs": NETWORK,
        },
    ),
    "Walker2d-v5": Settings(
        ppo={
            "n_steps": 512, "batch_size": 32, "n_epochs": 20, "gamma": 0.99, "gae_lambda": 0.95,
            "learning_rate": 5.05041e-05, "clip_range": 0.1, "ent_coef": 0.000585045,
            "max_grad_norm": 1.0, "vf_coef": 0.871923,
        },
    ),
    "Humanoid-v5": Settings(
        ppo={
            "n_steps": 512, "batch_size": 256, "n_epochs": 5, "gamma": 0.95, "gae_lambda": 0.9,
            "learning_rate": 3.56987e-05, "clip_range": 0.3, "ent_coef": 0.00238306,
            "max_grad_norm": 2.0, "vf_coef": 0.431892, "policy_kwargs": NETWORK,
        },
    ),
    "HumanoidStandup-v5": Settings(
        ppo={
            "n_steps": 512, "batch_size": 32, "n_epochs": 20, "gamma": 0.99, "gae_lambda": 0.9,
            "learning_rate": 2.55673e-05, "clip_range": 0.3, "ent_coef": 3.62109e-06,
            "max_grad_norm": 0.7, "vf_coef": 0.430793, "policy_kwargs": NETWORK,
        },
    ),
    "InvertedDoublePendulum-v5": Settings(
        ppo={
            "n_steps": 128, "batch_size": 512, "n_epochs": 10, "gamma": 0.98, "gae_lambda": 0.8,
            "learning_rate": 1.55454e-4, "clip_range": 0.4, "ent_coef": 1.05057e-06,
            "max_grad_norm": 0.5, "vf_coef": 0.695929,
        },
    ),
    "InvertedPendulum-v5": Settings(
        ppo={
            "n_steps": 32, "batch_size": 64, "n_epochs": 5, "gamma": 0.999, "gae_lambda": 0.9,
            "learning_rate": 2.22425e-4, "clip_range": 0.4, "ent_coef": 1.37976e-07,
            "max_grad_norm": 0.3, "vf_coef": 0.19816,
        },
    ),
    "Reacher-v5": Settings(
        ppo={
            "n_steps": 512, "batch_size": 32, "n_epochs": 5, "gamma": 0.9, "gae_lambda": 1.0,
            "learning_rate": 1.04019e-4, "clip_range": 0.3, "ent_coef": 7.52585e-08,
            "max_grad_norm": 0.9, "vf_coef": 0.950368,
        },
    ),
    "Swimmer-v5": Settings(ppo={"gamma": 0.9999}),
}  # fmt: skip


def build(task: str, seed: int) -> PPO:
    """The library's model with its normalized environments."""
    settings = SETTINGS.get(task, Settings())
    gamma = settings.ppo.get("gamma", 0.99)
    envs = VecNormalize(make_vec_env(task, settings.num_envs, seed=seed), gamma=gamma)
    return PPO("MlpPolicy", envs, seed=seed, device="cpu", **settings.ppo)


def policy(model: PPO) -> Callable[[Any, jax.Array], jax.Array]:
    """`act(params, obs)` that computes what `model.predict(…, deterministic=True)` does."""
    activation = {torch.nn.ReLU: jax.nn.relu, torch.nn.Tanh: jnp.tanh}[model.policy.activation_fn]
    normalized: Any = model.get_vec_normalize_env()

    def act(params: Any, obs: jax.Array) -> jax.Array:
        (mean, var), (*hidden, (weight, bias)) = params
        x = (obs - mean) / jnp.sqrt(var + normalized.epsilon)
        x = jnp.clip(x, -normalized.clip_obs, normalized.clip_obs)
        for hidden_weight, hidden_bias in hidden:
            x = activation(x @ hidden_weight + hidden_bias)
        return x @ weight + bias

    return act


def weights(model: PPO) -> Any:
    """The parameters of `policy`: the statistics of observations, then layer after layer."""
    tower = model.policy.mlp_extractor.policy_net
    linear = [layer for layer in tower if isinstance(layer, torch.nn.Linear)]
    layers = [
        (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy())
        for layer in (*linear, model.policy.action_net)
    ]
    seen = model.get_vec_normalize_env().obs_rms
    return (np.float32(seen.mean), np.float32(seen.var)), layers


class Reporter(BaseCallback):
    """Logs and publishes after every update, and ends the training with the budget."""

    def __init__(self, trial: Trial, act: Callable[[Any, jax.Array], jax.Array]) -> None:
        super().__init__()
        self.trial, self.act = trial, act

    def _on_rollout_start(self) -> None:
        if not self.num_timesteps:
            return
        ended = self.model.ep_info_buffer  # of the last hundred episodes
        self.trial.log(
            self.num_timesteps,
            **{
                "charts/episodic_return": np.mean([e["r"] for e in ended]) if ended else np.nan,
                "charts/episodic_length": np.mean([e["l"] for e in ended]) if ended else np.nan,
            },
        )
        self.trial.publish(self.act, weights(self.model))

    def _on_step(self) -> bool:
        return self.trial.time_left() > 0


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
