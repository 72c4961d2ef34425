"""What goes wrong at a provider, in our words: what may pass, how long it asks to be left alone, what it said."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from config.catalogue import ProviderSpec
from config.errors import ProviderRefused

# Nobody means a longer pause than a day; numbers beyond it are broken, or overflow later.
_LONGEST_PAUSE_S = 86_400.0
_MAX_SENTENCE = 300
# Keys and tokens, should a provider's error sentence quote one.
_SECRET = re.compile(r"\b(?:sk|xai|gsk|pk|rk)-[\w*.\-]{4,}|\bAIza[\w\-]{10,}|(?i:\bbearer\s+)[\w.\-*~+/=]{6,}")
_PART_OF_A_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class TryAgain(Exception):
    """What may pass by itself: too many requests, an overloaded server, a connection that was cut.
    `after_s`: when the provider wants to be asked again, if it said so."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


def retry_after_s(value: str | None) -> float | None:
    """Retry-After as providers send it: seconds, or an HTTP date. None when it says nothing usable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), _LONGEST_PAUSE_S)


def asked_pause_s(headers: Mapping[str, str]) -> float | None:
    """The pause that a refusal's headers ask for, in seconds: in OpenAI's ways, or by Retry-After."""
    if (milliseconds := retry_after_s(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    if (seconds := retry_after_s(headers.get("retry-after"))) is not None:
        return seconds
    spent = [kind for kind in ("requests", "tokens") if headers.get(f"x-ratelimit-remaining-{kind}") == "0"]
    resets = [_duration_s(headers.get(f"x-ratelimit-reset-{kind}", "")) for kind in spent]
    return max((reset for reset in resets if reset is not None), default=None)


def _duration_s(text: str) -> float | None:
    """6m0s, 1.5s, 20ms."""
    if not re.fullmatch(f"(?:{_PART_OF_A_DURATION.pattern})+", text):
        return None
    return min(sum(float(n) * _UNIT_S[unit] for n, unit in _PART_OF_A_DURATION.findall(text)), _LONGEST_PAUSE_S)


def sentence(text: object) -> str:
    """A provider's own words, short, in one line and without anything that looks like a key."""
    words = _SECRET.sub("…", " ".join(str(text).split()))
    if len(words) > _MAX_SENTENCE:
        words = f"{words[:_MAX_SENTENCE].rstrip()}…"
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def key_refused(provider: ProviderSpec) -> ProviderRefused:
    setting = "OPENAI_COMPATIBLE_API_KEY" if provider.id == "compatible" else f"{provider.id.upper()}_API_KEY"
    return ProviderRefused(f"{provider.label} did not accept the key ({setting}).")
