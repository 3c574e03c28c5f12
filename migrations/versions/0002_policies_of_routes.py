"""Policies of routes"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for table in ("apps", "routes"):
        op.add_column(table, sa.Column("policy", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    for table in ("apps", "routes"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("policy")
