"""when a conversation last changed at its source

Revision: 0005
Follows: 0004
"""

import sqlalchemy as sa
from alembic import op

from storage.tables import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversation", sa.Column("source_updated_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column("conversation", "source_updated_at")
