"""The checks of the shipped templates: they can be rendered with every set of variables."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from bootcfleet.domain.check import Check, Mode
from bootcfleet.domain.checkfile import checks_of
from bootcfleet.domain.checkkinds import KINDS
from bootcfleet.domain.checkschema import checks_schema
from tests.shippedtemplates import FULL, MINIMAL, NAMES, SHIPPED, check_sources, variable_sets


def checks(name: str, variables: dict[str, Any]) -> tuple[Check, ...]:
    chain = [] if name == "soe" else [check_sources("soe", FULL["soe"])]
    return checks_of([*chain, check_sources(name, variables)])


@pytest.mark.parametrize(("name", "label", "variables"), variable_sets())
def test_every_set_of_variables_makes_checks(
    name: str, label: str, variables: dict[str, Any]
) -> None:
    found = checks(name, variables)
    own = [check for check in found if check.image == name]
    assert len(own) > 2
    # A name is what `without` takes out, and what CI counts by.
    assert len({check.name for check in own}) == len(own)
    # Every shipped template proves something without a boot.
    assert any(check.decided(Mode.PLAIN) is None for check in own)


def test_everything_that_can_be_checked_is_used_somewhere() -> None:
    used = set()
    for name in NAMES:
        for check in checks(name, FULL[name]):
            used.add(check.kind)
    assert set(KINDS) - used <= {"group", "repository"}


def test_a_role_opens_its_own_ports() -> None:
    variables = {**MINIMAL["web"], "firewall_services": ["http"]}
    zone = [c for c in checks("web", variables) if "zones/public.xml" in c.target]
    assert [c.spec.model_dump()["contains"] for c in zone] == [('<service name="http"/>',)]


def test_edge_hosts_that_update_themselves_need_no_mask() -> None:
    rule = "hosts do not update themselves"
    for self_update in (True, False):
        found = checks("edge", {"self_update": self_update})
        assert (rule in {check.name for check in found}) is not self_update


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_takes_every_shipped_file(name: str) -> None:
    schema = checks_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((SHIPPED / name / "checks.yaml").read_text()), schema)


@pytest.mark.parametrize(
    "entry",
    [
        {"pakage": "x"},
        {"package": "x", "mode": "0644"},
        {"package": 3},
        {"port": "http"},
        {"unit": "a.service", "enabled": "yes"},
        {"http": "http://localhost/", "status": 99},
        {"file": "/x", "needs": "reboot"},
        {"system": "degraded"},
    ],
)
def test_the_schema_refuses_what_is_wrong(entry: dict[str, Any]) -> None:
    schema = checks_schema()
    jsonschema.validate({"version": 1, "checks": [{"package": ["x"]}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "checks": [entry]}, schema)
