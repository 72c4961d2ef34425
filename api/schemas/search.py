"""What is looked for."""

from __future__ import annotations

from pydantic import Field

from api.schemas.base import Body


class SearchIn(Body):
    query: str = Field(min_length=1, max_length=2000)
    n_results: int = Field(default=5, ge=1, le=100)
