"""Where the endpoint is and how to call it, without a secret in any message."""

from __future__ import annotations

import ipaddress
import json
import os
from difflib import SequenceMatcher
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from supreme import __version__, config, log
from supreme.config import ConfigError

MAX_SHOWN = 300
#: A server that repeats this many characters of a report in its error is not quoted.
MAX_REPEATED = 16


class Address:
    """URL of the calls, headers with the key from the environment, and the proxy of the environment.

    Raises:
        ConfigError: no http(s) URL, a URL with a password or query in it, or no model.
    """

    def __init__(self, llm: config.LLM) -> None:
        parts = urlsplit(llm.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("llm.url: give http://HOST:PORT/v1 or https://HOST/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                "llm.url holds a login or parameters: put the key into the environment variable "
                f"that llm.key_env names ({llm.key_env})"
            )
        if not llm.model:
            raise ConfigError("llm.model: name the model that the endpoint serves")
        self.llm = llm
        self.host = parts.hostname
        self.url = llm.url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self._key = os.environ.get(llm.key_env, "").strip()
        if not self._key.isprintable() or not self._key.isascii():
            raise ConfigError(f"{llm.key_env}: the key has characters that no key has")
        self.proxy = None if proxy_bypass(self.host) else getproxies().get(parts.scheme)
        if self._key and parts.scheme == "http" and not _is_local(self.host):
            log.get("reports.llm").warning(f"{self.host}: the key travels unencrypted; prefer https://")

    def headers(self) -> dict[str, str]:
        """Headers of every call, with the key if there is one."""
        key = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return {"Content-Type": "application/json", "User-Agent": f"supreme/{__version__}", **key}

    def remedy(self, status: int, quoted: str, location: str) -> ConfigError | None:
        """What is wrong with the configuration, if this status says that something is."""
        llm = self.llm
        if status in (401, 403):
            unset = "" if self._key else " (it is not set)"
            text = f"refuses the key ({status}): set {llm.key_env}{unset} to one that may use {llm.model!r}"
        elif 300 <= status < 400:
            text = f"redirects to {location!r}: put the final address into llm.url; a key is sent to no other"
        elif status in (404, 405, 410):
            text = (
                f"not found ({status}{quoted and ': ' + quoted}): check llm.url, which mostly ends in /v1, "
                f"and llm.model={llm.model!r}"
            )
        elif status == 402:
            text = f"asks for payment ({status}{quoted and ': ' + quoted})"
        else:
            return None
        return ConfigError(f"{self.url}: {text}")

    def quote(self, text: str, statement: str) -> str:
        """What a server said, short, without the key and without the report."""
        shown = " ".join(text.split())
        if self._key:
            shown = shown.replace(self._key, "***")
        same = SequenceMatcher(None, shown, statement, autojunk=False).find_longest_match()
        if same.size >= min(MAX_REPEATED, max(len(statement), 1)):
            return "(its message repeats the report)"
        return shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + "..."


def complaint(body: bytes) -> tuple[str, str]:
    """The message of an error in OpenAI's form (or FastAPI's), and the code and parameter that it names."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    error = value.get("error", value) if isinstance(value, dict) else {}
    if isinstance(error, str):
        return error, ""
    fields = error if isinstance(error, dict) else {}
    message = fields.get("message") or fields.get("detail") or ""
    names = (fields.get(key) for key in ("param", "code", "type"))
    return message if isinstance(message, str) else json.dumps(message), " ".join(
        name for name in names if isinstance(name, str)
    )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
