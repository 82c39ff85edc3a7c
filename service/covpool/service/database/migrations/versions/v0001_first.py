"""The tables of tokens and genomes, before revisions were recorded."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(64), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("revoked", sa.Float),
    )
    op.create_table(
        "genomes",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("fasta", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("contigs", sa.Text, nullable=False),
        sa.Column("aliases", sa.Text, nullable=False),
        sa.Column("annotation", sa.Text),
        sa.Column("genes", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "genome_genes",
        sa.Column("genome", sa.String(64), sa.ForeignKey("genomes.name"), primary_key=True),
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("chrom", sa.Text, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("strand", sa.String(1), nullable=False),
        sa.Column("biotype", sa.Text, nullable=False),
        sa.Column("aliases", sa.Text, nullable=False),
    )
    op.create_table(
        "genome_gene_names",
        sa.Column("genome", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("gene", sa.String(255), primary_key=True),
        sa.Column("rank", sa.Integer, nullable=False),
    )
