"""The settings of fits are one list: of requests, of the command, and of the functions that fit."""

from inspect import signature

from covpool.extractor.fitting.fits import METHODS
from covpool.service.commands.train_bottleneck import train_bottleneck
from covpool.service.http.openapi import body_of
from covpool.service.http.routes.bottlenecks import _SETTINGS
from covpool.service.schemas import BottleneckRequest
from covpool.store.registry import Registry


def test_a_setting_of_a_request_is_an_option_and_an_argument_of_a_fit() -> None:
    options = {parameter.name for parameter in train_bottleneck.params}
    fits: set[str] = set()
    for group in ("covpool.fits", "covpool.supervised_fits"):
        for fit in Registry[object](group, callable, LookupError).values():
            fits |= signature(fit).parameters.keys()  # type: ignore[arg-type]
    assert set(_SETTINGS) == {"scaling", "features", "directions", "epochs", "learning_rate", "seed"}
    assert options >= _SETTINGS
    assert fits >= _SETTINGS


def test_the_methods_of_the_api_are_those_that_are_installed() -> None:
    body = body_of(BottleneckRequest, method=METHODS)["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["method"]["enum"] == list(METHODS)
    assert body["properties"]["method"]["default"] in METHODS
