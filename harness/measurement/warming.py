"""The process that has Warp compile a task's kernels: `python -m harness.measurement.warming TASK`.

It steps the task's environments as a training does, so that the same kernels run. They are the same
for any number of environments.
"""

import sys

NUM_ENVS = 32
STEPS = 2
"""All kernels of a step run in the first one."""


def main() -> None:
    """Reset and step, on the devices that JAX has."""
    import jax  # noqa: PLC0415  (where nothing else of the harness imports it)

    from harness import tasks  # noqa: PLC0415
    from harness.engines import backends  # noqa: PLC0415
    from harness.envs import DeviceEnv  # noqa: PLC0415

    engine = backends.make_device_engine(tasks.get(sys.argv[1]), NUM_ENVS, backends.WARP)
    env = DeviceEnv(engine, gate=lambda: None)

    @jax.jit
    def play(key: jax.Array) -> jax.Array:
        """The observations after some steps in which nothing acts."""
        actions = jax.numpy.zeros((STEPS, NUM_ENVS, *env.action_space.shape))
        return jax.lax.scan(lambda s, a: (env.step(s, a), None), env.reset(key), actions)[0].obs

    jax.block_until_ready(play(jax.random.key(0)))


if __name__ == "__main__":
    main()
