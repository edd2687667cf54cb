"""Where things are: what was kept before must be found again."""

import pytest

from harness import places


@pytest.mark.parametrize("given", ["", "state"])
def test_the_ends_of_ledgers_are_where_they_always_were(monkeypatch, tmp_path, given):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / given) if given else "")
    state = tmp_path / given if given else tmp_path / ".local" / "state"
    assert places.state_folder() == state / "autorl-jax"
