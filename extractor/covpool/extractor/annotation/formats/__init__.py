"""The formats of annotations: GFF3, GTF, GenBank, BED."""
