"""full text

Revision: 0003
Follows: 0002
"""

import sqlalchemy as sa
from alembic import op

from storage.tables import UtcDateTime

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

SQLITE = (
    "CREATE TABLE chunk_key (number INTEGER PRIMARY KEY, "
    "chunk_id TEXT NOT NULL UNIQUE REFERENCES chunk (id) ON DELETE CASCADE)",
    "CREATE VIRTUAL TABLE chunk_words USING fts5 (words, tokenize = 'unicode61 remove_diacritics 0')",
    "CREATE TRIGGER chunk_key_gone AFTER DELETE ON chunk_key "
    "BEGIN DELETE FROM chunk_words WHERE rowid = old.number; END",
    "CREATE TABLE title_key (number INTEGER PRIMARY KEY, "
    "conversation_id TEXT NOT NULL UNIQUE REFERENCES conversation (id) ON DELETE CASCADE)",
    "CREATE VIRTUAL TABLE title_words USING fts5 (title, tokenize = 'trigram')",
    "CREATE TRIGGER title_new AFTER INSERT ON conversation BEGIN "
    "INSERT INTO title_key (conversation_id) VALUES (new.id); "
    "INSERT INTO title_words (rowid, title) "
    "SELECT number, new.title FROM title_key WHERE conversation_id = new.id; END",
    "CREATE TRIGGER title_changed AFTER UPDATE OF title ON conversation WHEN old.title <> new.title BEGIN "
    "UPDATE title_words SET title = new.title "
    "WHERE rowid = (SELECT number FROM title_key WHERE conversation_id = new.id); END",
    "CREATE TRIGGER title_key_gone AFTER DELETE ON title_key "
    "BEGIN DELETE FROM title_words WHERE rowid = old.number; END",
    "INSERT INTO title_key (conversation_id) SELECT id FROM conversation",
    "INSERT INTO title_words (rowid, title) "
    "SELECT number, title FROM title_key JOIN conversation ON conversation.id = conversation_id",
)
POSTGRESQL = (
    "CREATE TABLE chunk_words (chunk_id VARCHAR(64) PRIMARY KEY REFERENCES chunk (id) ON DELETE CASCADE, "
    "words TSVECTOR NOT NULL)",
    "CREATE INDEX ix_chunk_words ON chunk_words USING gin (words)",
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX ix_conversation_title_trgm ON conversation USING gin (lower(title) gin_trgm_ops)",
)


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    # Before the triggers: a table with triggers is not made anew.
    op.add_column(
        "conversation", sa.Column("has_attachments", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("conversation", sa.Column("rebuilt_version", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "search_index",
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("building", sa.String(), nullable=True),
        sa.Column("retiring", sa.String(), nullable=True),
        sa.Column("built_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["user.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("owner_id"),
    )
    for statement in SQLITE if dialect == "sqlite" else POSTGRESQL:
        op.execute(sa.text(statement))
    # Words are written with their chunks: the index is made anew by the embedding job. Vectors of the same id are
    # written over.
    op.execute("DELETE FROM chunk")
    op.execute("UPDATE conversation SET indexed_version = 0")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for trigger in ("title_new", "title_changed", "title_key_gone", "chunk_key_gone"):
            op.execute(f"DROP TRIGGER {trigger}")
        for table in ("chunk_words", "chunk_key", "title_words", "title_key"):
            op.execute(f"DROP TABLE {table}")
    else:
        op.execute("DROP TABLE chunk_words")
        op.execute("DROP INDEX ix_conversation_title_trgm")
    op.drop_table("search_index")
    op.drop_column("conversation", "rebuilt_version")
    op.drop_column("conversation", "has_attachments")
