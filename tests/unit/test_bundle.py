from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import boto3
import numpy as np
import pytest
import tiny_bundle
import torch
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from supreme import config, ecg, signal, storage, text
from supreme.inference import bundle, signal_check
from supreme.inference.bundle import BundleError
from supreme.inference.convention import InputConvention, TextEncoderSpec
from supreme.inference.query_embeddings import QueryEmbeddings, normalize_query
from supreme.inference.query_model import EcgQueryModel
from supreme.inference.windows import MAX_WINDOWS, windows_uv
from supreme.models.supreme import Head, SupremeModel

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bundle")
    tiny_bundle.write(place)
    return place


@pytest.fixture
def model(folder: Path) -> EcgQueryModel:
    return EcgQueryModel.from_bundle(str(folder))


def logit(probability: np.ndarray) -> np.ndarray:
    wide = np.asarray(probability, np.float64)
    return np.log(wide / (1 - wide))


def asked(texts: list[str], ecg_mv: np.ndarray) -> np.ndarray:
    """Logits of the network itself for texts, by hand."""
    _, _, embeddings = tiny_bundle.queries()
    whitened = text.Whitening.fit(embeddings, shrinkage=0.5).apply(tiny_bundle.encoder().encode(texts))
    with torch.inference_mode():
        return tiny_bundle.network()(torch.from_numpy(ecg_mv), torch.from_numpy(whitened)).numpy()


def test_bytes_depend_on_the_arguments_only(folder: Path, tmp_path: Path) -> None:
    again = tiny_bundle.write(tmp_path / "again")
    assert again == bundle.verify(str(folder)) == bundle.verify(str(tmp_path / "again"))
    assert tiny_bundle.write(tmp_path / "other", seed=1) != again
    assert set(storage.list_files(str(folder))) == set(bundle.FILES) - {"recordings.safetensors"}


def test_what_it_was_trained_on_comes_with_it(tmp_path: Path, folder: Path) -> None:
    known = tiny_bundle.provenance()
    digest = tiny_bundle.write(tmp_path, trained_on=known)
    assert set(storage.list_files(str(tmp_path))) == set(bundle.FILES)
    loaded = EcgQueryModel.from_bundle(str(tmp_path), digest).trained_on
    assert loaded is not None
    assert loaded.datasets == known.datasets
    np.testing.assert_array_equal(loaded.keys[0], known.keys[0])
    np.testing.assert_array_equal(loaded.fingerprints[0], known.fingerprints[0])
    assert EcgQueryModel.from_bundle(str(folder)).trained_on is None


def test_known_queries_average_the_logits_of_all_phrasings(model: EcgQueryModel) -> None:
    ecg_mv = tiny_bundle.ecgs(3)
    _, texts, _ = tiny_bundle.queries()
    scores = model.score(ecg_mv, 100, list(texts))
    by_hand = np.stack([asked(phrasings, ecg_mv).mean(1) for phrasings in texts.values()], 1)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(logit(scores), by_hand, atol=2e-4)
    assert np.ptp(scores, axis=0).max() > 1e-3, "the network must react to the ECG for this to mean anything"


def test_id_name_synonym_case_and_question_mark_are_one_query(model: EcgQueryModel) -> None:
    vocabulary, texts, _ = tiny_bundle.queries()
    entity = vocabulary["atrial_fibrillation"]
    variants = [
        entity.id,
        entity.name,
        entity.name.upper() + " ?",
        f" {entity.name.title()}?",
        *texts[entity.id],
    ]
    variants += [synonym for synonyms in entity.synonyms.values() for synonym in synonyms]
    scores = model.score(tiny_bundle.ecgs(2), 100, variants)
    assert np.ptp(scores, axis=1).max() == 0
    assert {model.known_entity(variant) for variant in variants} == {entity.id}
    assert model.queries._encoder is None, "known queries must not need the text encoder"


def test_other_texts_are_encoded_and_whitened(model: EcgQueryModel) -> None:
    ecg_mv = tiny_bundle.ecgs(2)
    query = "Old inferior infarct?"
    scores = model.score(ecg_mv, 100, [query, "torsades de pointes"])
    np.testing.assert_allclose(
        logit(scores), asked(["old inferior infarct", "torsades de pointes"], ecg_mv), atol=2e-4
    )
    assert model.known_entity(query) == ""


def test_a_score_depends_on_nothing_but_its_ecg_and_query(model: EcgQueryModel) -> None:
    ecg_mv = tiny_bundle.ecgs(70)
    together = model.score(ecg_mv, 100, ["sinus bradycardia", "a new thing", "atrial_fibrillation"])
    alone = model.score(ecg_mv[66:67], 100, ["atrial fibrillation?"])
    np.testing.assert_allclose(together[66, 2], alone[0, 0], atol=1e-6)
    assert not np.allclose(together[:, 0], together[:, 2])


def test_other_rates_and_short_records_go_through_prepare(model: EcgQueryModel) -> None:
    for samples, rate_hz in ((2000, 500.0), (300, 100.0), (1000, 250.0)):
        ecg_mv = tiny_bundle.ecgs(2, samples)
        prepared = np.stack([signal.prepare(one, rate_hz, 100, 400)[0] for one in ecg_mv])
        direct = model.score(prepared, 100, ["sinus_bradycardia"])
        np.testing.assert_allclose(model.score(ecg_mv, rate_hz, ["sinus_bradycardia"]), direct, atol=1e-5)


def test_long_records_average_windows_over_their_whole_length(model: EcgQueryModel) -> None:
    record = tiny_bundle.ecgs(1, 2000)
    windows = [model.score(record[:, :, start : start + 400], 100, ["lbbb"]) for start in range(0, 2000, 400)]
    together = model.score(record, 100, ["lbbb"])
    np.testing.assert_allclose(logit(together), np.mean([logit(one) for one in windows], 0), atol=1e-4)
    very_long = tiny_bundle.ecgs(1, 40_000)
    assert windows_uv(very_long[0], 100, model.convention).shape == (MAX_WINDOWS, 12, 400)
    np.testing.assert_array_equal(
        ecg.to_millivolts(windows_uv(very_long[0], 100, model.convention)[-1]), very_long[0, :, -400:]
    )


def test_a_bundle_with_another_lead_order_gets_its_own_order(folder: Path, tmp_path: Path) -> None:
    vocabulary, texts, embeddings = tiny_bundle.queries()
    whitening = text.Whitening.fit(embeddings, shrinkage=0.5)
    described = json.loads((folder / "config.json").read_text())
    queries = QueryEmbeddings(
        vocabulary,
        list(texts.values()),
        embeddings,
        whitening,
        TextEncoderSpec.model_validate(described["text"]),
    )
    convention = InputConvention.model_validate(described["input"] | {"leads": ecg.MIMIC_LEADS})
    swapped = EcgQueryModel(tiny_bundle.network(), queries, convention, "supreme")
    ecg_mv = tiny_bundle.ecgs(2)
    in_its_order = ecg_mv[:, [ecg.LEADS.index(lead) for lead in ecg.MIMIC_LEADS]]
    expected = EcgQueryModel.from_bundle(str(folder)).score(in_its_order, 100, ["lbbb"])
    np.testing.assert_array_equal(swapped.score(ecg_mv, 100, ["lbbb"]), expected)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"queries": []}, "give a list"),
        ({"queries": "atrial fibrillation"}, "give a list"),
        ({"queries": ["lbbb", " ? "]}, "query 2 of 2 is empty"),
        ({"ecg_mv": np.zeros((12, 400), np.float32)}, "give .records, 12, samples."),
        ({"ecg_mv": np.zeros((1, 8, 400), np.float32)}, "give .records, 12, samples."),
        ({"ecg_mv": np.zeros((1, 12, 0), np.float32)}, "give .records, 12, samples."),
        ({"ecg_mv": np.full((1, 12, 400), np.nan, np.float32)}, "record 0 holds NaN"),
        ({"ecg_mv": tiny_bundle.ecgs(1) * 1000}, "microvolts must be divided by 1000"),
        ({"rate_hz": 0}, "sampling rate"),
        ({"rate_hz": float("nan")}, "sampling rate"),
        ({"rate_hz": float("inf")}, "sampling rate"),
        ({"rate_hz": -100}, "sampling rate"),
        ({"rate_hz": True}, "sampling rate"),
        ({"rate_hz": "100"}, "sampling rate"),
        ({"rate_hz": None}, "sampling rate"),
        ({"rate_hz": [100, 100]}, "sampling rate .* as one number"),
        ({"rate_hz": 1j}, "sampling rate"),
        ({"rate_hz": 10**400}, "sampling rate"),
        ({"rate_hz": 0.1}, r"record 0: unknown_rate.*in Hz \(not kHz"),
        ({"rate_hz": 100_000}, "record 0: unknown_rate"),
        ({"rate_hz": 1e9}, "record 0: unknown_rate"),
        ({"ecg_mv": tiny_bundle.ecgs(1)[..., :1]}, "record 0: too_short.*whole record"),
        ({"ecg_mv": tiny_bundle.ecgs(1)[..., :199]}, "record 0: too_short"),
        ({"ecg_mv": np.zeros((1, 12, 400), np.float32)}, "record 0: flat_leads.*remove it"),
        ({"ecg_mv": np.full((1, 12, 400), 0.7, np.float32)}, "record 0: flat_leads"),
        ({"ecg_mv": tiny_bundle.ecgs(1) / 1000}, "record 0: absurd_amplitude.*volts times 1000"),
        ({"ecg_mv": tiny_bundle.ecgs(1) * 40}, "record 0: absurd_amplitude|must be in millivolts"),
        ({"ecg_mv": (tiny_bundle.ecgs(1) * 1000).astype(np.int16)}, "int16 are microvolts.*divide"),
        ({"ecg_mv": np.ones((1, 12, 400), np.uint8)}, "uint8 are microvolts"),
        ({"ecg_mv": tiny_bundle.ecgs(1) > 0}, "type bool are no signals"),
        ({"ecg_mv": tiny_bundle.ecgs(1) + 0j}, "type complex64 are no signals"),
        ({"ecg_mv": tiny_bundle.ecgs(1).astype(object)}, "type object are no signals"),
        ({"ecg_mv": tiny_bundle.ecgs(1).astype(str)}, "are no signals"),
        ({"ecg_mv": [[[0.0] * 400] * 11 + [[0.0]]]}, "are no array of numbers"),
        ({"ecg_mv": tiny_bundle.ecgs(1) * 1e300}, "record 0 holds NaN or infinite"),
        ({"ecg_mv": tiny_bundle.ecgs(1).astype(np.float64) * 1e300}, "record 0 holds NaN or infinite"),
        ({"ecg_mv": np.ma.masked_greater(tiny_bundle.ecgs(1), 1.0)}, "record 0 holds NaN"),
        ({"ecg_mv": tiny_bundle.ecgs(1)[0]}, r"of one record ecg\[None\]"),
        ({"ecg_mv": tiny_bundle.ecgs(1)[0].T}, r"of one record ecg\.T\[None\]"),
        ({"ecg_mv": tiny_bundle.ecgs(2).transpose(0, 2, 1)}, r"swapped: ecg\.transpose\(0, 2, 1\)"),
        ({"ecg_mv": tiny_bundle.ecgs(2).transpose(1, 0, 2)}, r"swapped: ecg\.transpose\(1, 0, 2\)"),
        ({"ecg_mv": np.zeros((0, 12, 400), np.float32)}, "give .records, 12, samples."),
        ({"queries": None}, "give a list"),
        ({"queries": b"lbbb"}, "give a list"),
        ({"queries": 3}, "give a list"),
        ({"queries": {"lbbb": 1}}, "give a list"),
        ({"queries": ["lbbb", 3]}, "query 2 of 2 is a int"),
        ({"queries": ["lbbb", None]}, "query 2 of 2 is a NoneType"),
        ({"queries": [["lbbb"]]}, "query 1 of 1 is a list"),
        ({"queries": ["\ud800"]}, "query 1 of 1 is no text"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_remedy(
    model: EcgQueryModel, change: dict[str, object], remedy: str
) -> None:
    arguments: dict[str, object] = {"ecg_mv": tiny_bundle.ecgs(1), "rate_hz": 100, "queries": ["lbbb"]}
    with pytest.raises(ValueError, match=remedy):
        model.score(**(arguments | change))  # type: ignore[arg-type]


def _one_lead_nan(record_mv: np.ndarray) -> None:
    record_mv[3, 17] = np.nan


def _flat_line(record_mv: np.ndarray) -> None:
    record_mv[:] = 0


def _most_leads_off(record_mv: np.ndarray) -> None:
    record_mv[:7] = 0


def _volts(record_mv: np.ndarray) -> None:
    record_mv /= 1000


def _microvolts(record_mv: np.ndarray) -> None:
    record_mv *= 1000


def _one_infinite(record_mv: np.ndarray) -> None:
    record_mv[11, -1] = -np.inf


@given(
    st.sampled_from([_one_lead_nan, _flat_line, _most_leads_off, _volts, _microvolts, _one_infinite]),
    st.integers(0, 4),
    st.sampled_from([np.float32, np.float64]),
)
def test_one_bad_record_is_named_wherever_it_is(
    spoil: Callable[[np.ndarray], None], index: int, kind: type[np.floating]
) -> None:
    ecg_mv = tiny_bundle.ecgs(5).astype(kind)
    signal_check.check_quality(signal_check.as_millivolts(ecg_mv, 100), 100)
    spoil(ecg_mv[index])
    with pytest.raises(ValueError, match=f"record {index}[ :].*(remove|millivolts)"):
        signal_check.check_quality(signal_check.as_millivolts(ecg_mv, 100), 100)


@given(st.floats(allow_nan=True, allow_infinity=True), st.integers(1, 1000))
def test_no_rate_or_length_gives_an_error_of_another_kind(rate_hz: float, samples: int) -> None:
    ecg_mv = tiny_bundle.ecgs(1, samples)
    fits = 50 <= rate_hz <= 20_000 and samples / rate_hz >= 2
    with nullcontext() if fits else pytest.raises(ValueError, match=r"rate_hz|record 0: \w+.*; "):
        signal_check.check_quality(signal_check.as_millivolts(ecg_mv, rate_hz), rate_hz)


def test_records_of_shards_are_not_judged_twice(folder: Path) -> None:
    """What passed as a whole record may be flat or short after it was resampled, cut and padded."""
    padded = np.zeros((1, 12, 400), np.float32)
    padded[..., :10] = tiny_bundle.ecgs(1, 10)
    model = EcgQueryModel.from_bundle(str(folder), quality_checked=True)
    assert np.isfinite(model.score(padded, 100, ["lbbb"])).all()
    with pytest.raises(ValueError, match="record 0: flat_leads"):
        EcgQueryModel.from_bundle(str(folder)).score(padded, 100, ["lbbb"])


def test_diverged_weights_give_no_score(model: EcgQueryModel) -> None:
    with torch.no_grad():
        next(model.model.fusion.parameters()).mul_(1e30)
    with pytest.raises(ValueError, match="record 0: the model gives no number"):
        model.score(tiny_bundle.ecgs(1), 100, ["lbbb"])


def test_another_text_encoder_than_that_of_training_is_refused(model: EcgQueryModel) -> None:
    model.queries.spec = model.queries.spec.model_copy(update={"digest": "0" * 64})
    assert model.score(tiny_bundle.ecgs(1), 100, ["lbbb"]).shape == (1, 1)
    with pytest.raises(BundleError, match=r"'minilm' here has digest .* that of training was 0000"):
        model.score(tiny_bundle.ecgs(1), 100, ["something else"])


@pytest.mark.parametrize("name", bundle.FILES)
def test_a_changed_or_missing_file_is_named(tmp_path: Path, name: str) -> None:
    digest = tiny_bundle.write(tmp_path, trained_on=tiny_bundle.provenance())
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content + b"\n")
    with pytest.raises(BundleError, match=f"{name} was changed"):
        EcgQueryModel.from_bundle(str(tmp_path), digest)
    (tmp_path / name).unlink()
    with pytest.raises(BundleError, match=f"{name} (is missing|was changed)"):
        EcgQueryModel.from_bundle(str(tmp_path))


def test_embeddings_must_fit_the_phrasings(tmp_path: Path) -> None:
    vocabulary, texts, embeddings = tiny_bundle.queries()
    whitening = text.Whitening.fit(embeddings, shrinkage=0.5)
    with pytest.raises(ValueError, match="one for each of"):
        bundle.write_bundle(
            str(tmp_path),
            tiny_bundle.network(),
            tiny_bundle.RECIPE,
            vocabulary,
            texts,
            embeddings[1:],
            whitening,
            tiny_bundle.encoder(),
            {},
            None,
        )
    assert not list(tmp_path.iterdir())


def test_a_bundle_lives_on_object_storage_too(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    try:
        _, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="models")
        digest = tiny_bundle.write("s3://models/bundle")
        loaded = EcgQueryModel.from_bundle("s3://models/bundle", digest)
        assert loaded.score(tiny_bundle.ecgs(1), 100, ["lbbb"]).shape == (1, 1)
    finally:
        server.stop()


@given(st.text())
def test_folding_is_stable_and_ignores_case_marks_and_spaces(query: str) -> None:
    once = normalize_query(query)
    assert normalize_query(once) == once
    assert normalize_query(f"  {query} ?") == once


def test_an_encoder_alone_is_no_bundle(tmp_path: Path) -> None:
    vocabulary, texts, embeddings = tiny_bundle.queries()
    alone = SupremeModel(tiny_bundle.RECIPE.model, 384, tiny_bundle.RECIPE.shards.samples, "none")
    whitening = text.Whitening.fit(embeddings, shrinkage=0.5)
    parts = (vocabulary, texts, embeddings, whitening, tiny_bundle.encoder(), {}, None)
    with pytest.raises(BundleError, match="an encoder alone, which answers no text queries"):
        bundle.write_bundle(str(tmp_path), alone, tiny_bundle.RECIPE, *parts)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("head", ["common_space", "entities"])
def test_a_baseline_is_a_bundle_like_any_other(head: Head, tmp_path: Path) -> None:
    vocabulary, texts, embeddings = tiny_bundle.queries()
    whitening = text.Whitening.fit(embeddings, shrinkage=0.5)
    counts = [len(texts[entity.id]) for entity in vocabulary]
    owner = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    known = torch.from_numpy(whitening.apply(embeddings)), owner
    torch.manual_seed(0)
    samples = tiny_bundle.RECIPE.shards.samples
    model = SupremeModel(tiny_bundle.RECIPE.model, 384, samples, head, known).eval()
    objective = {"common_space": "merl", "entities": "linear"}[head]
    made = config.parse({**tiny_bundle.RECIPE.model_dump(), "training": {"objective": objective}})
    parts = (vocabulary, texts, embeddings, whitening, tiny_bundle.encoder(), {}, None)
    bundle.write_bundle(str(tmp_path), model, made, *parts)
    again = EcgQueryModel.from_bundle(str(tmp_path))
    ecgs = tiny_bundle.ecgs(3, samples)
    scores = again.score(ecgs, 100, ["atrial fibrillation", "no such finding"])
    assert scores.shape == (3, 2)
    if head == "entities":
        with torch.no_grad():
            logits = model.fusion.of_entities(model.encode(torch.from_numpy(ecgs)))
        expected = torch.sigmoid(logits[:, vocabulary.ids.index("atrial_fibrillation")])
        np.testing.assert_allclose(scores[:, 0], expected.numpy(), atol=1e-4)
