"""What a score means: beside random actions, what is published, and the shipped file's own."""

from harness.judgement import objective
from harness.tasks import anchors


def lines(task_id: str, budget: float, score: float, shipped: bool = True) -> list[str]:
    """A score in words, a line a thing; nothing is said where nothing is known.

    Args:
      task_id: of the task.
      budget: seconds of training that it was reached in.
      score: the average return.
      shipped: whether the training file is the checkout's own, and not another one.
    """
    random, best = anchors.RANDOM.get(task_id), anchors.AUTORL.get(task_id)
    solved, usual = anchors.solved(task_id), anchors.usual(task_id, budget) if shipped else None
    said = []
    if random is not None:
        said.append(f"random actions reach {random:,.0f}")
    if best is not None:
        said.append(f"autoRL's best, as published, is {best:,.0f} (twelve minutes)")
    if solved is not None:
        said.append(f"Gymnasium counts {solved:,.0f} as solved")
    if random is not None and objective.unit_return(task_id) is not None:
        goal = "autoRL's best" if best is not None else "what counts as solved"
        share = objective.normalized(task_id, score)
        way = f"{share:.0%} of the way from random actions to {goal}"
        said.append(f"{score:,.0f} is {way if share >= 0 else 'below random actions'}")
    if usual is not None:
        seconds, scores = usual
        other = f", not {budget:g}" if seconds != budget else ""
        said.append(
            f"the shipped file, in {seconds:g} s{other}, on {anchors.SHIPPED_ON}: "
            f"{', '.join(f'{one:,.0f}' for one in scores)}"
        )
    said.append("one run is one draw: the same file, run again, may end tens of percent away")
    return said
