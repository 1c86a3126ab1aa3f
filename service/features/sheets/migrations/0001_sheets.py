"""Sheets, with the file that the job makes."""

from alembic import op

revision = "sheets_0001"
down_revision = None
branch_labels = ("sheets",)
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE sheets (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            urls text[] NOT NULL,
            job bigint,
            file bytea,
            created_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    # External storage is not compressed, so Postgres reads a range of the file without the rest of it.
    op.execute("ALTER TABLE sheets ALTER COLUMN file SET STORAGE EXTERNAL")
