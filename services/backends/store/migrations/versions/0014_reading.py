"""Who reads which study, saved views, and the place in the work list as one number.

Older processes run on beside it: a study that changes last in one of them stands after STAT and before the rest, and
counts as unread, until it changes again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_EPOCH_S = {
    "postgresql": "extract(epoch from received_at)",
    "sqlite": "(julianday(received_at) - 2440587.5) * 86400.0",
}
# triage.reading.rank
_RANK = """
    UPDATE board SET rank = {epoch_s} + 28800.0 * urgency
        + CASE priority WHEN 0 THEN -10000000000.0 ELSE (priority - 1) * 3 * 28800.0 END
"""
# store.board.ai_says
_SAYS = """
    UPDATE board SET
        model_name = (SELECT model_name FROM result WHERE result.result_id = board.result_id),
        ai_says = CASE
            WHEN EXISTS (SELECT 1 FROM recall WHERE recall.result_id = board.result_id) THEN 'unseen'
            WHEN result_id IS NULL THEN
                CASE WHEN state IN ('receiving', 'queued', 'analysing') THEN 'waiting' ELSE 'unseen' END
            ELSE (SELECT CASE outcome
                    WHEN 'found' THEN CASE flag WHEN 'routine' THEN 'found' ELSE flag END
                    WHEN 'nothing_found' THEN 'nothing'
                    WHEN 'equivocal' THEN 'equivocal'
                    ELSE 'unseen' END
                FROM result WHERE result.result_id = board.result_id)
        END
"""
_INDEXES = {
    "ix_board_rank_study_instance_uid_state_modalities": ["rank", "study_instance_uid", "state", "modalities"],
    "ix_board_is_read_rank_study_instance_uid_state_modalities": [
        "is_read",
        "rank",
        "study_instance_uid",
        "state",
        "modalities",
    ],
    "ix_board_is_read_ai_says_rank_study_instance_uid": ["is_read", "ai_says", "rank", "study_instance_uid"],
    "ix_board_is_read_state_rank_study_instance_uid": ["is_read", "state", "rank", "study_instance_uid"],
    "ix_board_reader_is_read_rank_study_instance_uid": ["reader", "is_read", "rank", "study_instance_uid"],
    "ix_board_model_name_is_read_rank_study_instance_uid": ["model_name", "is_read", "rank", "study_instance_uid"],
    "ix_board_waiting": ["is_read", "state", "ai_says", "priority"],
}


def upgrade() -> None:
    """Tables of their own, and columns that older code may leave out."""
    op.create_table(
        "assignment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_assignment_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_assignment"),
    )
    op.create_index("ix_assignment_study_instance_uid", "assignment", ["study_instance_uid"])
    op.create_table(
        "saved_view",
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", "name", name="pk_saved_view"),
    )
    op.add_column("study_version", sa.Column("priority_from", sa.Text(), nullable=True))
    op.add_column("board", sa.Column("rank", sa.Float(), server_default="0", nullable=False))
    op.add_column("board", sa.Column("is_read", sa.Boolean(), server_default=sa.false(), nullable=False))
    for name, kind in (
        ("ai_says", sa.String(length=32)),
        ("model_name", sa.Text()),
        ("reader", sa.Text()),
        ("reader_since", sa.DateTime(timezone=True)),
        ("read_again", sa.String(length=32)),
    ):
        op.add_column("board", sa.Column(name, kind, nullable=True))
    op.execute(_RANK.format(epoch_s=_EPOCH_S[op.get_bind().dialect.name]))
    op.execute(_SAYS)
    for name, columns in _INDEXES.items():
        op.create_index(name, "board", columns)
    op.drop_index("ix_board_priority_urgency_received_at", table_name="board")
    op.create_index("ix_study_study_instance_uid_tenant", "study", ["study_instance_uid", "tenant"])


def downgrade() -> None:
    """Without them: who took and read what, and the saved views, are lost."""
    op.drop_index("ix_study_study_instance_uid_tenant", table_name="study")
    op.create_index("ix_board_priority_urgency_received_at", "board", ["priority", "urgency", "received_at"])
    for name in _INDEXES:
        op.drop_index(name, table_name="board")
    for name in ("read_again", "reader_since", "reader", "is_read", "model_name", "ai_says", "rank"):
        op.drop_column("board", name)
    op.drop_column("study_version", "priority_from")
    op.drop_table("saved_view")
    op.drop_table("assignment")
