"""scripts/analysis.ipynb runs from top to bottom, on a recorded night and on one's own ledger."""

import nbformat
import pytest
from nbclient import NotebookClient

from scripts.bench_report import write_ledger
from tests.conftest import ROOT

NOTEBOOK = ROOT / "scripts" / "analysis.ipynb"


@pytest.mark.parametrize("own", [False, True])
def test_every_cell_runs(tmp_path, monkeypatch, own):
    ledger = ROOT / "docs" / "evidence" / "issue6" / "night_random.tsv"
    if own:
        ledger = tmp_path / "results.tsv"
        write_ledger(ledger, 60)
    monkeypatch.setenv("AUTORL_LEDGER", str(ledger))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2  # no run's folder is beside either ledger
    said = str(outputs)
    assert ("60 experiments" in said) == own
    assert "standard deviation between runs" in said


def test_it_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
