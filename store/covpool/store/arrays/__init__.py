"""Arrays: the Zarr arrays that rows of moments lie in, as stored and as served."""
