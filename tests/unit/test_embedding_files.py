"""Embeddings that another program wrote: what is read, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supreme.config import ConfigError
from supreme.evaluation import npy_files
from supreme.evaluation.embeddings import Embeddings, read_embeddings, write_embeddings
from supreme.evaluation.model_kinds import kind_of

pytestmark = pytest.mark.unit

IDS = tuple(f"d/{i}" for i in range(50))
VALUES = np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32)


def as_parquet(folder: Path) -> str:
    write_embeddings(str(folder / "e.parquet"), Embeddings(IDS, VALUES))
    return str(folder / "e.parquet")


def as_lists(folder: Path) -> str:
    pq.write_table(
        pa.table({"record_id": IDS, "embedding": VALUES.astype(float).tolist()}), folder / "l.parquet"
    )
    return str(folder / "l.parquet")


def as_numbered_columns(folder: Path) -> str:
    # As text the order would be e1, e10, e11, e12, e2.
    columns = {f"e{d + 1}": VALUES[:, d] for d in sorted(range(12), key=lambda d: str(d + 1))}
    pq.write_table(pa.table({"record_id": IDS, **columns}), folder / "n.parquet")
    return str(folder / "n.parquet")


def as_csv(folder: Path) -> str:
    rows = [",".join([name, *map(repr, row)]) for name, row in zip(IDS, VALUES.tolist(), strict=True)]
    head = ",".join(["record_id", *map(str, range(12))])
    (folder / "c.csv").write_text("\n".join([head, *rows]))
    return str(folder / "c.csv")


def as_npy(folder: Path, values: np.ndarray = VALUES, ids: tuple[str, ...] = IDS) -> str:
    np.save(folder / "e.npy", values)
    (folder / "records.csv").write_text("record_id,split,n_valid\n" + "".join(f"{i},test,5\n" for i in ids))
    return str(folder / "e.npy")


@pytest.mark.parametrize("write", [as_parquet, as_lists, as_numbered_columns, as_csv, as_npy])
def test_every_form_gives_the_same_bits(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(npy_files, "_PIECE_BYTES", 7 * 12 * 4)
    read = read_embeddings(write(tmp_path), width=12)
    assert read.record_ids == IDS
    assert read.values.dtype == np.float32
    assert read.values.tobytes() == VALUES.tobytes()
    some = read_embeddings(write(tmp_path), record_ids=set(IDS[::3]))
    assert np.array_equal(some.values, VALUES[::3])
    aligned = some.align([IDS[6], IDS[0]], "b")
    assert np.array_equal(aligned.values, VALUES[[6, 0]])
    with pytest.raises(ConfigError, match="no row for 1 of 1 records of b, first 'd/1'"):
        some.align([IDS[1]], "b")


def test_ids_beside_a_file_of_the_same_name_come_first(tmp_path: Path) -> None:
    uri = as_npy(tmp_path)
    (tmp_path / "e.csv").write_text("record_id\n" + "\n".join(reversed(IDS)))
    assert read_embeddings(uri).record_ids == tuple(reversed(IDS))


def test_a_width_that_is_not_expected_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"e.parquet: embeddings of width 12, but 768 is expected"):
        read_embeddings(as_parquet(tmp_path), width=768)


def test_vectors_of_different_widths_are_refused(tmp_path: Path) -> None:
    lists = VALUES.tolist()
    lists[7] = lists[7][:-1]
    pq.write_table(pa.table({"record_id": IDS, "embedding": lists}), tmp_path / "l.parquet")
    with pytest.raises(ConfigError, match=r"record 'd/7' has 11 values, that of the first record 12"):
        read_embeddings(str(tmp_path / "l.parquet"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(tmp_path: Path, bad: float) -> None:
    values = VALUES.copy()
    values[5, 3] = bad
    with pytest.raises(ConfigError, match=r"e.npy: column 'column 3' holds (nan|inf) for record 'd/5'"):
        read_embeddings(as_npy(tmp_path, values))
    write_embeddings(str(tmp_path / "e.parquet"), Embeddings(IDS, values))
    with pytest.raises(ConfigError, match=r"'embedding\[3\]' holds (nan|inf) for record 'd/5'"):
        read_embeddings(str(tmp_path / "e.parquet"))


def test_rows_and_ids_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 50 rows, but .*records.csv names 49 records"):
        read_embeddings(as_npy(tmp_path, ids=IDS[:-1]))
    with pytest.raises(ConfigError, match=r"has 49 rows, but .*records.csv names 50 records"):
        read_embeddings(as_npy(tmp_path, VALUES[:-1]))
    with pytest.raises(ConfigError, match="record 'd/0' is there twice"):
        read_embeddings(as_npy(tmp_path, ids=(*IDS[:-1], "d/0")))
    (tmp_path / "records.csv").unlink()
    with pytest.raises(ConfigError, match=r"the record ids of its rows are missing: write .*e.csv"):
        read_embeddings(str(tmp_path / "e.npy"))


def test_objects_in_an_array_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.array([[{"a": 1}]], object), allow_pickle=True)
    (tmp_path / "records.csv").write_text("record_id\na\n")
    with pytest.raises(ConfigError, match="holds object, not floats"):
        read_embeddings(str(tmp_path / "e.npy"))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.asfortranarray(VALUES), "in Fortran's order"),
        (VALUES[0], r"has the shape \(12,\), not \(records, width\)"),
        (VALUES.astype(np.int64), "holds int64, not floats"),
    ],
)
def test_other_arrays_are_refused_with_the_remedy(tmp_path: Path, values: np.ndarray, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_embeddings(as_npy(tmp_path, values))


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    uri = as_npy(tmp_path)
    content = Path(uri).read_bytes()
    Path(uri).write_bytes(content[:-40])
    with pytest.raises(ConfigError, match=r"e.npy is cut off in row 49"):
        read_embeddings(uri)
    Path(uri).write_bytes(b"PK\x03\x04 not numpy")
    with pytest.raises(ConfigError, match=r"e.npy is no .npy file"):
        read_embeddings(uri)


@pytest.mark.parametrize("names", [("e0", "e2"), ("a0", "b1"), ("e0", "patient"), ("x",)])
def test_columns_that_are_not_numbered_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    pq.write_table(pa.table({"record_id": ["a"], **{n: [0.1] for n in names}}), tmp_path / "n.parquet")
    with pytest.raises(ConfigError, match="columns numbered from 0 or 1 without a gap"):
        read_embeddings(str(tmp_path / "n.parquet"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("models:/supreme@champion", "bundle"),
        ("runs/demo/bundle", "bundle"),
        ("s3://bucket/m.pt2?scheme=http", "program"),
        ("e.npy", "embeddings"),
        ("package.module:Class", "class"),
    ],
)
def test_a_model_is_known_by_its_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_table_is_known_by_its_columns(tmp_path: Path) -> None:
    for write in (as_parquet, as_lists, as_numbered_columns, as_csv):
        assert kind_of(write(tmp_path)) == "embeddings"
    (tmp_path / "s.csv").write_text("record_id,1AVB,2AVB\na,0.1,0.2\n")
    assert kind_of(str(tmp_path / "s.csv")) == "scores"
    with pytest.raises(ConfigError, match="not found"):
        kind_of(str(tmp_path / "absent.csv"))
