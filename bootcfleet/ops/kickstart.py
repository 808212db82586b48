"""Kickstarts of a project: which there are, for which hosts, and each rendered for one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.install_spec import InstallSpec
from bootcfleet.domain.inventory import Host, Inventory
from bootcfleet.domain.kickstart import (
    KickstartRenderer,
    KickstartRequest,
    RenderedKickstart,
    SecretValue,
)
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.release import Release
from bootcfleet.domain.selector import Selector
from bootcfleet.domain.template import VarsError
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.drivers.kickstartfiles import (
    environment,
    load_kickstarts,
    read_certificate,
    read_install_secret,
)
from bootcfleet.drivers.shipped import shipped_dir
from bootcfleet.errors import ConfigError, UsageError
from bootcfleet.ops.project import LoadedProject

#: Stands for a secret where a kickstart is only looked at.
NOT_SHOWN = b"(secret)"

#: Gives the address where the installer fetches a secret, by the secret's name.
SecretUrl = Callable[[str], str]


@dataclass(frozen=True)
class KickstartOptions:
    """What a command line says over an install, or instead of one for a template alone."""

    release: Release | None = None
    image: ImageRef | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kickstarts:
    """The installs of a project and every template, ready to be rendered; safe in threads."""

    loaded: LoadedProject | None
    renderer: KickstartRenderer
    inventory: Inventory

    @classmethod
    def open(cls, loaded: LoadedProject | None, inventory: Path | None = None) -> Kickstarts:
        """Read the templates (the project's over the shipped ones) and the inventory.

        Without `inventory` it is what other commands read, if it is there.  Raises
        `ConfigError`.
        """
        folders = [shipped_dir("kickstarts")]
        if loaded is not None:
            folders.insert(0, loaded.root / loaded.project.kickstarts)
        named = environment().get("BOOTCFLEET_INVENTORY")
        inventory = inventory or (Path(named) if named else None)
        if inventory is None:
            own = loaded.root / loaded.project.inventory if loaded else Path("inventory.yaml")
            inventory = own if own.exists() else None
        hosts = load_inventory(inventory, LocalExecutor()) if inventory else Inventory(())
        return cls(loaded, KickstartRenderer(load_kickstarts(folders)), hosts)

    @property
    def installs(self) -> Mapping[str, InstallSpec]:
        """The project's installs, by name."""
        return self.loaded.project.installs if self.loaded else {}

    def host(self, name: str) -> Host:
        """A host of the inventory.  Raises `UsageError`."""
        for host in self.inventory.hosts:
            if host.name == name:
                return host
        names = [host.name for host in self.inventory.hosts]
        raise UsageError(
            f"the inventory has no host {name!r}",
            hint=did_you_mean(name, names) or "see `bootcfleet fleet list`",
        )

    def install_of(self, host: Host) -> str:
        """The install that is for a host: by selector, else the only one without a selector.

        Raises `UsageError` when there is none, or more than one.
        """
        chosen = [name for name, spec in self.installs.items() if _selects(spec, host)]
        chosen = chosen or [name for name, spec in self.installs.items() if spec.selector is None]
        if len(chosen) == 1:
            return chosen[0]
        if not chosen:
            raise UsageError(
                f"no install of the project is for {host.name}",
                hint="give one a selector that its labels satisfy, under installs: in "
                "bootcfleet.yaml",
            )
        raise UsageError(
            f"{host.name} could be installed by {' and by '.join(chosen)}",
            hint="give them selectors of which only one is for this host",
        )

    def hosts_of(self, name: str) -> tuple[Host, ...]:
        """The hosts that an install is for, in the inventory's order."""
        others = [spec for one, spec in self.installs.items() if one != name]
        spec = self.installs[name]
        found = []
        for host in self.inventory.hosts:
            if spec.selector is not None:
                mine = _selects(spec, host)
            else:
                mine = not any(_selects(other, host) for other in others)
            if mine:
                found.append(host)
        return tuple(found)

    def spec(self, name: str, options: KickstartOptions) -> InstallSpec:
        """An install, or a template as an install of its own.  Raises `UsageError`."""
        if name in self.installs:
            spec = self.installs[name]
            changes: dict[str, Any] = {"vars": {**spec.vars, **options.variables}}
            return spec.model_copy(update=changes)
        if name not in self.renderer.templates.names:
            known = [*self.installs, *self.renderer.templates.names]
            raise UsageError(
                f"there is no install and no template {name!r}", hint=did_you_mean(name, known)
            )
        if options.release is None or options.image is None:
            raise UsageError(
                f"{name} is a template: it needs --release and --image",
                hint="or describe it under installs: in bootcfleet.yaml, with its release and "
                "image",
            )
        return InstallSpec(
            template=name,
            release=options.release,
            image=str(options.image),
            vars=dict(options.variables),
        )

    def reference(self, spec: InstallSpec) -> ImageRef:
        """The reference that an install's hosts follow: the channel's tag, else the version's."""
        if self.loaded is None or spec.image not in self.loaded.project.images:
            return ImageRef.parse(spec.image)
        project = self.loaded.project
        if spec.channel is None:
            return ImageRef.parse(f"{project.registry}/{spec.image}:{project.image_version}")
        prefix = project.channels[spec.channel].repository or project.registry
        return ImageRef.parse(f"{prefix}/{spec.image}:{spec.channel}")

    def render(
        self,
        name: str,
        host: Host | None = None,
        *,
        options: KickstartOptions | None = None,
        show_secrets: bool = True,
        secret_url: SecretUrl | None = None,
        callback_url: str = "",
        callback_pin: str = "",
    ) -> RenderedKickstart:
        """The kickstart of an install (or template) for a host.

        Without `show_secrets` each secret is a placeholder, and need not be there. With
        `secret_url` the installer fetches them, and none is in the text. Raises `UsageError`
        and `ConfigError`.
        """
        options = options or KickstartOptions()
        spec = self.spec(name, options)
        if secret_url is not None:
            secrets = {one: SecretValue(url=secret_url(one)) for one in spec.secrets}
        elif show_secrets:
            secrets = {one: SecretValue(self.secret(name, one, host)) for one in spec.secrets}
        else:
            # A template alone has nobody who could say where its secrets are.
            alone = name not in self.installs
            wanted = self.renderer.templates.info(name).secrets if alone else spec.secrets
            secrets = {one: SecretValue(NOT_SHOWN) for one in wanted}
        return self.renderer.render(
            KickstartRequest(
                name=name,
                spec=spec,
                release=options.release or spec.release,
                reference=options.image or self.reference(spec),
                host=host,
                secrets=secrets,
                certificates={
                    path: read_certificate(path, root=self._root) for path in spec.ca_certificates
                },
                callback_url=callback_url,
                callback_pin=callback_pin,
                error=self._error(name),
            )
        )

    def secret(self, name: str, secret: str, host: Host | None) -> bytes:
        """A secret of an install, as the installer is to have it.  Raises `UsageError`."""
        return read_install_secret(
            secret,
            self.installs[name].secrets[secret],
            root=self._root,
            host=host.name if host else None,
            env=environment(),
        )

    @property
    def _root(self) -> Path:
        return self.loaded.root if self.loaded else Path()

    def _error(self, name: str) -> VarsError | None:
        loaded = self.loaded
        if loaded is None or name not in self.installs:
            return None

        def complain(key: str | None, message: str, *, hint: str | None = None) -> ConfigError:
            path = ("installs", name, "vars", key) if key is not None else ("installs", name)
            return loaded.document.error(path, message, hint=hint)

        return complain


def _selects(spec: InstallSpec, host: Host) -> bool:
    return spec.selector is not None and Selector.parse([spec.selector], [], []).matches(host)
