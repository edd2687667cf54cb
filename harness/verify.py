"""`python -m harness.verify`: whether the record is what was written, and scores come out again."""

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.confinement import sandbox
from harness.errors import InputError, LedgerError
from harness.evaluate import REFERENCE
from harness.judgement import audit
from harness.measurement import instrument, scoring
from harness.places import LEDGER, RUNS, SUMMARY, run_folder
from harness.record.entries import ConfirmationBegun, Run, Status
from harness.record.ledger import Ledger
from harness.record.runs import Record
from harness.system import machine, words
from harness.terminal import cli


def verify(
    run_ids: Annotated[
        list[str] | None, typer.Argument(help="Runs to score again from their policies.")
    ] = None,
    rescore: Annotated[bool, typer.Option("--rescore", help="Score every run again.")] = False,
) -> None:
    """Check the ledger's chain and head, its proofs, and every run's files against its row.

    Runs that are named are scored again: the returns are equal to the last bit on the same machine.
    """
    root = Path.cwd()
    ledger = Ledger(root / LEDGER)
    ledger.check()
    entries = ledger.read().entries
    rows = ledger.rows()
    runs = [row for row in rows if isinstance(row, Run)]
    scored = {row.run_id: row for row in runs if row.scored}
    stopped = {row.run_id: row for row in runs if row.status == Status.STOPPED}
    unknown = set(run_ids or ()) - set(scored)
    if unknown:
        raise InputError(f"{LEDGER} has no scored run {', '.join(sorted(unknown))}.")
    there = {run_id for run_id in scored if run_folder(root, run_id).is_dir()}
    measured = {**scored, **stopped}
    faults = [
        f"{run_id}: {fault}"
        for run_id in sorted(measured)
        if run_folder(root, run_id).is_dir()
        for fault in _faults(root, run_id, measured[run_id])
    ]
    faults += [
        f"{run_id}: has a score, and {LEDGER} has no row of it: rows were removed, or a kill came "
        "before its row (delete its folder then)"
        for run_id in _without_row(root, {row.run_id for row in rows})
    ]
    faults += audit.faults(entries, instrument.fingerprint())
    whole = (
        "chain and head whole"
        if any(head.read() for head in ledger.heads())
        else "chain whole, its end not known here"
    )
    ended = f", {len(stopped)} that were stopped" if stopped else ""
    proofs = sum(isinstance(row, ConfirmationBegun) for row in rows)
    ended += f", {words.counted(proofs, 'confirmation')}" if proofs else ""
    print(f"{len(entries)} rows, {whole}; {len(scored)} scored runs, "
          f"{len(scored) - len(there)} of them without their folder{ended}.")  # fmt: skip
    broken = {fault.split(":")[0] for fault in faults}
    for run_id in sorted(there - broken) if rescore else run_ids or ():
        same = _scores_again(Record.load(root, run_id), root)
        print(f"{run_id}: scored again, {'equal to the last bit' if same else 'DIFFERENT returns'}")
        if not same:
            where = _elsewhere(Record.load(root, run_id).details)
            faults.append(f"{run_id}: the policy does not give the recorded returns{where}")
    if faults:
        raise LedgerError("The record does not agree with itself:\n" + "\n".join(faults))


def _without_row(root: Path, known: set[str]) -> list[str]:
    """Folders of scored runs that the ledger does not know."""
    found = {path.parent.name for path in (root / RUNS).glob(f"*/{SUMMARY}")}
    return sorted(found - known)


def _faults(root: Path, run_id: str, run: Run) -> list[str]:
    try:
        return Record.measured(root, run_id).faults(run)
    except InputError as error:
        return [str(error)]


def _scores_again(record: Record, root: Path) -> bool:
    """Whether the policy gives the recorded returns over the recorded seeds."""
    details = record.details
    place = scoring.Place(root, sandbox.as_safe_as(details["sandbox"]))
    again = scoring.evaluate_apart(
        record.artifact(), details["task"], details["episode_seeds"], REFERENCE, place
    )
    return again.returns == record.returns and again.lengths == details["episode_lengths"]


def _elsewhere(details: dict[str, Any]) -> str:
    """What is not here as it was when a run was scored; the bits are promised for what is equal."""
    then, now = details.get("versions", {}), machine.versions()
    other = [f"{name} {then[name]}" for name in then if name in now and then[name] != now[name]]
    recorded, here = (
        text.split(", ")[:-1] for text in (details.get("machine", ""), instrument.where())
    )
    other += recorded if recorded != here else []  # without the kernel
    return f"; it was scored with {', '.join(other)}" if other else ""


if __name__ == "__main__":
    cli.serve(verify)
