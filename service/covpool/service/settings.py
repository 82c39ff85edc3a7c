"""Every setting of the service, typed: from options, COVPOOL_* variables and a TOML file, in this order."""

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as _SourceError

from covpool.service.errors import SettingsError
from covpool.store.codecs import codec_id
from covpool.store.storage.whole_files import Durability
from covpool.store.store import Store

_PASSWORD = re.compile(r"(://[^/:@\s]*:).+(?=@)")
_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*", re.IGNORECASE)


def _listed(value: Any) -> Any:
    """A list from text: JSON where it begins so, else parts between commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f'not a JSON list ({error}); write a,b or ["a", "b"]') from error
    return [part for item in value.split(",") if (part := item.strip())]


#: Strings; in a variable a,b or a JSON list, in a file a list or a,b.
Strings = Annotated[list[str], NoDecode, BeforeValidator(_listed)]


def _known_codec(value: str) -> str:
    codec_id(value)
    return value


#: What `codec_id` takes.
Codec = Annotated[str, AfterValidator(_known_codec)]


class Settings(BaseSettings):
    """Settings; the defaults are the embedded service on one machine. `read` explains what is wrong."""

    # What was given may hold a password: errors do not repeat it.
    model_config = SettingsConfigDict(env_prefix="COVPOOL_", extra="forbid", hide_input_in_errors=True)

    config: Path | None = Field(None, description="TOML file of settings, under the names given here")
    store: str = Field("covpool-store", description="store location: a directory")
    catalog: str | None = Field(
        None, repr=False, description="database URL; SQLite inside the store by default"
    )
    durability: Durability = Field(
        "process",
        description="what a cached matrix, and a job that says done, survive: process (the death of every "
        "process), or power-loss (that of the machine too: each is forced to the disk first)",
    )
    codec: Codec = Field(
        "lossless", description="how new matrices are stored: lossless, cold, or bounded:1e-4 (lossy)"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    read_only: bool = Field(
        False, description="only read the store, which may lie on a read-only mount or bucket; no workers"
    )
    workers: int = Field(1, ge=0, description="supervised worker processes on this machine")
    models: Strings = Field(
        [], description="checkpoint directories or hub ids to serve besides the bundled: a,b or a list"
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
    cors_origins: Strings = Field(
        [], description="web origins whose pages may ask: a,b or a list; none by default"
    )
    body_cache: int = Field(256 << 20, ge=0, description="bytes of encoded matrices kept in memory")
    ready_without_workers: bool = Field(
        False, description="be ready although no worker is heard of: serve what is cached"
    )
    log_level: Literal["debug", "info", "warning"] = Field("info", description="least that is logged")
    log_format: Literal["text", "json"] = Field("text", description="lines for people, or JSON objects")
    shutdown_s: float = Field(
        30.0, gt=0, description="time that requests in flight may take after a stop signal"
    )
    max_records: int = Field(10_000, gt=0, description="sequences per request")
    max_wait_s: float = Field(60.0, ge=0, description="longest time a request may wait for its result")
    lease_s: float = Field(30.0, gt=0, description="a task whose worker is silent this long is taken over")
    max_attempts: int = Field(3, gt=0, description="times a task is tried before it is set aside")
    drain_s: float = Field(
        20.0, ge=0, description="time a worker may take to finish its batch after a stop signal"
    )
    batch_tokens: int = Field(65_536, gt=0, description="tokens that a worker claims at once")
    batch_records: int = Field(64, gt=0, description="sequences that a worker claims at once, at most")
    threads: int = Field(
        1,
        gt=0,
        description="of a forward on a CPU; results of another number may differ in their last bits, so set "
        "it alike for all workers, and run more workers to use more cores",
    )
    model_memory: int | None = Field(
        None, gt=0, description="bytes for loaded models' weights; half of the device's memory by default"
    )
    keep_s: float = Field(
        60.0, ge=0, description="how often a worker keeps what it has of a long sequence, to go on from"
    )
    poll_s: float = Field(0.05, gt=0, description="how often idle workers and waiting requests look")

    @model_validator(mode="after")
    def _no_workers_where_nothing_is_written(self) -> Self:
        if self.read_only and self.workers:
            if "workers" in self.model_fields_set:
                raise ValueError("read_only goes with no workers; set workers to 0, or leave one of them out")
            # Not as if it was given.
            self.__dict__["workers"] = 0
        return self

    @classmethod
    def read(cls, **options: Any) -> Self:
        """The settings with these options, which go before variables and file; None is no option.

        Raises:
            SettingsError: names each setting that is wrong, without what was given.
        """
        try:
            return cls(**{name: value for name, value in options.items() if value is not None})
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        except _SourceError as error:
            wrong = str(error)
        raise SettingsError(f"{wrong}; see the options, the COVPOOL_ variables set here, and the file")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, then variables, then the file that one of them names."""
        file = init_settings().get("config") or env_settings().get("config")
        held = {} if file is None else _toml(Path(file))
        return init_settings, env_settings, InitSettingsSource(settings_cls, held)

    def open_store(self, *, create: bool = True) -> Store:
        """The store, as every process of the service opens it.

        Args:
            create: make the store where there is none; under settings for reading only nothing is made.

        Raises:
            StoreNotFoundError: there is none, and none is to be made.
            StoreError: as from `Store.open`.
        """
        return Store.open(
            self.store,
            catalog=self.catalog,
            codec=self.codec,
            durability=self.durability,
            create=create,
            read_only=self.read_only,
        )

    def shown(self) -> str:
        """All of them as a TOML file that could be given as `config`, with what is secret masked."""
        lines, held = [], self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = held[name]
            lines.append(f"# {field.description}" + ("" if name in self.model_fields_set else " (default)"))
            # What TOML calls strings, numbers, truths and arrays of strings is written as in JSON.
            lines.append(
                f"# {name} is not set"
                if value is None
                else f"{name} = {json.dumps(_masked(value), ensure_ascii=False)}"
            )
        return "\n".join(lines)


def _toml(file: Path) -> dict[str, Any]:
    try:
        held = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read ({error.strerror}); give a TOML file") from error
    except ValueError as error:
        raise SettingsError(f"{file}: is not TOML ({error})") from error
    if "config" in held:
        raise SettingsError(f"{file}: cannot name another file; take out `config`")
    return held


def _masked(value: Any) -> Any:
    """URLs without their passwords, wherever they stand."""
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1***", value)) if isinstance(value, str) else value
