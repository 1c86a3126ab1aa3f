"""Links, and the batches of clicks that have been added to them."""

from alembic import op

revision = "links_0001"
down_revision = None
branch_labels = ("links",)
depends_on = None


def upgrade() -> None:
    # Codes compare by bytes, so a new libc with other sorting rules does not invalidate the index. The free tenth of a
    # page lets counting a click rewrite its row in place: no index names `clicks`.
    op.execute("""
        CREATE TABLE links (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            code text COLLATE "C" NOT NULL UNIQUE,
            url text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz,
            clicks bigint NOT NULL DEFAULT 0
        ) WITH (fillfactor = 90)
    """)
    op.execute("CREATE TABLE click_batches (id uuid PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())")
