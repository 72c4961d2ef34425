"""People as an OpenID Connect issuer knows them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlmodel import Session, col

from config.errors import Forbidden
from storage.account_tables import Identity
from storage.tables import User

MAX_NAME, MAX_EMAIL = 200, 254


@dataclass(frozen=True, slots=True)
class Claims:
    """What an issuer vouches for. `email` is "" unless the issuer has verified it."""

    issuer: str
    subject: str
    name: str = ""
    email: str = ""


def signed_in(session: Session, claims: Claims) -> User:
    """The person, made or brought up to date. Raises Forbidden for one who was disabled."""
    identity = session.get(Identity, (claims.issuer, claims.subject))
    user = session.get(User, identity.user_id) if identity is not None else None
    if user is None:
        user = _expected(session, claims) or User(name="", role="user")
        session.add(user)
        session.flush()
        session.add(Identity(issuer=claims.issuer, subject=claims.subject, user_id=user.id))
    if not user.is_active:
        raise Forbidden("This account is disabled.")
    _bring_up_to_date(session, user, claims)
    return user


def _expected(session: Session, claims: Claims) -> User | None:
    """Somebody an admin made with this address who has not signed in at that issuer yet. Later the address alone opens
    nothing: it may have gone to somebody else."""
    user = _with_email(session, claims.email) if claims.email else None
    if user is None:
        return None
    known = select(Identity).where(col(Identity.user_id) == user.id, col(Identity.issuer) == claims.issuer)
    return user if session.execute(known).first() is None else None


def _with_email(session: Session, email: str) -> User | None:
    return session.execute(select(User).where(func.lower(col(User.email)) == email.lower())).scalars().first()


def _bring_up_to_date(session: Session, user: User, claims: Claims) -> None:
    other = _with_email(session, claims.email) if claims.email else None
    if claims.email and (other is None or other.id == user.id):
        user.email = claims.email
    user.name = claims.name or user.name or user.email or "somebody"
    session.add(user)
    session.flush()
