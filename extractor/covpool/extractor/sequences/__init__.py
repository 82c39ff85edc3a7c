"""Sequences: FASTA records, and genome files read by coordinates."""
