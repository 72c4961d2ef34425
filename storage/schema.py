"""Every table there is: import this where the whole schema is meant."""

from __future__ import annotations

from sqlmodel import SQLModel

from storage import account_tables, fulltext, project_tables, tables, titles

__all__ = ["account_tables", "fulltext", "metadata", "project_tables", "tables", "titles"]

metadata = SQLModel.metadata
