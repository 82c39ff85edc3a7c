"""Sequences: records of FASTA, and genomes read by place."""
