"""Exported programs as models: equal to torch, by their convention, and refused with the reason."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import program_files
import pyarrow as pa
import pytest
import torch
from torch import nn

from supreme import ecg
from supreme.config import ConfigError
from supreme.inference import engine
from supreme.inference.any_model import open_model
from supreme.inference.convention_apply import apply
from supreme.inference.engine import Signal, Unit
from supreme.inference.exported import ExportedModel
from supreme.inference.foreign_convention import open_convention
from supreme.inference.program import ExportedProgram
from supreme.inference.program_file import read_program
from supreme.models.encoders import build
from supreme.settings.model import Model

pytestmark = pytest.mark.unit

CLASSES = ("AF", "SB", "LBBB")


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.lstm = (
            nn.GRU(12, 8, batch_first=True, bidirectional=True),
            nn.LSTM(16, 4, batch_first=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(x.transpose(1, 2))
        y, _ = self.lstm(y)
        return y[:, -1]


class Attending(nn.Module):
    """Class token, transformer, and a block without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv1d(12, 16, 10, 10)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.register_buffer("scale", torch.full((1,), 0.5))
        self.steps = torch.arange(21.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            mean = x.mean(-1, keepdim=True)
        tokens = self.patch(x - mean).transpose(1, 2)
        tokens = torch.cat([torch.zeros(x.shape[0], 1, 16), tokens], 1) + self.steps[:, None] * self.scale
        return self.layer(tokens).flatten(1).chunk(2, dim=1)[0]


class Spectral(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, leads, samples = x.shape
        spectrum = torch.fft.rfft(x, n=256) * torch.linspace(0, 1, 129)
        y = torch.fft.irfft(spectrum, n=256)[..., :samples].reshape(batch * leads, -1).view(batch, leads, -1)
        return (y + torch.arange(samples, dtype=x.dtype)).amax(-1)


class Encoder(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.encoder = build(Model(encoder=name, width=16, depth=2 if name == "vit1d" else None), 200)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x).mean(1)


MODELS = {
    "convolution": program_files.Pooled,
    "recurrent": Recurrent,
    "attention": Attending,
    "spectral": Spectral,
    "resnet1d": lambda: Encoder("resnet1d"),
    "vit1d": lambda: Encoder("vit1d"),
}


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        *[(name, None) for name in ("convolution", "attention", "spectral", "resnet1d")],
        *[(name, 4) for name in ("attention", "recurrent", "vit1d")],
    ],
)
@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_a_program_gives_the_bits_that_torch_gives(tmp_path: Path, name: str, batch: int | None) -> None:
    torch.manual_seed(1)
    model = MODELS[name]()
    toml = program_files.description(rate_hz=100)
    uri = program_files.export(tmp_path / "m.pt2", model, batch=batch, toml=toml)
    exported = ExportedModel(uri)
    x = torch.randn(4, 12, 200)
    with torch.inference_mode():
        expected = torch.export.load(uri).module()(x).numpy()
        assert np.allclose(expected, model(x).numpy(), atol=1e-5)
    assert exported.width == expected.shape[1]
    assert exported(x.numpy()).tobytes() == expected.tobytes()
    # Seven records in batches of four, the last filled up.
    seven = np.concatenate([x.numpy(), x.numpy()[:3]])
    assert np.allclose(exported(seven), np.concatenate([expected, expected[:3]]), atol=1e-5)
    assert exported(seven[:0]).shape == (0, exported.width)


def test_a_program_keeps_no_intermediate_results(tmp_path: Path) -> None:
    """A block of 30 layers needs the memory of few of them."""
    layers = nn.Sequential(*[nn.Sequential(nn.Conv1d(12, 12, 1), nn.ReLU()) for _ in range(30)])
    model = nn.Sequential(layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())
    uri = program_files.export(tmp_path / "m.pt2", model, toml=program_files.description())
    program = ExportedProgram(read_program(uri), uri)
    alive: list[int] = []
    store = dict.__setitem__

    class Watched(dict):  # type: ignore[type-arg]
        def __setitem__(self, key: str, value: object) -> None:
            store(self, key, value)
            alive.append(
                sum(isinstance(v, torch.Tensor) and v.ndim == 3 and v.shape[2] > 1 for v in self.values())
            )

    values = Watched(program._tensors)
    values[program.archive.input_name] = torch.randn(2, 12, 200)
    program._run(program._plan, values)
    assert len(alive) > 60
    assert max(alive) <= 3


def test_merl_convention_hands_over_what_numpy_gives(tmp_path: Path) -> None:
    """The program returns its input, so that every sample of it can be compared."""

    class Identity(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)

    toml = 'output = "embedding"\nconvention = "merl"\n'
    uri = program_files.export(tmp_path / "m.pt2", Identity(), (12, 5000), toml=toml)
    uv = np.random.default_rng(0).integers(-2000, 2000, (3, 12, 5000)).astype(np.int16)
    mv = uv / 1000.0
    expected = (mv - mv.min((1, 2), keepdims=True)) / (
        mv.max((1, 2), keepdims=True) - mv.min((1, 2), keepdims=True) + 1e-8
    )
    expected = expected.astype(np.float32)[:, [0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]]
    model = open_model(uri)
    assert model.scorer()(ecg.to_millivolts(uv), 500).tobytes() == expected.tobytes()
    assert model.prepare(Signal(uv[1], 500)).tobytes() == expected[1].tobytes()
    assert model.notes(5000, 500) == ()


def test_eight_leads_and_another_rate_go_through_the_convention(tmp_path: Path) -> None:
    leads = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
    toml = program_files.description(CLASSES, rate_hz=250, seconds=4, leads=leads)
    network = program_files.Pooled(8)
    uri = program_files.export(tmp_path / "m.pt2", network, (8, 1000), toml=toml)
    model = open_model(uri)
    signal = np.random.default_rng(0).normal(0, 0.5, (5, 12, 500)).astype(np.float32)
    assert model.classes == CLASSES
    scores = model.scorer()(signal[:, :, :400], 100)
    with torch.inference_mode():
        inputs = np.stack([apply(model.convention, record[:, :400], 100).values for record in signal])
        expected = network(torch.from_numpy(inputs)).numpy()
    assert np.allclose(scores, expected, atol=1e-6)
    notes = ("up-sampled from 100 to 250 Hz", "the model takes no III, aVR, aVL, aVF")
    assert model.notes(400, 100) == notes


def test_long_records_are_averaged_over_windows(tmp_path: Path) -> None:
    uri = program_files.export(
        tmp_path / "m.pt2", program_files.Pooled(), toml=program_files.description(CLASSES)
    )
    model = open_model(uri)
    signal = np.random.default_rng(0).normal(0, 0.5, (2, 12, 600)).astype(np.float32)
    score = model.scorer()
    thirds = [score(signal[:, :, first : first + 200], 100) for first in (0, 200, 400)]
    assert np.allclose(score(signal, 100), np.mean(thirds, axis=0), atol=1e-6)
    assert model.notes(600, 100) == ("averaged over windows of 2 s",)


@dataclass(frozen=True)
class InMemory:
    """Records of the engine."""

    signals: tuple[np.ndarray, ...]

    @property
    def units(self) -> list[Unit]:
        return [Unit("a", len(self.signals))]

    def read(self, index: int) -> tuple[pa.Table, list[Signal | None]]:
        ids = [f"r{i}" for i in range(len(self.signals))]
        return pa.table({"record_id": ids}), [Signal(signal, 100) for signal in self.signals]


def test_the_engine_gives_what_the_model_gives(tmp_path: Path) -> None:
    """Records of several lengths, in batches that the engine fills up, on a program of a fixed batch."""
    uri = program_files.export(
        tmp_path / "m.pt2", program_files.Pooled(), batch=5, toml=program_files.description(CLASSES)
    )
    model = open_model(uri)
    rng = np.random.default_rng(0)
    signals = tuple(rng.normal(0, 500, (12, length)).astype(np.int16) for length in (200, 150, 610, 200))
    reader = InMemory(signals)
    engine.score(reader, pickle.loads(pickle.dumps(model)), str(tmp_path / "parts"), "test")
    (part,) = engine.read_parts(reader, str(tmp_path / "parts"))
    expected = np.concatenate([model.scorer()(signal[None], 100) for signal in signals])
    assert np.allclose(engine.outputs_of(part), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        (
            program_files.description(CLASSES, rate_hz=500),
            r"takes \(any, 12, 200\), but its convention 'test' gives \(B, 12, 1000\): 12 leads, 2 s at 500",
        ),
        (
            program_files.description(CLASSES, leads=("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")),
            r"takes \(any, 12, 200\), but its convention 'test' gives \(B, 8, 200\): 8 leads",
        ),
        (program_files.description(CLASSES[:2]), r"gives \(any, 3\), but its .toml file names 2 classes"),
        (program_files.description(("AF", "AF", "SB")), "class 'AF' is named twice"),
        ('output = "scores"\nconvention = "merl"', "needs classes"),
        ('output = "embedding"\nclasses = ["AF"]\nconvention = "merl"', "has no classes"),
        ('output = "embedding"\nconvention = "marl"', "no input convention 'marl'"),
        ('output = "embedding"\nconvention = "mine.toml"', r"mine.toml: not found"),
        ('output = "embedding"', "m.toml: convention: Field required"),
        ("output = 3", "output"),
        (program_files.description(CLASSES, leads=("I", "V9")), "unknown lead 'V9'"),
    ],
)
def test_what_does_not_fit_is_told_with_both_sides(tmp_path: Path, toml: str, problem: str) -> None:
    uri = program_files.export(tmp_path / "m.pt2", program_files.Pooled(), toml=toml)
    with pytest.raises(ConfigError, match=problem):
        open_model(uri)


def test_a_convention_may_stand_in_a_file_beside(tmp_path: Path) -> None:
    toml = program_files.description(CLASSES)
    table = toml.partition("[convention]")[2]
    (tmp_path / "mine.toml").write_text(table)
    head = f'{toml.partition("[convention]")[0]}convention = "mine.toml"\n'
    uri = program_files.export(tmp_path / "m.pt2", program_files.Pooled(), toml=head)
    assert open_model(uri).convention.name == "test"
    (tmp_path / "m.toml").unlink()
    with pytest.raises(ConfigError, match=r"m.toml: not found"):
        open_model(uri)


class InPlace(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x -= 1
        return x.mean(-1)


def test_a_program_that_works_in_place_leaves_its_input_alone(tmp_path: Path) -> None:
    uri = program_files.export(tmp_path / "m.pt2", InPlace(), toml=program_files.description())
    inputs = np.ones((2, 12, 200), np.float32)
    inputs.flags.writeable = False
    model = ExportedModel(uri)
    assert np.array_equal(model(inputs), np.zeros((2, 12)))
    assert np.array_equal(model(inputs), np.zeros((2, 12)))
    assert inputs.min() == 1


class Two(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean(-1), x.amax(-1)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x.mean(-1) + self.calls


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(x.mean(-1))


@pytest.mark.parametrize(
    ("model", "train", "problem"),
    [
        (Counting(), False, r"changes (its buffers|the model's own \w+).*call model.eval\(\)"),
        (Two(), False, "takes 1 inputs and gives 2 outputs: wrap the model"),
        (program_files.Pooled(), True, r"call model.eval\(\) before the export"),
        (Noisy(), True, r"dropout.default is in training mode.*call model.eval\(\) before the export"),
        (nn.Flatten(0), False, r"gives \(any\), not \(B, D\) or \(B, C\)"),
        (nn.ReLU(), False, r"gives \(any, 12, 200\), not \(B, D\)"),
    ],
)
def test_a_program_of_another_kind_is_refused(
    tmp_path: Path, model: nn.Module, train: bool, problem: str
) -> None:
    uri = program_files.export(tmp_path / "m.pt2", model, toml=program_files.description(), train=train)
    with pytest.raises(ConfigError, match=problem):
        open_model(uri)


def test_a_model_that_gives_no_number_is_told(tmp_path: Path) -> None:
    network = program_files.Pooled()
    network.head.weight.data[0, 0] = float("nan")
    uri = program_files.export(tmp_path / "m.pt2", network, toml=program_files.description(CLASSES))
    with pytest.raises(ValueError, match=r"record 0: .*m.pt2 gives no finite number"):
        open_model(uri).scorer()(np.ones((1, 12, 200), np.float32), 100)


class OwnModel:
    """A class of somebody's own, in numpy."""

    convention = "merl"
    classes = ("low", "high")

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return np.stack([inputs.min((1, 2)), inputs.max((1, 2))], axis=1)


class WithoutConvention:
    classes = ("a",)


class OfOtherShape(OwnModel):
    classes = ("low", "high", "mean")


def test_a_class_is_imported_only_where_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"{__name__}:OwnModel"
    with pytest.raises(ConfigError, match=r"is code outside this package.*SUPREME_MODELS"):
        open_model(own)
    monkeypatch.setenv("SUPREME_MODELS", f"other:Class, {own}")
    model = open_model(own)
    assert model.convention == open_convention("merl")
    signal = np.random.default_rng(0).normal(size=(2, 12, 5000)).astype(np.float32)
    assert np.allclose(model.scorer()(signal, 500), [[0, 1], [0, 1]], atol=1e-6)
    with pytest.raises(ConfigError, match="is code outside this package"):
        open_model(f"{__name__}:WithoutConvention")


@pytest.mark.parametrize(
    ("name", "problem"),
    [("WithoutConvention", "has no `convention`"), ("Absent", "cannot be imported"), ("OfOtherShape", "")],
)
def test_a_class_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch, name: str, problem: str) -> None:
    spec = f"{__name__}:{name}"
    monkeypatch.setenv("SUPREME_MODELS", spec)
    if problem:
        with pytest.raises(ConfigError, match=problem):
            open_model(spec)
        return
    with pytest.raises(ValueError, match=r"shape \(1, 2\) for 1 inputs, not \(1, 3\)"):
        open_model(spec).scorer()(np.random.default_rng(0).normal(size=(1, 12, 5000)), 500)


def test_a_spec_that_is_no_model_is_told() -> None:
    with pytest.raises(ConfigError, match=r"'weights.pth' is no model: give X.pt2"):
        open_model("weights.pth")
