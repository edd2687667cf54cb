"""Where MJX differs from C MuJoCo or cannot do what a model says: every correction, in one place.

Listed for readers in `docs/fidelity.md`.
"""

import copy
import functools
import sys

import jax.numpy as jnp
import mujoco
from mujoco.mjx._src import collision_driver, collision_primitive
from mujoco.mjx._src.types import GeomType

from harness.tasks import MujocoTask

MIN_LENGTH = 1e-15
"""mjMINVAL of C MuJoCo: a shorter vector has no direction."""

PLANE_CAPSULE = (GeomType.PLANE, GeomType.CAPSULE)


def model(task: MujocoTask) -> mujoco.MjModel:
    """The task's model with what MJX can do: Newton's solver where the model asks for PGS."""
    if task.model.opt.solver != mujoco.mjtSolver.mjSOL_PGS:
        return task.model
    _say_once(f"{task.id}: MJX has no PGS solver; Newton's is used instead (docs/fidelity.md).")
    changed = copy.copy(task.model)
    changed.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    return changed


def install() -> None:
    """Put our collision functions in place of MJX's; safe to call again."""
    collision_driver._COLLISION_FUNC[PLANE_CAPSULE] = plane_capsule


@collision_primitive.collider(ncon=2)
def plane_capsule(
    plane: collision_primitive.GeomInfo, capsule: collision_primitive.GeomInfo
) -> collision_primitive.Collision:
    """Two contacts between a plane and a capsule, their frames along the capsule's axis.

    MJX 3.17 turns to a world axis where the capsule is within 30° of upright; C MuJoCo
    (`mjc_PlaneCapsule`, `mju_makeFrame`) does so only where there is no direction at all. With
    pyramidal friction the tangents matter: the forces differ.
    """
    normal, axis = plane.mat[:, 2], capsule.mat[:, 2]
    tangent = axis - normal * jnp.dot(normal, axis)
    length = jnp.linalg.norm(tangent)
    x_axis = jnp.array([1.0, 0.0, 0.0], tangent.dtype)
    tangent = jnp.where(length < MIN_LENGTH, x_axis, tangent / jnp.maximum(length, MIN_LENGTH))
    frame = jnp.stack([normal, tangent, jnp.cross(normal, tangent)])

    radius, half_length = capsule.size[0], capsule.size[1]
    ends = capsule.pos + jnp.stack([axis, -axis]) * half_length
    distance = (ends - plane.pos) @ normal - radius
    position = ends - normal * (radius + 0.5 * distance)[:, None]
    return distance, position, jnp.stack([frame, frame])


@functools.cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)
