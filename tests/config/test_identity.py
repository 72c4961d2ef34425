"""Who vouches for people: half of it is refused with a sentence, at the start."""

from __future__ import annotations

from typing import Any

import pytest

from config.identity import GOOGLE, OidcProvider, oidc_provider, parse_limits
from config.settings import SettingsError, load_settings

SECRET = {"OIDC_CLIENT_SECRET": "s"}
OIDC = {"OIDC_ISSUER": "https://issuer.example/", "OIDC_CLIENT_ID": "c", **SECRET}
GOOGLE_OWN = {"GOOGLE_CLIENT_ID": "g", "GOOGLE_CLIENT_SECRET": "s"}


def provider(env: pytest.MonkeyPatch, **values: str) -> OidcProvider | None:
    for name, value in values.items():
        env.setenv(name, value)
    return oidc_provider(load_settings())


def test_nothing_is_nobody(settings: pytest.MonkeyPatch) -> None:
    assert provider(settings) is None


def test_the_seed_s_names_are_google(settings: pytest.MonkeyPatch) -> None:
    found = provider(settings, **GOOGLE_OWN, GOOGLE_REDIRECT_URI="http://localhost:8000/api/auth/callback")
    assert found is not None
    assert (found.issuer, found.client_id, found.client_secret) == (GOOGLE, "g", "s")
    assert found.discovery_url == "https://accounts.google.com/.well-known/openid-configuration"
    assert found.redirect_uri == "http://localhost:8000/api/auth/callback"


def test_any_issuer(settings: pytest.MonkeyPatch) -> None:
    found = provider(settings, **OIDC, **GOOGLE_OWN, PORT="9000")
    assert found is not None
    assert (found.issuer, found.client_id) == ("https://issuer.example", "c")
    assert found.discovery_url == "https://issuer.example/.well-known/openid-configuration"
    assert found.redirect_uri == "http://127.0.0.1:9000/api/auth/callback"


def test_an_address_alone_names_its_issuer(settings: pytest.MonkeyPatch) -> None:
    found = provider(settings, **GOOGLE_OWN, OIDC_DISCOVERY_URL="http://127.0.0.1:1/d")
    assert found is not None
    assert (found.issuer, found.discovery_url) == ("", "http://127.0.0.1:1/d")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"OIDC_ISSUER": "https://issuer.example"}, "OIDC_CLIENT_ID"),
        ({"OIDC_CLIENT_ID": "c"}, "OIDC_ISSUER"),
        ({"GOOGLE_CLIENT_ID": "g"}, "GOOGLE_CLIENT_SECRET"),
        ({"GOOGLE_CLIENT_SECRET": "g"}, "GOOGLE_CLIENT_ID"),
        ({**OIDC, "OIDC_ISSUER": "http://issuer.example"}, "https://"),
        ({**OIDC, "OIDC_DISCOVERY_URL": "file:///etc/passwd"}, "https://"),
        ({**OIDC, "AUTH_MODE": "required", "HOST": "0.0.0.0"}, "OIDC_REDIRECT_URI"),
        ({"AUTH_MODE": "required", "SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"AUTH_MODE": "required", "SECRET_KEY": "dev-secret-key-change-in-production"}, "SECRET_KEY"),
        ({"RATE_LIMITS": "POST /api/chat"}, "RATE_LIMITS"),
        ({"RATE_LIMIT_PER_MINUTE": "-1"}, "RATE_LIMIT_PER_MINUTE"),
        ({"LOGIN_TRIES": "0"}, "LOGIN_TRIES"),
    ],
)
def test_half_of_it_stops_the_start(settings: pytest.MonkeyPatch, values: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        provider(settings, **values)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    secret: Any = values.get("SECRET_KEY")
    assert secret is None or secret not in str(refused.value)


def test_limits_by_route() -> None:
    assert parse_limits(" post /api/chat = 30 ,GET /api/jobs/{job_id}=0,, ") == {
        "POST /api/chat": 30,
        "GET /api/jobs/{job_id}": 0,
    }
    for value in ("x", "POST=3", "POST api=3", "/api=3", "POST /api=x", "POST /api=-1", "=", "POST /api="):
        with pytest.raises(ValueError, match="must read like"):
            parse_limits(value)
