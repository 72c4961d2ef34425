"""Signing in with an OpenID Connect issuer, by Authlib: discovery, state, nonce, PKCE (S256), signed identity."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.base_client.async_app import AsyncOAuth2Mixin
from authlib.integrations.base_client.async_openid import AsyncOpenIDMixin
from authlib.integrations.base_client.sync_app import BaseApp
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc.errors import JoseError

from api.callers import unauthorized
from api.tokens import Attempt
from config.errors import BadRequest, ProviderRefused, ProviderUnavailable
from config.identity import OidcProvider
from config.logging import log
from config.settings import get_settings
from storage.identities import MAX_EMAIL, MAX_NAME, Claims

# An issuer changes its addresses rarely; its keys are fetched anew as soon as one is unknown.
_METADATA_S = 3600
_LEEWAY_S = 60  # clocks that go wrong
# A discovery document may offer "none" or a shared secret; only what the issuer alone can sign is proof.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_SILENT = "The sign-in service cannot be reached right now."


class _Issuer(AsyncOAuth2Mixin, AsyncOpenIDMixin, BaseApp):  # type: ignore[misc]
    client_cls = AsyncOAuth2Client


_issuers: dict[OidcProvider, tuple[float, Any]] = {}


def _issuer(provider: OidcProvider) -> Any:
    made, issuer = _issuers.get(provider, (0.0, None))
    if issuer is None or time.monotonic() - made > _METADATA_S:
        issuer = _Issuer(
            None,
            "issuer",
            client_id=provider.client_id,
            client_secret=provider.client_secret or None,
            server_metadata_url=provider.discovery_url,
            client_kwargs={
                "scope": provider.scopes,
                "code_challenge_method": "S256",
                "timeout": get_settings().oidc_timeout_s,
                "trust_env": False,
                "leeway": 0,  # the access token is used at once, however short it lives
            },
        )
        _issuers[provider] = (time.monotonic(), issuer)
    return issuer


async def begin(provider: OidcProvider) -> tuple[str, Attempt]:
    """Where to send the browser, and what to remember until it comes back. Raises ProviderUnavailable or
    ProviderRefused."""
    async with _translated():
        issuer = _issuer(provider)
        _check(provider, await issuer.load_server_metadata())
        made = await issuer.create_authorization_url(provider.redirect_uri)
    return made["url"], Attempt(made["state"], made["nonce"], made["code_verifier"])


async def finish(provider: OidcProvider, code: str, attempt: Attempt) -> Claims:
    """Who came back. Raises Unauthorized for a proof that does not hold, BadRequest for a code that is not good."""
    async with _translated():
        issuer = _issuer(provider)
        metadata = await issuer.load_server_metadata()
        name = _check(provider, metadata)
        token = await issuer.fetch_access_token(
            provider.redirect_uri, code=code, code_verifier=attempt.code_verifier, grant_type="authorization_code"
        )
        expected = {
            "iss": {"essential": True, "value": name},
            "aud": {"essential": True, "value": provider.client_id},
        }
        told = await issuer.parse_id_token(token, attempt.nonce, expected, leeway=_LEEWAY_S)
        if told is None or not told.get("sub"):
            raise unauthorized("The sign-in service did not say who you are.")
        if not (told.get("email") and told.get("name")) and "userinfo_endpoint" in metadata:
            more = await issuer.userinfo(token=token)
            told = {**more, **told} if more.get("sub") == told["sub"] else told
    return _claims(name, told)


def _check(provider: OidcProvider, metadata: dict[str, Any]) -> str:
    """The issuer's own name, which must be the one that was asked for."""
    name = str(metadata.get("issuer", ""))
    if not name or (provider.issuer and name.rstrip("/") != provider.issuer):
        raise ProviderRefused("The sign-in service is set up wrongly: its discovery document is another issuer's.")
    offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
    metadata["id_token_signing_alg_values_supported"] = [one for one in offered if one in _ALGORITHMS] or ["RS256"]
    return name


def _claims(issuer: str, told: dict[str, Any]) -> Claims:
    verified = told.get("email_verified") in (True, "true")  # some issuers write it as text
    email = str(told.get("email", "")) if verified else ""
    name = told.get("name") or told.get("preferred_username") or ""
    return Claims(issuer, str(told["sub"])[:255], _text(name, MAX_NAME), _text(email, MAX_EMAIL))


def _text(value: object, most: int) -> str:
    return "".join(letter for letter in str(value) if letter.isprintable())[:most].strip()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """What goes wrong between us and the issuer, in words. Its own words stay in the log."""
    try:
        yield
    except OAuthError as error:
        log.warning("sign-in refused by the issuer", error=str(error.error)[:100])
        if error.error == "invalid_grant":
            raise BadRequest("This sign-in was used already or is too old; begin again.") from None
        raise ProviderRefused("The sign-in service refused this server; its log says why.") from None
    except JoseError as error:
        log.warning("an identity does not hold", error=str(error)[:200])
        raise unauthorized("The sign-in service's answer does not prove who you are; begin again.") from None
    except httpx2.HTTPStatusError as error:
        log.warning("sign-in service failed", status=error.response.status_code)
        raise ProviderUnavailable(_SILENT, headers={"Retry-After": "10"}) from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        log.warning("sign-in service away", reason=type(error).__name__)
        raise ProviderUnavailable(_SILENT, headers={"Retry-After": "10"}) from None
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        # Authlib takes what it is sent for what it should be.
        log.warning("sign-in service not understood", reason=type(error).__name__)
        raise ProviderRefused("The sign-in service answered with something that cannot be understood.") from None
