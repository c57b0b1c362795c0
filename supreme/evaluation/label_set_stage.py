"""Published and own label sets under each protocol: zero-shot, over prompt sets, and with probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from supreme import log, storage
from supreme.evaluation import benchmark_scores, label_benchmarks, protocols, splits, summary
from supreme.evaluation.benchmark_results import (
    BenchmarkResult,
    CorrectedLabels,
    ProtocolEvaluation,
)
from supreme.evaluation.benchmarks import CONDITIONS, Benchmark
from supreme.evaluation.bundle_scorer import Query
from supreme.evaluation.class_names import ClassName, class_names
from supreme.evaluation.datasets import UnseenPart
from supreme.evaluation.f1_mean import mean_f1
from supreme.evaluation.label_verdicts import Verdicts, read_verdicts
from supreme.evaluation.operating_points import operating_points
from supreme.evaluation.outputs import Outputs
from supreme.evaluation.probe_stage import ProbeStage
from supreme.evaluation.probes import CannotProbe
from supreme.evaluation.prompts import PromptSet, PromptSpread, prompt_sets, spread
from supreme.evaluation.protocols import Protocol
from supreme.evaluation.seen import ClassSeen, classes_seen
from supreme.evaluation.splits import SplitBenchmark
from supreme.evaluation.subjects import Subject
from supreme.metrics import rankings
from supreme.settings.evaluation import Evaluation

COLUMNS = tuple(dict.fromkeys(("record_id", "patient_id", "codes", *splits.COLUMNS)))

logger = log.get("evaluation")


@dataclass(frozen=True)
class LabelledPart:
    """A data set with its label sets."""

    part: UnseenPart
    table: pa.Table
    """Of all its records, with :data:`COLUMNS`."""
    benchmarks: Mapping[str, Benchmark]
    names: Mapping[str, dict[str, ClassName]]
    """Benchmark -> its classes in words."""


@dataclass(frozen=True)
class LabelSetStage:
    """What is asked about label sets, and what becomes of the answers."""

    settings: Evaluation
    parts: tuple[LabelledPart, ...]
    prompts: tuple[PromptSet, ...]
    protocols: tuple[Protocol, ...]
    seed: int
    folder: str
    """Of the evaluation, for labels and scores."""
    verdicts: Verdicts

    @classmethod
    def of(cls, settings: Evaluation, parts: Sequence[UnseenPart], seed: int, folder: str) -> LabelSetStage:
        """Read what the settings name.

        Raises:
            ConfigError: a protocol, a prompt set or a label set of one's own cannot be used.
        """
        own = tuple(label_benchmarks.read_own(settings.benchmarks, [part.data.name for part in parts]))
        labelled: list[LabelledPart] = []
        known: list[Benchmark] = []
        for part in parts:
            table = part.data.shards.table(COLUMNS)
            every = label_benchmarks.all_benchmarks(part.data.name, part.data.kind, table, own)
            known += every.values()
            every.pop(CONDITIONS, None)  # evaluated on every unseen record, whatever its split
            if every:
                names = {name: class_names(name, one.classes, own) for name, one in every.items()}
                labelled.append(LabelledPart(part, table, every, names))
        verdicts = read_verdicts(settings.corrections)
        verdicts.check(known)
        return cls(
            settings,
            tuple(labelled),
            tuple(prompt_sets(settings.prompts)),
            tuple(protocols.protocols(settings.protocols)),
            seed,
            folder,
            verdicts,
        )

    def question_sets(self) -> dict[str, dict[str, Query]]:
        """Question set -> class -> texts, for every benchmark and each prompt set that has texts for it.

        Raises:
            ConfigError: a prompt set has a text for no class of any benchmark.
        """
        result = {}
        for labelled in self.parts:
            for name, names in labelled.names.items():
                for prompts in self._prompts_for(name, names):
                    texts = prompts.queries(name, names)
                    result[_question_set(name, prompts)] = {
                        one: Query(of_class, verbatim=True) for one, of_class in texts.items()
                    }
        for prompts in self.prompts if result else ():
            if not any(name.endswith(f"/{prompts.name}") for name in result):
                prompts.queries("any benchmark", class_names("", ["any class"]))
        return result

    def _prompts_for(self, name: str, names: dict[str, ClassName]) -> list[PromptSet]:
        """The prompt sets with a text for some class of a benchmark; the first gives its numbers."""
        return [prompts for prompts in self.prompts if prompts.has_texts(name, names)]

    def evaluate(
        self,
        subject: Subject,
        probes: ProbeStage | None,
    ) -> dict[str, ProtocolEvaluation]:
        """Every benchmark under every protocol; probes under those that keep patients apart.

        Args:
            probes: None for a model without embeddings.
        """
        result = {}
        advice: dict[str, None] = {}
        for protocol in self.protocols:
            benchmarks: dict[str, BenchmarkResult] = {}
            for labelled in self.parts:
                scored = subject.outputs(labelled.part, protocol)
                for split in self._splits(labelled, protocol):
                    advice[split.advice(self.settings.split)] = None
                    file = f"benchmarks/{protocol.name}-{len(benchmarks):03d}.parquet"
                    one = self._benchmark(labelled, protocol, split, scored, subject, file)
                    if protocol.patient_safe and probes:
                        one = self._probed(one, labelled, protocol, split, probes)
                    name = split.benchmark.name
                    key = name if name not in benchmarks else f"{name} ({labelled.part.data.name})"
                    benchmarks[key] = one
            macros = {name: one.macro.auroc if one.macro else None for name, one in benchmarks.items()}
            result[protocol.name] = ProtocolEvaluation(
                version=protocol.version,
                title=protocol.title,
                benchmarks=benchmarks,
                means=tuple(protocols.means(protocol, macros)),
            )
        for line in filter(None, advice):
            logger.warning(line)
        return result

    def _probed(
        self,
        one: BenchmarkResult,
        labelled: LabelledPart,
        protocol: Protocol,
        split: SplitBenchmark,
        probes: ProbeStage,
    ) -> BenchmarkResult:
        unseen = set(labelled.part.benchmark.record_ids)
        try:
            comparison = probes.compare(labelled.part, protocol, split, self.settings.split, unseen)
        except CannotProbe as error:
            return one.model_copy(update={"not_probed": str(error)})
        return one.model_copy(update={"probes": comparison})

    def _splits(self, labelled: LabelledPart, protocol: Protocol) -> list[SplitBenchmark]:
        kind = labelled.part.data.kind
        return protocols.split_benchmarks(
            protocol, labelled.benchmarks, kind, labelled.table, self.settings.splits
        )

    def _benchmark(
        self,
        labelled: LabelledPart,
        protocol: Protocol,
        split: SplitBenchmark,
        outputs: Outputs,
        subject: Subject,
        file: str,
    ) -> BenchmarkResult:
        name = split.benchmark.name
        unseen = set(labelled.part.benchmark.record_ids)
        whole = split.part(self.settings.split)
        test = whole.select(np.array([record in unseen for record in whole.record_ids], bool))
        facts = self._facts(labelled, split, len(whole.record_ids) - len(test.record_ids))
        names = labelled.names[name]
        usable = self._prompts_for(name, names)
        # A model that cannot be queried scores classes by their names.
        is_scored = usable if subject.loaded is not None else set(subject.classes) & set(test.classes)
        if not outputs.covers(test.record_ids) or not is_scored:
            return facts
        main, *others = usable or self.prompts
        seen: dict[str, ClassSeen] = {}
        if subject.loaded is not None:
            seen = classes_seen(subject.loaded.queries, names, main.queries(name, names))
        scores = {main.name: self._scores(main, subject, test, outputs)}
        scores |= {one.name: self._scores(one, subject, test, outputs) for one in others if subject.loaded}
        validation = splits.patient_safe(split).part("validation")
        if not outputs.covers(validation.record_ids):
            validation = validation.select(np.zeros(len(validation.record_ids), bool))
        validation_scores = self._scores(main, subject, validation, outputs)
        is_tuned = self.settings.split == "test" and bool(validation.record_ids)
        zero_shot = summary.summarize(
            test,
            test,
            scores[main.name],
            {column for column, one in seen.items() if one.by_name},
            max(1, protocol.min_positive_patients),
            operating_points=(
                operating_points(validation, validation_scores, test, scores[main.name]) if is_tuned else None
            ),
        )
        fitted = (test, scores[main.name])
        if protocol.threshold_from != "test":
            fitted = (validation, validation_scores)
        benchmark_scores.write(storage.join(self.folder, file), test, scores[main.name])
        return facts.model_copy(
            update={
                "scores": file,
                "prompts": main.name if subject.loaded is not None else "",
                "zero_shot": zero_shot,
                "corrected": self._corrected(protocol, test, scores[main.name]),
                "f1": mean_f1(protocol, test, scores[main.name], *fitted),
                "seen": seen,
                "spread": self._spread(scores, test) if len(scores) > 1 else None,
            }
        )

    def _corrected(self, protocol: Protocol, test: Benchmark, scores: np.ndarray) -> CorrectedLabels | None:
        """The mean with a cardiologist's labels; None where there are none for this benchmark."""
        corrected, labels = self.verdicts.apply(test)
        if not labels:
            return None
        result = summary.summarize(corrected, corrected, scores, (), max(1, protocol.min_positive_patients))
        return CorrectedLabels(labels=labels, macro=result.macro["headline"])

    def _facts(self, labelled: LabelledPart, split: SplitBenchmark, left_out: int) -> BenchmarkResult:
        """What there is of a benchmark, before anything is scored."""
        return BenchmarkResult(
            dataset=labelled.part.data.name,
            version=split.benchmark.version,
            split=self.settings.split,
            split_rule=split.rule,
            available=split.describe(self.settings.split),
            left_out=left_out,
            unknown_codes=dict(split.benchmark.unknown_codes),
            unannotated=split.benchmark.unannotated,
            other_labels=len(split.other_labels),
        )

    def _scores(
        self, prompts: PromptSet, subject: Subject, benchmark: Benchmark, outputs: Outputs
    ) -> np.ndarray:
        """Scores ``(N, C)``; NaN for a class that is not scored."""
        values = outputs.of(benchmark.record_ids, benchmark.name)
        return subject.scores(_question_set(benchmark.name, prompts), benchmark.classes, values)

    def _spread(self, scores: Mapping[str, np.ndarray], benchmark: Benchmark) -> PromptSpread:
        aurocs: dict[str, dict[str, float | None]] = {}
        for prompts, values in scores.items():
            aurocs[prompts] = {
                one: float(rankings.auroc(rankings.rank(values[:, c], benchmark.labels[:, c]))[0])
                for c, one in enumerate(benchmark.classes)
                if np.isfinite(values[:, c]).all()
            }
        return spread(aurocs, benchmark.classes)


def _question_set(benchmark: str, prompts: PromptSet) -> str:
    return f"{benchmark}/{prompts.name}"
