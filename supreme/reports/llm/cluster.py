"""vLLM on the Ray cluster itself, through ``ray.data.llm``: for a model that nobody serves.

vLLM is in no requirement of this package, as it brings CUDA and a PyTorch of its own: it belongs into the
image of the cluster's nodes. Where the model is served already, `llm.engine = "http"` is simpler. Each round
of questions loads the model anew, so the one about refused replies is not free (`llm.asks = 1` does without).
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from supreme import config, log
from supreme.config import ConfigError
from supreme.reports.llm import prompt
from supreme.reports.llm.dialect import SEED
from supreme.reports.llm.question import Question
from supreme.reports.llm.replies import Reply
from supreme.runtime import observability

#: Questions in a batch; eight batches are in the engine at once.
BATCH = 64
FLUSH_REPLIES = 256
_ERROR = "__inference_error__"

_log = log.get("reports.llm")

#: A row of Ray Data: column -> value.
Row = dict[str, Any]


class Engine:
    """vLLM engines on Ray; ``counts`` has the questions that they were given as "calls".

    Raises:
        ConfigError: vLLM is not installed, no model is named, or an option would run a model's own code.
    """

    def __init__(self, llm: config.LLM) -> None:
        if (spec := importlib.util.find_spec("vllm")) is None or spec.origin is None:  # a folder of this name
            raise ConfigError(
                'llm.engine="vllm" needs vLLM on every node: `pip install "ray[llm]"` of the cluster\'s Ray '
                'version in its image; or serve the model somewhere and take llm.engine="http"'
            )
        if not llm.model:
            raise ConfigError("llm.model: a Hugging Face id, or a folder that every node sees")
        if llm.engine_options.get("trust_remote_code"):
            raise ConfigError("llm.engine_options: trust_remote_code would run code that comes with a model")
        self.llm = llm
        self.counts: Counter[str] = Counter()

    def ask_all(
        self, questions: Sequence[Question], keep: Callable[[Reply], None], flush: Callable[[], None]
    ) -> dict[str, str]:
        """Ask everything; ``keep`` gets each reply, ``flush`` makes them last now and then and at the end.

        Returns:
            Statement id -> error of the engine, for the statements that it failed on.
        """
        import ray.data
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig

        processor = build_processor(
            vLLMEngineProcessorConfig(**engine_config(self.llm)),
            preprocess=lambda row: _request(row, self.llm),
            postprocess=_row,
        )
        failed: dict[str, str] = {}
        progress = log.Progress(_log, "statements", len(questions))
        try:
            rows = processor(ray.data.from_items([asdict(question) for question in questions]))
            for number, row in enumerate(rows.iter_rows(), 1):
                observability.add("supreme_llm_calls_total")
                if row[_ERROR]:
                    observability.add("supreme_llm_failures_total")
                    failed[row["statement_id"]] = row[_ERROR]
                    # Its kind only: the rest may repeat the report.
                    kind = row[_ERROR].partition(":")[0]
                    _log.warning(f"statement {row['statement_id']}: no answer: {kind}")
                else:
                    keep(to_reply(row, self.llm))
                if number % FLUSH_REPLIES == 0:
                    flush()
                progress.update(number, unanswered=len(failed))
        finally:
            flush()
        self.counts["calls"] += len(questions)
        return failed


def engine_config(llm: config.LLM) -> Mapping[str, Any]:
    """Arguments of ``ray.data.llm.vLLMEngineProcessorConfig``."""
    template = llm.extra.get("chat_template_kwargs")
    return {
        "model_source": llm.model,
        "engine_kwargs": dict(llm.engine_options),
        "concurrency": llm.engines,
        "batch_size": BATCH,
        "chat_template_stage": {"chat_template_kwargs": template} if template else True,
        "should_continue_on_error": True,
        "log_engine_metrics": False,  # needs a metrics port that not every Ray has
    }


def sampling(llm: config.LLM) -> Mapping[str, object]:
    """vLLM's sampling parameters of every question."""
    fields: dict[str, object] = {"temperature": llm.temperature, "seed": SEED, "max_tokens": llm.max_tokens}
    if llm.reply_format == "json_schema":
        fields["structured_outputs"] = {"json": json.dumps(prompt.load()["schema"])}
    elif llm.reply_format == "json_object":
        fields["structured_outputs"] = {"json_object": True}
    return fields | {name: value for name, value in llm.extra.items() if name != "chat_template_kwargs"}


def to_reply(row: Row, llm: config.LLM) -> Reply:
    """A reply; the engine does not say why it stopped, but a full length tells."""
    return Reply(
        statement_id=row["statement_id"],
        ask=row["ask"],
        content=row["generated_text"],
        finish="length" if row["num_generated_tokens"] >= llm.max_tokens else "stop",
        prompt_tokens=row["num_input_tokens"],
        completion_tokens=row["num_generated_tokens"],
        seconds=round(row["time_taken_llm"], 3),
    )


def _request(row: Row, llm: config.LLM) -> Row:
    return {"messages": Question(**row).messages(), "sampling_params": sampling(llm)}


def _row(row: Row) -> Row:
    numbers = ("num_input_tokens", "num_generated_tokens", "time_taken_llm")
    return {name: row[name] for name in ("statement_id", "ask", "generated_text", *numbers)}
