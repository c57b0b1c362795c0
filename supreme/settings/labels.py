"""Reports to entities: the sections ``[labels]`` and ``[llm]``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from supreme.settings.section import Section


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
