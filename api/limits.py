"""How often somebody may ask: per person and route, and per name and address where passwords are tried.

Answers carry `RateLimit` and `RateLimit-Policy` as draft-ietf-httpapi-ratelimit-headers has them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from litestar.routes import BaseRoute
from litestar.types import Scope

from config.errors import TooManyRequests
from config.settings import Settings, SettingsError
from storage import rates
from storage.rates import Rate, Taken

_USUAL_PER_MINUTE = 1200  # 20 a second: a busy client, not a runaway one
_WIDER = 10  # for a name from anywhere, and for an address with any name

_TYPE = re.compile(r":\w+(?=})")  # {job_id:str} is {job_id} in the documentation

Headers = dict[str, str]


def count(scope: Scope, who: str, settings: Settings) -> Headers:
    """The answer's headers. Raises TooManyRequests. Nothing is counted while Redis is away."""
    route = _route(str(scope.get("method", "GET")), scope["path_template"])
    limit = _limit(route, settings)
    if not limit:
        return {}
    rate = Rate(limit, 60.0)
    taken = rates.take(f"{who}:{route}", rate)
    if taken is None:
        return {}
    headers = _headers(taken, rate)
    if not taken.passed:
        detail = f"You may do this {limit} times a minute; wait a moment."
        raise TooManyRequests(detail, headers={**headers, **_retry(taken)})
    return headers


def _limit(route: str, settings: Settings) -> int:
    usual = settings.rate_limit_per_minute
    if usual is None:
        usual = _USUAL_PER_MINUTE if settings.auth_mode == "required" else 0
    return settings.rate_limits.get(route, usual)


def _headers(taken: Taken, rate: Rate) -> Headers:
    return {
        "RateLimit-Policy": f'"route";q={rate.limit};w={rate.window_s:.0f}',
        "RateLimit": f'"route";r={taken.remaining};t={math.ceil(taken.reset_s)}',
    }


def _retry(taken: Taken) -> Headers:
    return {"Retry-After": str(max(1, math.ceil(taken.retry_after_s)))}


def check_routes(routes: Iterable[BaseRoute], settings: Settings) -> None:
    """Raises SettingsError for a limit that no request would ever meet."""
    known = {_route(method, route.path) for route in routes for method in getattr(route, "methods", ())}
    for route in settings.rate_limits.keys() - known:
        raise SettingsError(f"RATE_LIMITS: there is no {route}; /openapi.json has the addresses as they are named.")


def _route(method: str, path: str) -> str:
    return f"{method} {_TYPE.sub('', path)}"


def address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "somewhere"


# --- passwords


def begin_login(username: str, where: str, settings: Settings) -> None:
    """Count a try before it is made, so that a thousand at once are no way around. Raises TooManyRequests."""
    for key, rate in _login_rates(username, where, settings):
        taken = rates.take_surely(key, rate)
        if not taken.passed:
            raise TooManyRequests("Too many wrong passwords; wait before you try again.", headers=_retry(taken))


def forgive_login(username: str, where: str, settings: Settings) -> None:
    """It was the right one: only wrong ones count."""
    for key, rate in _login_rates(username, where, settings):
        rates.take_surely(key, rate, cost=-1)


def _login_rates(username: str, where: str, settings: Settings) -> list[tuple[str, Rate]]:
    name, window_s = username.strip().lower(), settings.login_window_min * 60
    narrow, wide = Rate(settings.login_tries, window_s), Rate(settings.login_tries * _WIDER, window_s)
    return [(f"login:{where}:{name}", narrow), (f"login:{name}", wide), (f"login-from:{where}", wide)]


def spend_once(key: str, window_s: float) -> bool:
    """True the first time within the window."""
    return rates.take_surely(f"once:{key}", Rate(1, window_s)).passed
