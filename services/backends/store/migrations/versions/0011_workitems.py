"""The tasks to review results, and the names of patients as they are searched fuzzily.

Older processes run on beside it: a result that they freeze asks for no review, and a name that they write is indexed by
the next writer of this revision.
"""

import sqlalchemy as sa
from alembic import op

from services.backends.person_name import index_of

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_AT_ONCE = 1000


def upgrade() -> None:
    """A table of its own, and a column that older code may leave out."""
    op.add_column("study", sa.Column("name_index", sa.Text(), nullable=True))
    _index_names()
    op.create_table(
        "workitem",
        sa.Column("workitem_uid", sa.String(length=64), nullable=False),
        sa.Column("result_id", sa.String(length=32), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=True),
        sa.Column("replaces", sa.String(length=64), nullable=True),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("canceled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["result_id"], ["result.result_id"], name="fk_workitem_result_id_result"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_workitem_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("workitem_uid", name="pk_workitem"),
        sa.UniqueConstraint("result_id", name="uq_workitem_result_id"),
    )
    op.create_index("ix_workitem_study_instance_uid", "workitem", ["study_instance_uid"])
    op.create_index("ix_workitem_state", "workitem", ["state"])


def _index_names() -> None:
    study = sa.table(
        "study",
        sa.column("study_instance_uid", sa.String),
        sa.column("patient_name", sa.Text),
        sa.column("name_index", sa.Text),
    )
    connection = op.get_bind()
    rows = connection.execute(sa.select(study.c.study_instance_uid, study.c.patient_name)).all()
    update = (
        sa.update(study)
        .where(study.c.study_instance_uid == sa.bindparam("uid"))
        .values(name_index=sa.bindparam("index"))
    )
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        connection.execute(update, [{"uid": uid, "index": index_of(name)} for uid, name in some])


def downgrade() -> None:
    """Without them."""
    op.drop_table("workitem")
    op.drop_column("study", "name_index")
