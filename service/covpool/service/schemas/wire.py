"""Wire: media types, states and limits that requests and answers share."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Strand = Literal["+", "-", "both"]
#: Interactive tasks come before bulk ones.
Priority = Literal["interactive", "bulk"]
#: Of a job.
State = Literal["queued", "running", "done", "failed", "cancelled"]
#: Of a record: a task whose attempts are used up is quarantined, with its last error.
RecordState = Literal["queued", "running", "done", "failed", "quarantined", "cancelled"]

NPY = "application/x-npy"
SAFETENSORS = "application/x-safetensors"
#: The second moment's chunk exactly as the store keeps it; `Covpool-Codec` says how to read it.
STORED = "application/vnd.covpool.chunk"
#: Frames of a little-endian uint64 length and so many bytes of safetensors; a length of zero ends them.
MOMENTS_STREAM = "application/vnd.covpool.moments-stream"
PROBLEM = "application/problem+json"

#: Keys that one request may ask for.
MOST_KEYS = 10_000


class Body(BaseModel):
    """What every body is."""

    # A misspelt option must not be ignored: it would silently change what is computed.
    model_config = ConfigDict(extra="forbid")
