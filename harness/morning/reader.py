"""Reads a night's ledger, once and from top to bottom."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import InputError, LedgerError
from harness.evaluate import MAX_RETURN
from harness.judgement import layout, objective, progress
from harness.judgement.history import SEEN, fails_fresh, incumbents_returns
from harness.judgement.progress import NAME_LENGTH, Progress
from harness.morning.findings import BETWEEN, Confirmation, Experiment, Findings, Lead, Reign
from harness.record.entries import (
    ALONE,
    ConfirmationBegun,
    Entry,
    Fate,
    Role,
    Run,
    SetBack,
    Status,
    Verdict,
    stamp,
)
from harness.record.ledger import Ledger


def read(ledger: Path, branch: str = "") -> Findings:
    """Read a ledger.

    Args:
      ledger: its file.
      branch: whose rows; the one that was worked on last if empty.

    Raises:
      InputError: there is no ledger, no such branch, or nothing was measured on it yet.
      LedgerError: it is damaged.
    """
    if not ledger.exists():
        raise InputError(f"There is no file {ledger}; a first run (harness.run) makes results.tsv.")
    rows = Ledger(ledger).rows()
    names = [row.branch for row in rows if row.branch != ALONE]
    if not names:
        raise InputError(
            f"{ledger} has no experiment branch to report on: harness.loop or harness.run --init "
            "begins one."
        )
    name = branch or names[-1]
    mine = [row for row in rows if row.branch == name]
    if not mine:
        raise InputError(f"{ledger} has no branch {name}; it has {', '.join(sorted(set(names)))}.")
    for row in mine:
        check(row, ledger)
    return _Reader(mine).findings(name)


def check(row: Entry, ledger: Path) -> None:
    """Make sure that a row holds what is read from it.

    Raises:
      LedgerError: it does not.
    """
    try:
        whole = re.fullmatch(r"\d{8}-\d{6}-\w+", row.run_id) is not None
        whole = whole and stamp(row) is not None
        figures = [row.budget, row.avg_return or 0.0] if isinstance(row, Run) else []
        if isinstance(row, ConfirmationBegun) and row.lots is not None:
            figures += [row.lots.level, row.lots.jump]
        whole = whole and all(abs(figure) <= MAX_RETURN for figure in figures)
    except ValueError:
        whole = False
    if not whole:
        raise LedgerError(
            f"The row of run {row.run_id!r} in {ledger} holds no time, or a figure that is none. "
            "The harness has not written it so: restore the ledger from a copy."
        )


def _origins(there: Progress, name: str) -> set[str]:
    """A file and those that it was made on, one after the other.

    An edit that was made beside another one leads with its own file, without the other.
    """
    found: set[str] = set()
    while name not in found:
        found.add(name)
        name = there.made_on.get(name, name)
    return found


class _Reader:
    """Goes through a branch's rows once."""

    def __init__(self, rows: Sequence[Entry]) -> None:
        self._all = list(rows)
        self._rows = runs = [row for row in rows if isinstance(row, Run)]
        self._tasks = tuple(runs[0].objective.split(","))
        self._instrument = next((r.harness for r in reversed(runs) if r.scored), runs[0].harness)
        self._returns: dict[tuple[str, str, str, int], dict[str, float]] = {}
        self._trials: dict[str, list[Run]] = {}
        self._against: dict[str, list[float]] = {}
        self._seen: dict[str, list[float]] = {}
        self._single: dict[str, list[float]] = {}
        self._fresh: dict[tuple[str, Role], list[tuple[str, float]]] = {}
        self._transfers: dict[str, dict[str, float]] = {}
        self._confirmations: list[Confirmation] = []
        self._there = Progress(runs[0].commit[:NAME_LENGTH])
        self._reigns: list[tuple[str, float]] = [(self._there.incumbent, 0)]
        self._leads: list[tuple[str, float]] = []
        self._proved: list[str] = []
        self._simpler: list[str] = []
        self._later: dict[str, str] = {}

    def findings(self, name: str) -> Findings:
        """All of them.

        Raises:
          InputError: the baseline is not measured yet.
        """
        for row in self._all:
            if isinstance(row, Run):
                self._run(row)
            before, self._there = self._there, progress.after(self._there, row)
            match row:
                case ConfirmationBegun(lots=lots) if lots is not None:
                    self._confirmations.append(self._begun(row))
                case SetBack() if before.falling is not None and self._confirmations:
                    self._fell(row.reason)
            self._follow(before, row)
        reigns = [reign for commit, since in self._reigns if (reign := self._reign(commit, since))]
        if not reigns:
            raise InputError(f"On {name} the baseline is not measured yet: there is no score.")
        return Findings(
            branch=name,
            tasks=self._tasks,
            budget=self._rows[0].budget,
            instrument=self._instrument,
            experiments=[
                self._experiment(number, commit)
                for number, commit in enumerate(self._trials, start=1)
            ],
            reigns=reigns,
            leads=[
                Lead(commit, since, [*self._scores(self._trials.get(commit, []))])
                for commit, since in self._leads
            ],
            confirmations=self._confirmations,
            proved=self._proved,
            simpler=self._simpler,
            progress=self._there,
            transfers=self._transfers,
            rows=self._all,
        )

    def _run(self, row: Run) -> None:
        """What a run adds."""
        score = self._score(row)
        if row.role == Role.CHALLENGER:
            self._trials.setdefault(row.challenger, []).append(row)
            if row.challenger != self._there.lead:
                self._against[row.challenger] = [*self._seen.get(self._there.lead, [])]
        elif row.role == Role.TRANSFER and row.avg_return is not None:
            self._transfers.setdefault(row.task, {})[row.commit] = row.avg_return
        elif row.role == Role.CONFIRMATION:
            self._confirmed(row, score)
        if score is None:
            return
        if row.role in SEEN:
            self._seen.setdefault(row.commit, []).append(score)
        own = row.commit == row.challenger
        if row.role in (Role.INCUMBENT, Role.ESTIMATE) or (
            row.role == Role.CONFIRMATION and not own
        ):
            self._single.setdefault(row.commit, []).append(score)
        if own:
            self._fresh.setdefault((row.commit, row.role), []).append((row.run_id, score))

    def _begun(self, row: ConfirmationBegun) -> Confirmation:
        """A confirmation before its first run."""
        assert row.lots is not None
        numbers = [*self._trials]
        return Confirmation(
            number=row.lots.number,
            edits=[numbers.index(name) + 1 for name in self._there.stack if name in numbers],
            since=len(numbers) + BETWEEN,
            simpler=row.lots.simpler,
            level=row.lots.level,
            most=sum(map(len, row.lots.blocks)),
            verdict=Verdict.GO_ON,
            reason="",
            lead=[],
            incumbent=[],
        )

    def _confirmed(self, row: Run, score: float | None) -> None:
        """One more run of the last confirmation."""
        number = layout.confirmation_of(row.replicate)
        if not self._confirmations or self._confirmations[-1].number != number:
            return
        last = self._confirmations[-1]
        if score is not None:
            (last.lead if row.commit == row.challenger else last.incumbent).append(score)
        if row.verdict not in (Verdict.NONE, Verdict.GO_ON):
            ended = dataclasses.replace(last, verdict=row.verdict, reason=row.reason)
            self._confirmations[-1] = ended

    def _fell(self, reason: str) -> None:
        """The lead has fallen back, or has not, after the last confirmation."""
        last = self._confirmations[-1]
        said = reason.partition(":")[0].rstrip(".") + "."  # without why: that is there already
        self._confirmations[-1] = dataclasses.replace(last, reason=f"{last.reason} {said}")

    def _follow(self, before: Progress, row: Entry) -> None:
        """Note who is the incumbent and who leads, where a row has changed that."""
        there, since = self._there, len(self._trials) + BETWEEN
        if isinstance(row, Run) and row.role == Role.CHALLENGER:
            since = [*self._trials].index(row.challenger) + 1
        if there.incumbent != before.incumbent:
            self._reigns.append((there.incumbent, since))
            moved = [one for one in before.stack if one not in there.stack]
            within = _origins(there, there.incumbent)
            proved = [one for one in moved if one in within]
            self._proved += proved or [there.incumbent]
            beside = " What is proved was made beside it, and is without it."
            self._later |= dict.fromkeys(moved, beside)
            said = "has proved it since"
            if before.begun is not None and before.begun.lots and before.begun.lots.simpler:
                self._simpler += proved
                said = "has found the file with it as good since, and simpler"
            self._later |= dict.fromkeys(proved, f" Confirmation {there.confirmations} {said}.")
        if isinstance(row, SetBack):
            fallen = [one for one in before.stack if one not in there.stack]
            by = f"confirmation {before.confirmations}" if before.falling else "another run of it"
            self._later |= dict.fromkeys(fallen, f" The lead fell back behind it after {by}.")
        leads, led = (one.stack[-1:] for one in (there, before))
        if leads != led:
            self._leads.append(("".join(leads), since))

    def _reign(self, commit: str, since: float) -> Reign | None:
        """An incumbent's, as far as it has runs that it is estimated by; None where it has none."""
        first = self._fresh.get((commit, Role.INCUMBENT), [])
        fresh = self._fresh.get((commit, Role.ESTIMATE), []) or first
        if not fresh:
            return None
        return Reign(
            commit=commit,
            since=since,
            fresh=[score for _, score in fresh],
            single=self._single[commit],
            runs=[run_id for run_id, _ in fresh],
        )

    def _score(self, row: Run) -> float | None:
        """The score of the replicate that a row completes; None where it does not."""
        if row.harness != self._instrument or not (row.scored or fails_fresh(row)):
            return None
        known = incumbents_returns(self._rows, row.task, self._instrument)
        own = min(known, default=None) if row.avg_return is None else row.avg_return
        if own is None:
            return None
        key = (row.role, row.commit, row.challenger, row.replicate)
        returns = self._returns.setdefault(key, {})
        returns[row.task] = own
        if set(self._tasks) - set(returns):
            return None
        return objective.score(self._tasks, returns)

    def _experiment(self, number: int, commit: str) -> Experiment:
        rows = self._trials[commit]
        ended = next((row for row in reversed(rows) if row.verdict.final), None)
        return Experiment(
            number=number,
            commit=commit,
            description=rows[0].description,
            outcome=self._fate(commit, ended),
            reason=(ended.reason if ended else "") + self._later.get(commit, ""),
            scores=list(self._scores(rows)),
            against=self._against.get(commit, []),
            runs=[row.run_id for row in rows],
        )

    def _fate(self, commit: str, ended: Run | None) -> Fate:
        """What became of an edit whose trial has ended with a run, or has not."""
        if commit in self._proved:
            return Fate.SIMPLER if commit in self._simpler else Fate.KEEP
        if ended is None:
            return Fate.ON_TRIAL
        if ended.verdict == Verdict.ACCEPT:
            return Fate.ACCEPT if commit in self._there.stack else Fate.SET_BACK
        if not ended.status.decided:
            return Fate.STOPPED if ended.status == Status.STOPPED else Fate.CRASH
        return Fate(ended.verdict)

    def _scores(self, rows: Sequence[Run]) -> Iterable[float]:
        """Of the complete replicates of a trial."""
        for replicate in dict.fromkeys(row.replicate for row in rows):
            key = (Role.CHALLENGER, rows[0].commit, rows[0].challenger, replicate)
            returns = self._returns.get(key, {})
            if not set(self._tasks) - set(returns):
                yield objective.score(self._tasks, returns)
