"""What every job shares: arguments, environment, Ray session, the result line and the exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn

from pydantic_core import to_jsonable_python

from supreme import config, log, redaction, storage
from supreme.runtime import interrupt
from supreme.runtime.environment import ENVIRONMENT, OWN_SESSION


@dataclass(frozen=True)
class Options:
    """Switches of the command line that are not part of the recipe."""

    dry_run: bool = False
    new: bool = False
    profile: bool = False
    """Of `jobs/pretrain.py` alone."""
    rollback: bool = False
    """This and the next: of `jobs/promote.py` alone."""
    history: bool = False


#: A job: a recipe and switches to its result (or plan): a mapping, a dataclass or a pydantic model.
Run = Callable[[config.Recipe, Options], object]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(redaction.redact(message))


def main(
    run: Run, description: str, argv: list[str] | None = None, switches: Mapping[str, str] | None = None
) -> NoReturn:
    """Parse the command line, run, print the result as the last line of stdout, and exit.

    ``switches`` are those of `Options` that only this job has, with their help. ``run(recipe, options)``
    returns the result (or, with ``--dry-run``, the plan); secrets in it are redacted.
    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 and 143 interrupted (Ctrl-C, SIGTERM).
    """
    parser = _Parser(description=description)
    parser.add_argument(
        "--config", default="demo", metavar="FILE", help="a recipe: .toml file or its name in jobs/recipes"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and do nothing")
    parser.add_argument("--new", action="store_true", help="start the stage afresh instead of resuming it")
    for name, meaning in (switches or {}).items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    parser.add_argument("--result-file", metavar="FILE", help="also write the result there")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    arguments = parser.parse_intermixed_args(argv)
    own = {} if os.environ.get("RAY_ADDRESS") else OWN_SESSION
    for name, value in (ENVIRONMENT | own).items():
        os.environ.setdefault(name, value)
    log.configure()
    interrupt.catch_sigterm()
    logger = log.get("job")
    try:
        recipe = config.load(arguments.config, arguments.overrides)
        switches_set = {field.name: getattr(arguments, field.name, False) for field in fields(Options)}
        redaction.hide_variable(recipe.llm.key_env)
        log.bind(recipe.name, Path(sys.argv[0]).stem)
        line = result_line(run(recipe, Options(**switches_set)))
        if arguments.result_file:
            storage.write_bytes(arguments.result_file, (line + "\n").encode())
    except KeyboardInterrupt:
        logger.error("interrupted: the same command goes on from what is done")
        interrupt.end()
    except config.ConfigError as error:
        logger.error("%s", error)
        sys.exit(2)
    except Exception as error:
        logger.error("%s", _summary(error))
        logger.debug("", exc_info=True)
        sys.exit(1)
    print(line, flush=True)
    sys.exit(0)


def result_line(result: object) -> str:
    """A job's result as one line of strict JSON: without secrets, and with null for what is no number."""
    plain = to_jsonable_python(result, inf_nan_mode="null", fallback=str)
    return json.dumps(redaction.redact_values(plain), allow_nan=False)


def _summary(error: Exception) -> str:
    """Kind and message; for a storage error or a full memory without what Ray adds."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, storage.StorageError):
        return f"{type(cause).__name__}: {cause}".splitlines()[0]
    if type(cause).__name__ == "OutOfMemoryError" and type(cause).__module__.startswith("ray."):
        # Tens of lines follow, about other processes of the node.
        return f"a node ran out of memory: {str(cause).splitlines()[0]}; the same command continues"
    return f"{type(error).__name__}: {error}"
