"""What is brought home."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from api.schemas.base import Body, Storable
from config.errors import Unusable
from config.share_links import parse_link


class ImportIn(Body):
    """What a share link shows, or an upload by reference, as POST /api/imports stores it."""

    url: str | None = Field(default=None, max_length=2000, description="A link to a shared conversation")
    blob: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    filename: str = Field(default="", max_length=500)
    duplicates: Literal["update_existing", "create_new"] = "update_existing"
    target_conversation_id: str | None = Field(default=None, max_length=36, description="Which one a link updates")
    accept_summarization: bool = Field(default=False, description="Summarise what it creates or updates")
    model: Annotated[str | None, Storable] = Field(default=None, max_length=200, description="Which one summarises")

    @model_validator(mode="after")
    def _one_of_both(self) -> ImportIn:
        if (self.url is None) == (self.blob is None):
            raise ValueError("needs either a url or a blob")
        if self.url is not None:
            try:
                self.url = parse_link(self.url).url
            except Unusable as error:
                raise ValueError(error.detail) from None
        return self
