"""Tables of tokens and genomes in the catalog's database; the queue has its own.

Times are seconds since 1970, by the database's clock. A change here needs a revision in
`migrations/versions`.
"""

from pathlib import Path

import sqlalchemy as sa

from covpool.store.database.migrations import RoomTables

metadata = sa.MetaData()

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("scopes", sa.String(64), nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("revoked", sa.Float),
)

genomes = sa.Table(
    "genomes",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("fasta", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("contigs", sa.Text, nullable=False),
    sa.Column("aliases", sa.Text, nullable=False),
    sa.Column("circular", sa.Text, nullable=False, server_default="[]"),
    sa.Column("annotation", sa.Text),
    sa.Column("annotation_digest", sa.String(64)),
    sa.Column("release", sa.String(255), nullable=False, server_default=""),
    # Repairs of the annotation and skipped lines, as JSON.
    sa.Column("report", sa.Text, nullable=False, server_default="[]"),
    sa.Column("genes", sa.Integer, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

genes = sa.Table(
    "genome_genes",
    metadata,
    sa.Column("genome", sa.String(64), sa.ForeignKey("genomes.name"), primary_key=True),
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("chrom", sa.Text, nullable=False),
    sa.Column("start", sa.BigInteger, nullable=False),
    sa.Column("end", sa.BigInteger, nullable=False),
    sa.Column("strand", sa.String(1), nullable=False),
    sa.Column("biotype", sa.Text, nullable=False),
    sa.Column("aliases", sa.Text, nullable=False),
    # Intervals of its selections on the contig, and the digest of its bases, as JSON; null, or without a
    # digest, where an earlier version did not keep them.
    sa.Column("classes", sa.Text),
)

gene_names = sa.Table(
    "genome_gene_names",
    metadata,
    sa.Column("genome", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("gene", sa.String(255), primary_key=True),
    # 0 for an id, 1 for a symbol, 2 for an alias. The lowest rank present decides.
    sa.Column("rank", sa.Integer, nullable=False),
)

TABLES = RoomTables("service", metadata, Path(__file__).parent / "migrations", "0005")
