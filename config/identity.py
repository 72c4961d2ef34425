"""Who vouches for people from outside: one OpenID Connect issuer, Google or any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from config.settings import Settings

GOOGLE = "https://accounts.google.com"
MIN_SECRET_CHARS = 32
# What the seeds wrote where a secret belongs; everybody knows it.
_KNOWN_SECRETS = ("dev-secret-key-change-in-production",)


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """`issuer` is "" where only the address of the discovery document was given: then that document names it."""

    issuer: str
    discovery_url: str
    client_id: str
    client_secret: str
    redirect_uri: str
    scopes: str


def oidc_provider(settings: Settings) -> OidcProvider | None:
    """None when nothing of it is set. Raises ValueError for half of it."""
    google = bool(settings.google_client_id)
    client_id = settings.oidc_client_id or settings.google_client_id
    secret = (
        settings.oidc_client_secret if settings.oidc_client_id else settings.google_client_secret
    ).get_secret_value()
    discovery_url, issuer = settings.oidc_discovery_url, settings.oidc_issuer.rstrip("/")
    if not client_id:
        if issuer or discovery_url or secret:
            raise ValueError("Signing in with an issuer needs OIDC_CLIENT_ID (for Google: GOOGLE_CLIENT_ID).")
        return None
    if not issuer and not discovery_url:
        if not google:
            raise ValueError("OIDC_CLIENT_ID is set, so OIDC_ISSUER must say who vouches for people.")
        issuer = GOOGLE
    if google and client_id == settings.google_client_id and not secret:
        raise ValueError("GOOGLE_CLIENT_ID is set, so GOOGLE_CLIENT_SECRET must be, too.")
    discovery_url = discovery_url or f"{issuer}/.well-known/openid-configuration"
    redirect_uri = settings.oidc_redirect_uri or settings.google_redirect_uri or _own_address(settings)
    for name, url in (("OIDC_ISSUER", issuer or discovery_url), ("OIDC_DISCOVERY_URL", discovery_url)):
        _check_secure(name, url)
    return OidcProvider(issuer, discovery_url, client_id, secret, redirect_uri, settings.oidc_scopes)


def _own_address(settings: Settings) -> str:
    from config.settings import is_loopback

    if not is_loopback(settings.host):
        raise ValueError(
            "Signing in with an issuer needs OIDC_REDIRECT_URI (for Google: GOOGLE_REDIRECT_URI): where browsers reach "
            "/api/auth/callback of this server."
        )
    return f"http://{settings.host}:{settings.port}/api/auth/callback"


def _check_secure(name: str, url: str) -> None:
    from config.settings import is_loopback

    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise ValueError(f"{name} must begin with https://, or its answers could be anybody's.")


def check_sign_in(settings: Settings) -> None:
    """Raises ValueError with the sentence that a person reads at the start."""
    oidc_provider(settings)
    secret = settings.secret_key.get_secret_value()
    if settings.auth_mode == "required" and secret and (len(secret) < MIN_SECRET_CHARS or secret in _KNOWN_SECRETS):
        raise ValueError(
            f"SECRET_KEY must be at least {MIN_SECRET_CHARS} characters that nobody knows, because whoever guesses it "
            "signs in as anyone; without it one is made and kept in DATA_DIR."
        )


def parse_limits(value: str) -> dict[str, int]:
    """`POST /api/chat=30, GET /api/search=60` → requests a minute by method and path. Raises ValueError."""
    limits = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        route, _, number = part.rpartition("=")
        method, _, path = route.strip().partition(" ")
        if not (method.isalpha() and path.strip().startswith("/") and number.strip().isdecimal()):
            raise ValueError(f"{part!r} must read like POST /api/chat=30.")
        limits[f"{method.upper()} {path.strip()}"] = int(number)
    return limits
