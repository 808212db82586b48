"""The model of customizations: what is rendered is read back, and what is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain import diskconfig
from bootcfleet.domain.diskconfig import DiskConfig, render_blueprint_json, render_toml
from bootcfleet.domain.document import Document, validate
from bootcfleet.errors import ConfigError
from bootcfleet.ops.init import schema as project_schema

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
SIZE = st.one_of(
    st.integers(0, 2**40),
    st.builds("{} {}".format, st.integers(1, 900), st.sampled_from(["MiB", "GB", "GiB"])),
)
NUMBER = st.integers(0, 70000)
FLAG = st.booleans()
TEXTS = st.lists(TEXT, max_size=2)
OWNER = st.one_of(TEXT, NUMBER)


def some(required: dict[str, Any], **optional: Any) -> Any:
    return st.fixed_dictionaries(required, optional=optional)


VOLUME = some(
    {"minsize": SIZE},
    name=TEXT,
    mountpoint=TEXT,
    label=TEXT,
    fs_type=st.sampled_from(["ext4", "xfs", "vfat", "swap"]),
)
PARTITION = some(
    {"minsize": SIZE},
    type=st.sampled_from(["plain", "lvm", "btrfs"]),
    part_type=TEXT,
    part_label=TEXT,
    part_uuid=TEXT,
    mountpoint=TEXT,
    label=TEXT,
    fs_type=st.sampled_from(["ext4", "xfs", "vfat", "swap", "none"]),
    name=TEXT,
    logical_volumes=st.lists(VOLUME, max_size=2),
    subvolumes=st.lists(some({"name": TEXT, "mountpoint": TEXT}), max_size=2),
)
CONFIG = some(
    {},
    user=st.lists(
        some(
            {"name": TEXT},
            description=TEXT,
            password=TEXT,
            key=TEXT,
            home=TEXT,
            shell=TEXT,
            groups=TEXTS,
            uid=NUMBER,
            gid=NUMBER,
            expiredate=NUMBER,
            force_password_reset=FLAG,
        ),
        max_size=2,
    ),
    group=st.lists(some({"name": TEXT}, gid=NUMBER), max_size=2),
    kernel=some({}, append=TEXT),
    filesystem=st.lists(some({"mountpoint": TEXT, "minsize": SIZE}), max_size=2),
    disk=some(
        {},
        type=st.sampled_from(["gpt", "dos"]),
        minsize=SIZE,
        sector_size=NUMBER,
        start_offset=SIZE,
        partitions=st.lists(PARTITION, max_size=3),
    ),
    files=st.lists(some({"path": TEXT}, data=TEXT, mode=TEXT, user=OWNER, group=OWNER), max_size=2),
    directories=st.lists(
        some({"path": TEXT}, mode=TEXT, user=OWNER, group=OWNER, ensure_parents=FLAG), max_size=2
    ),
    sshd=some(
        {},
        password_authentication=FLAG,
        challenge_response_authentication=FLAG,
        client_alive_interval=NUMBER,
        permit_root_login=st.one_of(FLAG, TEXT),
    ),
    ignition=some({}, embedded=some({}, config=TEXT), firstboot=some({}, url=TEXT, empty=FLAG)),
    bootloader=some({}, grub2=some({}, terminal_input=TEXTS, terminal_output=TEXTS, serial=TEXT)),
    fips=FLAG,
    installer=some(
        {
            "sudo-nopasswd": TEXTS,
            "menu-timeout": NUMBER,
        },
        unattended=FLAG,
        kickstart=some({"contents": TEXT}),
        modules=some({}, enable=TEXTS, disable=TEXTS),
    ),
    iso=some({}, volume_id=TEXT, application_id=TEXT, publisher=TEXT),
)


@given(CONFIG)
@settings(max_examples=150, deadline=None)
def test_what_is_rendered_is_read_back(data: dict[str, Any]) -> None:
    config = DiskConfig.model_validate(data)
    assert config.blueprint() == {"customizations": data}, "nothing is added, nothing is lost"
    assert DiskConfig.from_blueprint(tomllib.loads(render_toml(config))) == config
    assert DiskConfig.from_blueprint(json.loads(render_blueprint_json(config))) == config


def test_the_schema_takes_what_the_model_takes() -> None:
    schema = DiskConfig.model_json_schema(by_alias=True)
    jsonschema.Draft202012Validator.check_schema(schema)
    data = {
        "user": [{"name": "admin", "groups": ["wheel"]}],
        "disk": {"partitions": [{"minsize": "1 GiB", "mountpoint": "/", "fs_type": "xfs"}]},
        "installer": {"sudo-nopasswd": ["%wheel"]},
    }
    DiskConfig.model_validate(data)
    jsonschema.validate(data, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"user": [{"nme": "admin"}]}, schema)


def test_toml_is_for_people_where_nothing_is_lost() -> None:
    config = DiskConfig.model_validate({"installer": {"kickstart": {"contents": "text\nreboot\n"}}})
    assert render_toml(config) == (
        '[customizations.installer.kickstart]\ncontents = """\ntext\nreboot\n"""\n'
    )
    odd = DiskConfig.model_validate({"installer": {"kickstart": {"contents": "text\r\nreboot\n"}}})
    assert DiskConfig.from_blueprint(tomllib.loads(render_toml(odd))) == odd


def test_nothing_is_an_empty_blueprint() -> None:
    assert render_toml(DiskConfig()) == "[customizations]\n"
    assert render_blueprint_json(DiskConfig()) == '{\n  "customizations": {}\n}\n'


def test_size_is_an_old_name_of_minsize() -> None:
    config = DiskConfig.model_validate({"filesystem": [{"mountpoint": "/", "size": "5 GiB"}]})
    assert config.blueprint()["customizations"] == {
        "filesystem": [{"mountpoint": "/", "minsize": "5 GiB"}]
    }


#: (data, message as the project's reader says it)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"usr": []}, "f:1: usr: unknown key"),
    ({"user": [{"nam": "x"}]}, "f:1: user[0].name: is required and is not there"),
    (
        {"filesystem": [{"mountpoint": "/", "minsize": "10G"}]},
        "f:1: filesystem[0].minsize: '10G' is not a size: write '10 GiB' or '10 GB'",
    ),
    (
        {"filesystem": [{"mountpoint": "/", "minsize": 1.5}]},
        "f:1: filesystem[0].minsize: is neither a number of bytes nor a text such as '10 GiB'",
    ),
    (
        {"filesystem": [{"mountpoint": "/", "size": 1, "minsize": 1}]},
        "f:1: filesystem[0]: size is another name of minsize: write only minsize",
    ),
    (
        {"disk": {"partitions": [{"type": "zfs", "minsize": 1}]}},
        "f:1: disk.partitions[0].type: Input should be 'plain', 'lvm' or 'btrfs'",
    ),
    ({"fips": "yes"}, "f:1: fips: Input should be a valid boolean"),
    ({"user": [{"name": "x", "uid": "1"}]}, "f:1: user[0].uid: Input should be a valid integer"),
    (
        {"files": [{"path": "/etc/x", "user": True}]},
        "f:1: files[0].user: is neither a name nor a number",
    ),
]


@pytest.mark.parametrize(("data", "message"), WRONG, ids=lambda one: str(one)[:40])
def test_what_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Document("f", data, {(): 1}), DiskConfig)
    assert caught.value.message == message


def test_a_file_of_ones_own_is_rendered_in_both_formats() -> None:
    data = {"customizations": {"user": None, "kernel": {"append": "a"}, "x": [None, 1]}}
    assert tomllib.loads(render_toml(data)) == {
        "customizations": {"kernel": {"append": "a"}, "x": [1]}
    }
    dated = tomllib.loads("[customizations]\nday = 2026-01-02\n")
    assert json.loads(render_blueprint_json(dated)) == {"customizations": {"day": "2026-01-02"}}
    assert tomllib.loads(render_toml(dated)) == dated


def test_the_project_schema_has_the_disks() -> None:
    schema = project_schema("project")
    disk = {"image": "web", "types": ["qcow2"], "config": {"user": [{"name": "a"}]}}
    body = {"version": 1, "name": "acme", "registry": "r.example.com/a", "disks": {"web": disk}}
    jsonschema.validate(body, schema)
    disk["types"] = ["qcow"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, schema)


def test_every_key_is_documented() -> None:
    text = (Path(__file__).parent.parent.parent / "docs/disk-config.md").read_text()
    for model in vars(diskconfig).values():
        if isinstance(model, type) and issubclass(model, diskconfig.Customization):
            for name, info in model.model_fields.items():
                key = info.alias or name
                assert f"`{key}`" in text or f"`{key}." in text, f"{model.__name__}.{key}"
