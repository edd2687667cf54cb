"""Where MJX differs from C MuJoCo or cannot do what a model says: every correction, in one place.

Listed for readers in `docs/fidelity.md`.
"""

import copy
import functools
import sys

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx
from mujoco.mjx._src import collision_driver, collision_primitive, forward
from mujoco.mjx._src.collision_primitive import Collision, GeomInfo
from mujoco.mjx._src.math import make_frame
from mujoco.mjx._src.types import GeomType

from harness.tasks import MujocoTask

MIN_LENGTH = 1e-15
"""mjMINVAL of C MuJoCo: a shorter vector has no direction."""

STAGES = ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6))
"""Of the fourth-order Runge–Kutta method: how far along the last derivative a stage is evaluated,
and its share of the sum."""

PARALLEL = 1e-7
"""Square of the sine of an angle below which two capsules have no nearest points of their own."""


def model(task: MujocoTask) -> mujoco.MjModel:
    """The task's model with what MJX can do: Newton's solver where the model asks for PGS."""
    if task.model.opt.solver != mujoco.mjtSolver.mjSOL_PGS:
        return task.model
    _say_once(f"{task.id}: MJX has no PGS solver; Newton's is used instead (docs/fidelity.md).")
    changed = copy.copy(task.model)
    changed.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    return changed


def step(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """`mjx.step`, with the four stages of Runge–Kutta as a loop.

    MJX unrolls them, and compiles four copies of the forward pass where a loop needs one.
    """
    if model.impl != mjx.Impl.JAX or model.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4:
        return mjx.step(model, data)

    def at(data: mjx.Data, acceleration: jax.Array, velocity: jax.Array) -> mjx.Data:
        """One time step from the start along a derivative; no model here has activations."""
        begin = data.replace(qpos=start.qpos, qvel=start.qvel, time=start.time)
        return forward._advance(model, begin, begin.act_dot, acceleration, velocity)

    def stage(carry: tuple, weights: jax.Array) -> tuple[tuple, None]:
        data, acceleration, velocity = carry
        along, share = weights
        data = at(data, along * data.qacc, along * data.qvel)
        data = mjx.forward(model, data.replace(qacc_warmstart=start.qacc_warmstart))
        data = same_dtypes(data, start)
        return (data, acceleration + share * data.qacc, velocity + share * data.qvel), None

    start, zeros = data, jnp.zeros_like(data.qvel)
    weights = jnp.asarray(STAGES, data.qvel.dtype)
    (data, acceleration, velocity), _ = jax.lax.scan(stage, (data, zeros, zeros), weights)
    return at(data, acceleration, velocity)


def same_dtypes(data: mjx.Data, like: mjx.Data) -> mjx.Data:
    """A loop's state in the dtypes that came in, some of which MJX widens under x64."""
    return jax.tree.map(lambda new, old: new.astype(old.dtype), data, like)


def install() -> None:
    """Put our collision functions in place of MJX's; safe to call again."""
    collision_driver._COLLISION_FUNC.update(COLLISIONS)


@collision_primitive.collider(ncon=2)
def plane_capsule(plane: GeomInfo, capsule: GeomInfo) -> Collision:
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


@collision_primitive.collider(ncon=1)
def sphere_capsule(sphere: GeomInfo, capsule: GeomInfo) -> Collision:
    """One contact between a sphere and a capsule, at the point of its axis that is nearest.

    MJX 3.17 adds 1e-6 m² to the squared length that it divides by, and so misses the nearest point
    of a short capsule by up to a tenth of a millimetre.
    """
    axis, half_length = capsule.mat[:, 2], capsule.size[1]
    along = jnp.clip(jnp.dot(axis, sphere.pos - capsule.pos), -half_length, half_length)
    return _spheres(sphere.pos, sphere.size[0], capsule.pos + axis * along, capsule.size[0])


@collision_primitive.collider(ncon=1)
def capsule_capsule(first: GeomInfo, second: GeomInfo) -> Collision:
    """One contact between two capsules, at the nearest points of their axes.

    MJX 3.17 adds 1e-6 to the denominator here, too. The points minimise a quadratic function on a
    square; alternating once between the coordinates from the clipped line solution reaches it.
    """
    axis1, axis2 = first.mat[:, 2] * first.size[1], second.mat[:, 2] * second.size[1]
    apart = second.pos - first.pos
    aa, ab, bb = jnp.dot(axis1, axis1), jnp.dot(axis1, axis2), jnp.dot(axis2, axis2)
    a, b = jnp.dot(axis1, apart), jnp.dot(axis2, apart)
    determinant = aa * bb - ab * ab
    crossing = determinant > PARALLEL * aa * bb
    x1 = jnp.where(crossing, (bb * a - ab * b) / jnp.where(crossing, determinant, 1.0), 0.0)
    x1 = jnp.clip(x1, -1, 1)
    x2 = jnp.clip((ab * x1 - b) / bb, -1, 1)
    x1 = jnp.clip((ab * x2 + a) / aa, -1, 1)
    point1, point2 = first.pos + axis1 * x1, second.pos + axis2 * x2
    return _spheres(point1, first.size[0], point2, second.size[0])


def _spheres(
    center1: jax.Array, radius1: jax.Array, center2: jax.Array, radius2: jax.Array
) -> Collision:
    """The contact of two spheres; where they have one center, along x."""
    apart = center2 - center1
    length = jnp.linalg.norm(apart)
    x_axis = jnp.array([1.0, 0.0, 0.0], apart.dtype)
    normal = jnp.where(length < MIN_LENGTH, x_axis, apart / jnp.maximum(length, MIN_LENGTH))
    distance = length - radius1 - radius2
    return distance, center1 + normal * (radius1 + 0.5 * distance), make_frame(normal)


COLLISIONS = {
    (GeomType.PLANE, GeomType.CAPSULE): plane_capsule,
    (GeomType.SPHERE, GeomType.CAPSULE): sphere_capsule,
    (GeomType.CAPSULE, GeomType.CAPSULE): capsule_capsule,
}
"""Our functions for pairs of shapes."""


@functools.cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)
