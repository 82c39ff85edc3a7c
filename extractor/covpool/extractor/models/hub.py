"""Hub: a model's files by hub id, from the local hub cache or downloaded; each failure has its own message.

The hub's client falls back to its cache when the network fails; the message here says why neither worked.
"""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

from covpool.extractor.errors import CheckpointError, ModelNotFoundError
from covpool.extractor.models.families import FAMILIES, WEIGHTS

CONFIG = "config.json"

_LATE = "it did not answer in time; try again, or raise HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT"
_AWAY = "it cannot be reached; check the network, HTTPS_PROXY and HF_ENDPOINT"

#: By a class in the chain of causes; the names are those of every HTTP library the hub's client has used.
_NETWORK = {
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE forbids the download; unset it, or give a checkpoint directory",
    "ProxyError": "the proxy did not let the download through; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
    "SSLError": "its certificate is not trusted here; check SSL_CERT_FILE and what stands between",
    "TimeoutException": _LATE,
    "Timeout": _LATE,
    "ConnectError": _AWAY,
    "ConnectionError": _AWAY,
    "TransportError": "the connection broke; try again, what was fetched is kept",
}


def snapshot(name: str, revision: str | None, *, download: bool, check: Callable[[Path], None]) -> Path:
    """The directory with configuration and weights of a hub id.

    Args:
        name: "owner/model".
        revision: branch, tag or commit; None for the main branch.
        download: fetch what is not in the local hub cache; else nothing reaches out.
        check: called with the directory when the configuration is there, before the weights are fetched.

    Raises:
        ModelNotFoundError: neither the cache nor the hub has it; the message says why, and what to do.
        CheckpointError: what the hub has cannot be loaded by hub id.
    """
    if not download:
        cached = _cached(name, revision)
        if cached is None:
            raise ModelNotFoundError(
                f"model {name!r}{_of(revision)}: neither a directory nor whole in the local hub cache; "
                f"{_remedy(name, revision)}"
            )
        return cached
    try:
        return _downloaded(name, revision, check)
    except CheckpointError:
        raise
    except Exception as error:
        # The hub's client passes on errors of its HTTP library and of the file system.
        cached = _cached(name, revision)
        if cached is None:
            raise ModelNotFoundError(f"model {name!r}{_of(revision)}: {_why(name, error)}") from error
        return cached


def _cached(name: str, revision: str | None) -> Path | None:
    """The directory in the local hub cache; None if it is incomplete."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    files = [CONFIG, WEIGHTS]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=files, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise ModelNotFoundError(
            f"model {name!r}: no directory, and no hub id (owner/model); check the spelling"
        ) from error


def _downloaded(name: str, revision: str | None, check: Callable[[Path], None]) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download

    # First, because only this request has a time limit: the others could wait without end.
    info = HfApi().model_info(name, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    names = {file.rfilename for file in info.siblings or ()}
    if CONFIG not in names:
        raise CheckpointError(f"model {name!r}: the hub has it without {CONFIG}; {_as_files(name)}")
    check(Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG])))
    if WEIGHTS not in names:
        raise CheckpointError(f"model {name!r}: the hub has it without {WEIGHTS}; {_as_files(name)}")
    return Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))


def _why(name: str, error: Exception) -> str:
    """What failed, and the remedy, in one sentence."""
    from huggingface_hub import constants, errors

    hub = f"the hub at {constants.ENDPOINT}"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"is gated; accept its terms at {constants.ENDPOINT}/{name}, then log in (hf auth login, or "
            "HF_TOKEN)"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{hub} has the model and not this revision; leave it out for the main branch"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{hub} has none of that name, or it is private, and there is no such directory; check the name, "
            "or log in (hf auth login, or HF_TOKEN)"
        )
    chain = list(_causes(error))
    for cause in chain:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int):
            return f"{hub} {_answered(status)}"
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk of the hub cache is full ({constants.HF_HUB_CACHE}); make room, or set HF_HOME"
        if isinstance(cause, OSError) and cause.filename is not None:
            return f"the hub cache cannot be written ({constants.HF_HUB_CACHE}); set HF_HOME to another place"
    for cause in chain:
        kinds = [kind.__name__ for kind in type(cause).__mro__]
        reason = next((_NETWORK[kind] for kind in kinds if kind in _NETWORK), None)
        if reason is not None:
            return f"{hub}: {_certificate(cause) or reason} ({_first_line(cause)})"
    return f"{hub} did not provide it ({type(error).__name__}: {_first_line(error)}); try again"


def _answered(status: int) -> str:
    if status == 401:
        return "does not accept the token; log in anew (hf auth login), or unset HF_TOKEN"
    if status == 403:
        return "does not allow it to this token; ask its owner, or log in as another (HF_TOKEN)"
    if status == 404:
        return "answered 404; check the name, and HF_ENDPOINT"
    return f"answered {status}; try again later"


def _certificate(error: BaseException) -> str | None:
    return _NETWORK["SSLError"] if "CERTIFICATE_VERIFY_FAILED" in str(error) else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _remedy(name: str, revision: str | None) -> str:
    if _family_as_files(name):
        return _as_files(name)
    at = f" --revision {revision}" if revision else ""
    return (
        f"fetch it once (hf download {name} {CONFIG} {WEIGHTS}{at}, or covpool extract --download), or give "
        "a checkpoint directory"
    )


def _as_files(name: str) -> str:
    family = _family_as_files(name)
    files = (
        f"a model of family {family} is given as a directory with its configuration (config.json or "
        "config.yml) and its .pt file or parts"
        if family
        else f"by hub id {CONFIG} and one {WEIGHTS} are loaded, other files as a directory"
    )
    return f"{files} (hf download {name} --local-dir DIRECTORY fetches them)"


def _family_as_files(name: str) -> str:
    """The family that such hub ids are of, and whose weights the hub has in other files; or none."""
    return next(
        (
            family.name
            for family in FAMILIES.values()
            if any(part in name.lower() for part in family.as_directory)
        ),
        "",
    )


def _of(revision: str | None) -> str:
    return f" (revision {revision})" if revision else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
