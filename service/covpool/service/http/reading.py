"""Reading requests: bodies as JSON or a form with a FASTA file, parsed off the event loop; query parameters.

Each name counts only once, and only if the route declares it. Bodies are read by hand and not by FastAPI
because a megabase of JSON would delay every other request, and because JSON objects and forms silently keep
the last of two equal names.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

B = TypeVar("B", bound=BaseModel)

_FASTA = "fasta"
_AS_JSON = "Content-Type: application/json"
_AS_A_FILE = "curl -F fasta=@genes.fa -F layer=up.6"
#: Bytes of a form field that is not a file; options are short.
_LONGEST_FIELD = 4096
_MOST_FIELDS = 16
#: Characters of an unknown name that an error repeats.
_LONGEST_SHOWN = 80


async def read_json(request: Request, kind: type[B]) -> B:
    """The JSON body as this model.

    Raises:
        RequestValidationError: the body is not JSON, has a field twice, or does not fit the model.
        HTTPException: 415, the body is of another content type.
    """
    if _content_type(request) != "application/json":
        raise HTTPException(415, f"send JSON, and say so ({_AS_JSON})")
    return await run_in_threadpool(_parse, await request.body(), kind)


async def read_json_or_fasta(request: Request, kind: type[B]) -> tuple[B, bytes | None]:
    """The JSON body as this model; or a form's fields as this model, and its FASTA file.

    Raises:
        RequestValidationError, HTTPException: as `read_json`; also 422 for a field sent twice, and 400 for
            a form that cannot be read.
    """
    content_type = _content_type(request)
    if content_type == "multipart/form-data":
        return await _read_form(request, kind)
    if content_type != "application/json":
        raise HTTPException(
            415, f"send JSON, and say so ({_AS_JSON}), or a form with a FASTA file ({_AS_A_FILE})"
        )
    return await read_json(request, kind), None


async def _read_form(request: Request, kind: type[B]) -> tuple[B, bytes]:
    try:
        form = await request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD)
    except HTTPException as error:
        raise HTTPException(
            error.status_code,
            f"the form cannot be read ({error.detail}); send one file, the FASTA file itself, in the field "
            f"'fasta', and options as short fields ({_AS_A_FILE})",
        ) from None
    try:
        items = form.multi_items()
        twice = [name for name, times in Counter(name for name, _ in items).items() if times > 1]
        if twice:
            raise HTTPException(422, f"{twice[0]}: sent more than once; send each field once")
        fields = dict(items)
        file = fields.pop(_FASTA, None)
        options = _validate(fields, kind)
        if not isinstance(file, UploadFile):
            raise HTTPException(
                422, f"fasta: no file was sent; send the FASTA file in this field ({_AS_A_FILE})"
            )
        return options, await file.read()
    finally:
        await form.close()


def _content_type(request: Request) -> str:
    if "content-encoding" in request.headers:
        raise HTTPException(415, "send the body without Content-Encoding; a FASTA file may itself be gzip")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _parse(body: bytes, kind: type[B]) -> B:
    try:
        value = json.loads(body, object_pairs_hook=_each_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        # The error's own text is left out where it may repeat the body.
        what = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        what = str(error) if isinstance(error, _NotOurJson) else what
        raise RequestValidationError([_error(f"not JSON ({what}); send one JSON object")]) from None
    return _validate(value, kind)


def _validate(value: Any, kind: type[B]) -> B:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
        raise RequestValidationError([_naming_fields(item, kind) for item in errors]) from None


def _naming_fields(error: Mapping[str, Any], kind: type[BaseModel]) -> Mapping[str, Any]:
    """The error; for an unknown field, the message lists the known ones."""
    if error["type"] != "extra_forbidden":
        return error
    name = str(error["loc"][-1])[:_LONGEST_SHOWN]
    message = f"is no field here; there is {', '.join(kind.model_fields)}"
    return {**error, "loc": (name,), "msg": message}


class _NotOurJson(ValueError):
    """Valid for the JSON parser, but not accepted here."""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise _NotOurJson(f"{twice[:40]!r} is given more than once")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise _NotOurJson(f"{name} is no JSON number")


def _error(message: str) -> dict[str, Any]:
    return {"type": "value_error", "loc": ("body",), "msg": message}


#: Characters of an unknown name that an error repeats.
_LONGEST_SHOWN = 80


async def only_known(request: Request) -> None:
    """The dependency of every route.

    Raises:
        RequestValidationError: names the unknown parameters and those that the route takes.
    """
    sent = Counter(name for name, _ in request.query_params.multi_items())
    if not sent:
        return
    names = _declared(request)
    choice = f"there is {', '.join(names)}" if names else "this route takes none"
    errors = [_unknown(name, f"is no parameter here; {choice}") for name in sent if name not in names]
    errors += [
        _unknown(name, "is given more than once; give it once")
        for name, times in sent.items()
        if name in names and times > 1
    ]
    if errors:
        raise RequestValidationError(errors)


def _declared(request: Request) -> list[str]:
    """Names of the route's query parameters, from the service's OpenAPI document."""
    path: str = request.scope["route"].path_format
    operation: dict[str, Any] = request.app.openapi()["paths"].get(path, {}).get(request.method.lower(), {})
    return sorted(field["name"] for field in operation.get("parameters", []) if field["in"] == "query")


def _unknown(name: str, message: str) -> dict[str, Any]:
    return {"type": "unknown_parameter", "loc": ("query", name[:_LONGEST_SHOWN]), "msg": message}
