"""Reports to entities: the sections ``[labels]`` and ``[llm]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from supreme.settings.section import Count, JsonTable, Names, Section, at_most
from supreme.settings.uris import ServerUri, Uri

Price = Annotated[float, Field(ge=0), at_most(1_000_000, "no endpoint asks that much")]


class Labels(Section):
    """Extraction of entities from reports, and the vocabulary of queries."""

    min_count: Count = Field(default=20, ge=1)
    """Entities with fewer records in the pre-training data do not become queries."""
    held_out: Names = ()
    """Ids of entities that are kept out of pre-training and asked as unseen queries."""
    extractor: Literal["rules", "llm"] = "rules"
    """`llm`: the language model of `[llm]`; statements without a valid reply fall back to the rules."""
    corrections: Uri = ""
    """CSV of statement, entity, assertion (`present`, `absent`, `uncertain`, `none`) that overrides any
    extractor."""
    propagate: bool = True
    """A present or uncertain entity makes its parents present or uncertain."""
    link_threshold: float = Field(default=0.85, ge=0.8, le=1)
    """Least cosine at which a name from the language model is linked to a known name of the same side, wall
    and degree (`llm` only)."""
    umls: Uri = ""
    """Your MRCONSO.RRF: adds CUIs to the vocabulary and, for `llm`, synonyms for linking."""
    compare_with: Uri = ""
    """An earlier label folder, to which the audit compares this one."""
    audit_samples: Annotated[int, at_most(10_000, "a browser cannot show more on one page")] = Field(
        default=40, ge=0
    )
    """Reports with highlighted findings in the audit, drawn by the seed."""


class LLM(Section):
    """The language model that reads statements where `labels.extractor` is "llm"."""

    engine: Literal["http", "vllm"] = "http"
    """`http`: an OpenAI-compatible endpoint. `vllm`: vLLM on the Ray cluster; needs `ray[llm]`."""
    url: ServerUri = "http://127.0.0.1:8000/v1"
    """Base address of the endpoint; requests go to `<url>/chat/completions`."""
    model: str = ""
    """The endpoint's name of the model; for `vllm` a Hugging Face id or a folder that every node sees."""
    key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)
    """Name of the environment variable that holds the API key; it may be unset where none is needed."""
    reply_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    """How the endpoint is asked for JSON; if it refuses, the next weaker format is used."""
    temperature: Annotated[float, at_most(10, "replies would be random words")] = Field(default=0.0, ge=0)
    """Sampling temperature."""
    max_tokens: Annotated[int, at_most(1_000_000, "no model writes a longer reply")] = Field(
        default=1024, gt=0
    )
    """Most tokens of a reply; a longer one is cut off, and refused."""
    extra: JsonTable = Field(default_factory=dict)
    """Further parameters of a request, such as `{chat_template_kwargs = {enable_thinking = false}}`; no place
    for secrets."""
    engine_options: JsonTable = Field(default_factory=dict)
    """Options of the vLLM engine, such as `{tensor_parallel_size = 4}` (`vllm` only)."""
    engines: Annotated[int, at_most(10_000, "each holds a GPU")] = Field(default=1, gt=0)
    """Replicas of the model on the cluster (`vllm` only)."""
    concurrency: Annotated[int, at_most(10_000, "each is an open connection")] = Field(default=32, gt=0)
    """Requests in flight (`http` only, as are the limits below)."""
    requests_per_minute: Count = Field(default=0, ge=0)
    """Rate limit; 0: none."""
    tokens_per_minute: Count = Field(default=0, ge=0)
    """Rate limit of prompt and reply tokens together; 0: none."""
    timeout_s: Annotated[float, at_most(86_400, "nobody waits a day for a reply")] = Field(
        default=120.0, gt=0
    )
    """Time limit of one request."""
    retries: Annotated[int, at_most(1000, "waits grow to a minute each")] = Field(default=6, ge=0)
    """Retries after 429, 5xx, a time-out or a lost connection, with waits of about 1, 2, 4 ... 60 s."""
    asks: Annotated[int, at_most(100, "a model that is refused so often does not learn from it")] = Field(
        default=2, ge=1
    )
    """How often a statement is asked, over all runs, while its replies are refused."""
    max_failed_fraction: float = Field(default=0.05, ge=0, le=1)
    """The stage fails when a larger share of the statements has no valid reply."""
    cache: Uri = ""
    """Folder of all replies; `<root>/llm` when empty."""
    price_per_million_input: Price = 0.0
    """Price of a million prompt tokens, for the plan."""
    price_per_million_output: Price = 0.0
    """Price of a million reply tokens, for the plan."""
