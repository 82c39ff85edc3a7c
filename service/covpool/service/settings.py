"""Every setting of the service, typed, from environment variables with the prefix COVPOOL_."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings; the defaults are the embedded service on one machine."""

    model_config = SettingsConfigDict(env_prefix="COVPOOL_", extra="forbid")

    store: str = Field("covpool-store", description="store location: a directory")
    catalog: str | None = Field(None, description="database URL; SQLite inside the store by default")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    workers: int = Field(1, ge=0, description="supervised worker processes on this machine")
    models: list[str] = Field(
        [], description="checkpoint directories or hub ids to serve besides the bundled"
    )
    bottlenecks: Path | None = Field(None, description="directory of further bottleneck files")
    device: str | None = Field(None, description="torch device of the workers; CUDA where there is one")
    dtype: str = Field("float32", description="compute dtype, part of every recipe")
    max_bases: int = Field(50_000_000, gt=0, description="bases per request")
    max_sequence: int = Field(10_000_000, gt=0, description="bases of one sequence of a request")
    max_body: int = Field(128 << 20, gt=0, description="bytes of a request's body, before decompression")
    max_queued: int = Field(100_000, gt=0, description="waiting tasks beyond which submissions are refused")
    rate_per_minute: int = Field(
        0, ge=0, description="requests per token (or address, where there are no tokens); 0 for no limit"
    )
    public_without_tokens: bool = Field(
        False, description="listen beyond this machine although no token was made"
    )
    cors_origins: list[str] = Field([], description="web origins whose pages may ask; none by default")
    body_cache: int = Field(256 << 20, ge=0, description="bytes of encoded matrices kept in memory")
    max_records: int = Field(10_000, gt=0, description="sequences per request")
    max_wait_s: float = Field(60.0, ge=0, description="longest time a request may wait for its result")
    lease_s: float = Field(30.0, gt=0, description="a task whose worker is silent this long is taken over")
    max_attempts: int = Field(3, gt=0, description="times a task is tried before it is set aside")
    drain_s: float = Field(
        20.0, ge=0, description="time a worker that was told to stop may take to finish its batch"
    )
    batch_tokens: int = Field(65_536, gt=0, description="tokens that a worker claims at once")
    batch_records: int = Field(64, gt=0, description="sequences that a worker claims at once, at most")
    model_memory: int | None = Field(
        None, gt=0, description="bytes for loaded models' weights; half of the device's memory by default"
    )
    poll_s: float = Field(0.05, gt=0, description="how often idle workers and waiting requests look")
