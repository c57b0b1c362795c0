"""The recipe of the paper's experiment, on simulated records in the layout of MIMIC-IV-ECG."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pipeline_runs import finish, result
from wfdb_writer import write_ptbxl

from supreme.evaluation import results
from supreme.evaluation.class_results import ProtocolResult
from supreme.records.simulated import write_mimic_folder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

RECORDS = 160
#: What makes it small, and takes away what a test machine lacks: GPUs, a language model, a network.
SMALL = (
    "labels.extractor=rules",
    "labels.min_count=3",
    "text.encoder=minilm",
    "text.pooling=mean",
    "model.encoder=vit1d",
    "model.fusion_width=32",
    "model.fusion_depth=1",
    "training.gpu=false",
    "training.workers=1",
    "training.batch_size=16",
    "training.epochs=1",
    "shards.max_rejected_fraction=1",
    "evaluation.prompts=['name']",
    "evaluation.probes.fractions=[1.0]",
    "evaluation.plates=1",
)


def _few_words(folder: Path) -> int:
    """Studies whose statements have fewer than four words together."""
    with open(folder / "machine_measurements.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    reports = [" ".join(row[f"report_{n}"] or "" for n in range(18)) for row in rows]
    return sum(len(report.split()) < 4 for report in reports)


def test_the_papers_experiment_runs_on_a_folder_in_the_layout_of_mimic(tmp_path: Path) -> None:
    mimic, real = tmp_path / "mimic", tmp_path / "real"
    write_mimic_folder(str(mimic), RECORDS, seed=0)
    codes = ["{'NORM': 100.0, 'SR': 0.0}", "{'IMI': 100.0, 'AFIB': 0.0}", "{'CLBBB': 100.0, 'SR': 0.0}"]
    write_ptbxl(real / "ptb-xl", [{"scp_codes": codes[n // 10 % 3]} for n in range(60)])
    done = result(
        finish(
            "pipeline",
            "--config",
            "supreme_mimic",
            f"root={tmp_path / 'runs'}",
            f"sources.0.uri={mimic}",
            f"real={real}",
            *SMALL,
        )
    )
    short = _few_words(mimic)
    assert short > 0
    assert done["shards"]["mimic_iv_ecg"]["rejected"] == short
    assert done["shards"]["mimic_iv_ecg"]["records"] == RECORDS - short
    assert done["model_uri"] == "models:/supreme-ecg-mimic/1"
    card = json.loads((Path(done["bundle"]) / "config.json").read_text())
    assert [one["kind"] for one in card["trained_on"]] == ["mimic_iv_ecg"]
    evaluated = results.read(str(Path(done["results"]).parent))
    for protocol in ("merl", "merl-corrected", "strict"):
        superclass = evaluated.protocols[protocol].benchmarks["ptbxl-superclass"]
        assert superclass.available == "6 records of the test split"
        assert isinstance(superclass.zero_shot, ProtocolResult)
        assert {"NORM", "MI", "CD"} <= superclass.zero_shot.classes.keys()
