"""The experiment branch in git: its tip is the incumbent, and what was tried stays reachable.

A *lead* runs ahead of the incumbent: a commit for each edit that was accepted, one on the other,
the *stack*. A challenger is committed beside it, on top of the lead. The branch moves when a lead
is confirmed, over all edits up to it, and never otherwise; no working tree is switched, nothing is
reset, and of the user's files only `EDITABLE` is ever written. The working tree shows the lead's.

First parents are the edits, one after the other. Whatever else has to be in a commit's history is
another parent: what somebody has committed on the branch since, and a challenger that was accepted
on top of a later lead. So an accepted commit is in the lead's history, a confirmed one in the
tip's, and both keep their names. The tree is always the tip's with another training file.

    refs/heads/autorl/TAG                        the incumbent
    refs/autorl/TAG/lead                         the lead, where it is not the incumbent
    refs/autorl/TAG/trial/COMMIT                 a challenger on trial
    refs/autorl/TAG/discarded/RUN_ID             what was not kept, or fell back, by its last run
    refs/autorl/TAG/kept/COMMIT                  what was kept on top of a later commit
    refs/autorl/TAG/without/WHOLE-COMMIT         a file without one of its edits
"""

import dataclasses
import secrets
from pathlib import Path

from harness.checkout import commits, git, syntax
from harness.checkout.integrity import plain
from harness.errors import InputError
from harness.places import EDITABLE
from harness.system import words

PREFIX = "autorl/"
HEADS = "refs/heads/"
"""Full names are used everywhere: a tag may be called as a branch is."""

IDENTITY = {"NAME": "autorl", "EMAIL": "autorl@localhost"}
"""Who commits where the user has told git no name."""

NAME_LENGTH = 12
"""Characters of a commit's name within another one."""

NAME_BYTES = 8
"""Of a name that nobody can guess."""

KEEP = "autorl: keep"
"""What the branch's reflog says of a step."""

BEGIN = "autorl: begin"
"""What it says of the commit that brings in another first file."""

MERGE = "Merge a confirmed lead"
"""Message of the commit that brings it together with what was committed on the branch since."""


@dataclasses.dataclass(frozen=True)
class Refs:
    """Where a branch is, at one moment.

    Attributes:
      tip: the commit of the incumbent.
      trials: the commits on trial; none between trials.
      is_out: whether the branch is checked out: the working tree of another one is not ours.
      lead: the commit of the lead; the tip where the incumbent leads.
      tree: the object name of the tip's tree.
    """

    tip: str
    trials: tuple[str, ...]
    is_out: bool
    lead: str
    tree: str


class Branch:
    """One experiment branch of a checkout.

    Attributes:
      root: the checkout.
      tag: its name without `PREFIX`.
      head: its full name.
    """

    def __init__(self, root: Path, tag: str) -> None:
        self.root = root
        self.tag = tag
        self.head = f"{HEADS}{PREFIX}{tag}"
        self._refs = f"refs/autorl/{tag}/"
        self._trial = f"{self._refs}trial/"
        self._lead = f"{self._refs}lead"
        self._made = f"{self._refs}made-"
        self._edits: dict[str, bytes] = {}  # that were asked for, by their commits
        self._parents: dict[str, str] = {}  # the first ones of trials, by their commits

    @property
    def name(self) -> str:
        """As git shows it."""
        return PREFIX + self.tag

    def exists(self) -> bool:
        """Whether it has been begun."""
        return git.exists(self.root, self.head)

    def log(self) -> list[str]:
        """Its commits, the tip first."""
        return git.text(self.root, "rev-list", self.head).split()

    def read(self) -> Refs:
        """Where it is now.

        Raises:
          InputError: it is gone.
        """
        form = "--format=%(refname)|%(objectname)|%(HEAD)|%(tree)|%(parent)"  # no name has a bar
        listing = git.text(self.root, "for-each-ref", form, self.head, self._lead, self._trial)
        found = {name: fields for name, *fields in (x.split("|") for x in listing.splitlines())}
        if self.head not in found:
            raise InputError(f"There is no branch {self.name} any more; git reflog may know it.")
        tip, mark, tree, _ = found[self.head]
        trials = [fields for name, fields in found.items() if name.startswith(self._trial)]
        self._parents |= {commit: parents[: len(tip)] for commit, *_, parents in trials}
        lead = found.get(self._lead, [tip])[0]
        return Refs(tip, tuple(commit for commit, *_ in trials), mark == "*", lead, tree)

    def tip(self) -> str:
        """The commit of the incumbent."""
        return self.read().tip

    def trials(self) -> list[str]:
        """The commits on trial; none between trials."""
        return [*self.read().trials]

    def stack(self) -> list[str]:
        """The commits of the accepted edits between incumbent and lead, the oldest first."""
        return [commit for commit, *_ in self.steps()]

    def steps(self) -> tuple[tuple[str, ...], ...]:
        """The same, each with the challengers that it has taken in on top of a later lead."""
        refs = self.read()
        there = commits.distance(self.root, refs.tip, refs.lead).steps
        return tuple((commit, *others[1:]) for commit, *others in there)

    def edits(self, first: str, last: str) -> list[tuple[str, str]]:
        """The commits that lead from one file to another, each with the one before it.

        Those that leave the training file as it is are none.
        """
        first, last = self.whole(first), self.whole(last)
        between = commits.distance(self.root, first, last).steps
        steps = [(commit, parent) for commit, parent, *_ in between]
        return [step for step in steps if self.edit_of(step[0]) != self.edit_of(step[1])]

    def without(self, whole: str, commit: str) -> bytes | None:
        """A commit's training file without one of its edits; None where others are built on it.

        Args:
          whole: the commit.
          commit: the edit's.
        """
        after, before = self.edit_of(commit), self.edit_of(self._parent(self.whole(commit)))
        return git.merged(self.root, self.edit_of(whole), after, before)

    def set_apart(self, edit: bytes, whole: str, commit: str) -> str:
        """The commit of a file without one of its edits; it is made where there is none.

        Args:
          edit: the file.
          whole: the commit that it was made of.
          commit: the edit that is taken out.
        """
        name = f"{self._refs}without/{whole[:NAME_LENGTH]}-{commit[:NAME_LENGTH]}"
        known = git.text(self.root, "for-each-ref", "--format=%(objectname)", name)
        if known:
            return known
        message = f"{whole[:NAME_LENGTH]} without {commit[:NAME_LENGTH]}"
        made, held = self._commit(edit, message, self.read(), self.whole(whole))
        self._update(f"update {name} {made}", f"delete {held}")
        return made

    def message(self, commit: str) -> str:
        """The first line of what a commit says of itself."""
        return self._message(self.whole(commit)).partition("\n")[0]

    def description(self, commit: str) -> str:
        """All that a challenger's commit says of its edit, without the line that numbers it."""
        return self._message(self.whole(commit)).rpartition("\n\n")[0]

    def discarded(self, run_id: str) -> str:
        """The ref of an edit that was not kept, by its last run."""
        return f"{self._refs}discarded/{run_id}"

    def edit(self) -> bytes:
        """The training file as it stands in the working tree, with git's line ends."""
        return plain((self.root / EDITABLE).read_bytes())

    def write(self, edit: bytes) -> None:
        """Replace the training file of the working tree, whole or not at all."""
        file = self.root / EDITABLE
        temporary = file.with_name(f".{file.name}.new")  # runs/ may be a link to another disk
        temporary.write_bytes(edit)
        temporary.replace(file)

    def edit_of(self, commit: str) -> bytes:
        """The training file of a commit, or of the `tip` or the `lead`."""
        if commit in ("tip", "lead"):
            refs = self.read()
            commit = refs.tip if commit == "tip" else refs.lead
        known = [name for name in tuple(self._edits) if name.startswith(commit)]
        name = known[0] if len(known) == 1 else git.full(self.root, commit)
        if name not in self._edits:
            edit = git.run(self.root, "cat-file", "blob", f"{name}:{EDITABLE}")
            self._edits[name] = plain(edit)
        return self._edits[name]

    def simpler(self, one: str, other: str) -> list[int] | None:
        """The lines of code of two commits' files, where the first is simpler; None else."""
        sizes = [syntax.size(self.edit_of(commit)) for commit in (one, other)]
        mine, theirs = sizes
        if mine is None or theirs is None or not mine.is_simpler(theirs):
            return None
        return [mine.lines, theirs.lines]

    def check_unworked(self) -> None:
        """Make sure that nothing was tried on it: for where the ledger has no row of it.

        Its challengers would be counted from 1 again, and what was cut off would be forgotten.

        Raises:
          InputError: something was.
        """
        names = git.text(self.root, "for-each-ref", "--format=%(refname)", self._refs).split()
        traces = [name for name in names if not name.startswith(self._made)]  # killed beforehand
        if self.exists():
            options = ("--no-show-signature", "--format=%gs")  # no signature is asked of a program
            steps = git.text(self.root, "reflog", "show", *options, self.head, "--").splitlines()
            traces += [line for line in steps if line == KEEP]
        if traces:
            raise InputError(
                f"Challengers were tried on {self.name}, and results.tsv has no row of it: the "
                "ledger was moved away, or another one begun. Restore it from a copy, with runs/; "
                "or begin a new branch under another tag."
            )

    def begin_with(self, edit: bytes, message: str) -> None:
        """Have another training file than the commit from which it was made; once, at first.

        It is checked out.

        Raises:
          InputError: as `commits.check_replaceable`.
        """
        refs = self.read()
        commits.check_replaceable(self.root, edit)
        self.write(edit)
        if edit != self.edit_of(refs.tip):
            made, held = self._commit(edit, message, refs, refs.tip)
            git.stage(self.root, EDITABLE, commits.entry(self.root, made))
            step = f"update {self.head} {made} {refs.tip}"
            self._update(step, f"delete {held}", because=BEGIN)

    def follows_tip(self, commit: str) -> bool:
        """Whether a commit's parent is the tip: somebody may have committed since it was made."""
        return self._parent(commit) == self.tip()

    def follows_lead(self, commit: str) -> bool:
        """Whether a commit's parent is the lead: another one may have become it since."""
        return self._parent(commit) == self.read().lead

    def propose(self, edit: bytes, message: str, refs: Refs | None = None) -> str:
        """Commit a training file beside the lead and put it on trial; the commit.

        Args:
          edit: the file.
          message: of the commit.
          refs: as they were read a moment ago; they are read if None.
        """
        refs = refs or self.read()
        commit, made = self._commit(edit, message, refs, refs.lead)
        self._update(f"update {self._trial}{commit} {commit}", f"delete {made}")
        self._edits[commit], self._parents[commit] = plain(edit), refs.lead
        return commit

    def accept(self, challenger: str) -> None:
        """Make a challenger on trial the lead, on top of a lead that has moved since.

        Args:
          challenger: its commit; one that is not on trial was accepted before.
        """
        refs = self.read()
        if challenger not in refs.trials:
            return
        new, done = challenger, [f"delete {self._trial}{challenger}"]
        if self._parent(challenger) != refs.lead:
            new = refs.lead
            # Else git was killed between two refs.
            if commits.distance(self.root, new, challenger).steps:
                edit, message = self.edit_of(challenger), self._message(challenger)
                new, made = self._commit(edit, message, refs, refs.lead, challenger)
                done.append(f"delete {made}")
        self._show(refs, new, refs.lead)  # the edit may have come from elsewhere
        self._finish(refs, refs.tip, f"update {self._lead} {new}", *done)

    def leads(self, commit: str) -> bool:
        """Whether a challenger was accepted: it is in the lead's history.

        Args:
          commit: its name, short or whole.
        """
        return not commits.distance(self.root, self.read().lead, self.whole(commit)).steps

    def proves(self, commit: str) -> bool:
        """Whether a lead was confirmed: it is in the branch's history.

        Args:
          commit: its name, short or whole.
        """
        return not commits.distance(self.root, self.tip(), self.whole(commit)).steps

    def whole(self, commit: str) -> str:
        """The whole name of a commit."""
        return git.full(self.root, commit)

    def retry(self, commit: str) -> None:
        """Put a challenger on trial once more that was set aside."""
        self._update(f"update {self._trial}{commit} {commit}")

    def set_back(self, count: int, run_id: str) -> None:
        """Let the lead fall back by some edits, to the incumbent where it has no more.

        Args:
          count: of edits, one or more.
          run_id: of the run for which it does, and nothing else was discarded: what is dropped
            stays reachable under it. A second time with it changes nothing.
        """
        refs, name = self.read(), self.discarded(run_id)
        dropped = git.text(self.root, "for-each-ref", "--format=%(objectname)", name)
        if dropped not in ("", refs.lead):
            return
        stack = [commit for commit, *_ in commits.distance(self.root, refs.tip, refs.lead).steps]
        if not stack:
            return
        new = [refs.tip, *stack][max(len(stack) - count, 0)]
        self._show(refs, new, refs.lead)
        fall = f"update {self._lead} {new}" if new != refs.tip else f"delete {self._lead}"
        self._finish(refs, refs.tip, f"update {name} {refs.lead}", fall)

    def confirm(self, lead: str) -> None:
        """Move the branch over all edits up to a lead; what was accepted on top stays lead.

        Where somebody has committed on the branch since, one more commit has both histories.

        Args:
          lead: a commit of the stack, or a challenger that was accepted by it.
        """
        refs, done = self.read(), []
        lead, new, top = git.full(self.root, lead), refs.tip, refs.lead
        goal = commits.distance(self.root, refs.tip, top).step(lead) or lead
        if commits.distance(self.root, refs.tip, lead).steps:  # else it is in the branch's history
            new = goal
            if commits.distance(self.root, refs.tip, goal).behind:
                new, made = self._commit(self.edit_of(goal), MERGE, refs, goal)
                done.append(f"delete {made}")
            done.append(f"update {self.head} {new} {refs.tip}")
        if not commits.distance(self.root, new, top).steps:
            top, done = new, [*done, f"delete {self._lead}"]
        self._show(refs, top, refs.tip, refs.lead)
        self._finish(refs, new, *done)

    def keep(self, commit: str) -> None:
        """Make a challenger the incumbent, on top of what others have committed since.

        Args:
          commit: the challenger.
        """
        refs, done = self.read(), []
        if self.edit_of(refs.tip) != self.edit_of(commit):
            tip, new = refs.tip, commit
            if self._shows(refs, tip):  # the edit came from elsewhere
                self.write(self.edit_of(commit))
            if not self.follows_tip(commit):
                new, made = self._commit(
                    self.edit_of(commit), self._message(commit), refs, refs.tip
                )
                done = [f"delete {made}"]
            git.text(self.root, "update-ref", "--create-reflog", "-m", KEEP, self.head, new, tip)
            refs = dataclasses.replace(refs, tip=new)
        if commit not in self.log():  # the ledger names this one: it must not be lost
            done.append(f"update {self._refs}kept/{commit} {commit}")
        self._settle(refs, commit, *done)

    def show(self) -> None:
        """The lead's file in the working tree where the incumbent's is, as after a switch."""
        refs = self.read()
        self._show(refs, refs.lead, refs.tip)

    def discard(self, commit: str, run_id: str) -> None:
        """Leave the branch as it is and restore the lead's file.

        The working tree's file is restored only if it is still the challenger's: what somebody has
        begun to write since is theirs.

        Args:
          commit: the challenger; it stays reachable.
          run_id: of its last run, the name under which it does.
        """
        refs = self.read()
        self._show(refs, refs.lead, commit)
        self._settle(refs, commit, f"update {self.discarded(run_id)} {commit}")

    def _commit(
        self, edit: bytes, message: str, refs: Refs, parent: str, *others: str
    ) -> tuple[str, str]:
        """A commit with the tip's tree and another training file; and the ref that holds it.

        Nobody can know that ref's name before: a link to another ref in its place would be written
        through.

        Args:
          edit: the training file.
          message: of the commit.
          refs: of the branch; the tip becomes a parent, too, where the first one lacks it.
          parent: the first one.
          others: more of them.
        """
        behind = commits.distance(self.root, refs.tip, parent).behind
        merged = (*([refs.tip] if behind else ()), *others)
        made = f"{self._made}{secrets.token_hex(NAME_BYTES)}"
        who = {role: git.signature(self.root, role, IDENTITY) for role in ("AUTHOR", "COMMITTER")}
        text = words.plain(message).strip().encode(errors="replace") + b"\n"
        head = f"commit {made}\nmark :1\nauthor {who['AUTHOR']}\ncommitter {who['COMMITTER']}\n"
        stream = [
            head.encode(errors="replace"), commits.data(text), f"from {parent}\n".encode(),
            *(f"merge {commit}\n".encode() for commit in merged),
            f'M 040000 {refs.tree} ""\n'.encode(),
            f"M 100644 inline {EDITABLE}\n".encode(), commits.data(edit), b"get-mark :1\ndone\n",
        ]  # fmt: skip
        options = ("--quiet", "--done", "--date-format=raw-permissive")  # of time zones, any
        return git.text(self.root, "fast-import", *options, data=b"".join(stream)), made

    def _update(self, *commands: str, because: str = KEEP) -> None:
        """Change refs, all of them or none; none that a link of that name points to.

        Only the branch itself has a reflog, and it moves by a keep, or at first.
        """
        data = "".join(f"{command}\n" for command in commands).encode()
        git.run(self.root, "update-ref", "-m", because, "--no-deref", "--stdin", data=data)

    def _message(self, commit: str) -> str:
        """What a commit says of itself."""
        return git.text(self.root, "cat-file", "commit", commit).partition("\n\n")[2]

    def _parent(self, commit: str) -> str:
        """A commit's first parent."""
        if commit not in self._parents:
            self._parents[commit] = git.text(self.root, "rev-parse", f"{commit}^")
        return self._parents[commit]

    def _show(self, refs: Refs, commit: str, *judged: str) -> None:
        """Put a commit's training file where one of those that were judged still is."""
        if not self._shows(refs, commit) and any(self._shows(refs, one) for one in judged):
            self.write(self.edit_of(commit))

    def _shows(self, refs: Refs, commit: str) -> bool:
        """Whether the working tree is ours and has a commit's training file."""
        there = refs.is_out and (self.root / EDITABLE).is_file()
        return there and self.edit() == self.edit_of(commit)

    def _settle(self, refs: Refs, commit: str, *commands: str) -> None:
        """The trial over, as the last step of it."""
        self._finish(refs, refs.tip, *commands, f"delete {self._trial}{commit}")

    def _finish(self, refs: Refs, tip: str, *commands: str) -> None:
        """The index as a tip has it, and then the refs, by which what was begun is done."""
        if refs.is_out:
            git.stage(self.root, EDITABLE, commits.entry(self.root, tip))
        self._update(*commands)


def current(root: Path) -> str | None:
    """The tag of the experiment branch that is checked out; None on other branches."""
    name = git.head(root) or ""
    return name.removeprefix(HEADS + PREFIX) if name.startswith(HEADS + PREFIX) else None
