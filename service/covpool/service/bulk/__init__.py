"""Bulk: caches every gene of a genome, on one machine or a Dask cluster."""
