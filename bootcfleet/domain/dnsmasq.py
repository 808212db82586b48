"""The configuration of dnsmasq that brings machines to `kickstart serve`.

As a proxy: the network's own DHCP server keeps giving addresses, dnsmasq only adds
where to boot from. Source: dnsmasq(8), and RFC 4578 with IANA's "Processor
Architecture Types" for the numbers of option 93.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The firmware programs in the TFTP folder, by what dnsmasq calls the client.
BIOS_IPXE = "undionly.kpxe"
#: Architecture → the names that an installer ISO has for shim and GRUB (EFI/BOOT).
SHIM = {"x86_64": "BOOTX64.EFI", "aarch64": "BOOTAA64.EFI"}
GRUB = {"x86_64": "grubx64.efi", "aarch64": "grubaa64.efi"}
#: A client-arch of PXE → dnsmasq's word. UEFI on x86_64 says 7 (BC_EFI) in practice, 9 by the book.
_PXE = {"x86_64": ("BC_EFI", "X86-64_EFI"), "aarch64": ("ARM64_EFI",)}
_HTTP_ARCH = {"x86_64": 16, "aarch64": 19}


@dataclass(frozen=True)
class DnsmasqPlan:
    """Where things are: the server's address and URL, dnsmasq's TFTP folder, the architectures."""

    address: str
    base: str
    tftp_root: str
    archs: tuple[str, ...]
    bios: bool = True


def tftp_grub(base: str) -> str:
    """grub.cfg in the TFTP folder: on to the server, over HTTP."""
    device = base.replace("://", ",", 1)
    return f"set root=({device})\nconfigfile ($root)/grub/grub.cfg\n"


def dnsmasq_config(plan: DnsmasqPlan) -> str:
    """The file for ``dnsmasq --conf-file=FILE``."""
    lines = [
        "# Written by bootcfleet kickstart serve --dnsmasq: a new run writes it anew.",
        "# Try it: dnsmasq --no-daemon --conf-file=THIS-FILE (as root: it answers DHCP).",
        "",
        "# No DNS, and no addresses: the DHCP server of this network goes on giving them.",
        "port=0",
        f"dhcp-range={plan.address},proxy",
        "log-dhcp",
        "",
        "enable-tftp",
        f"tftp-root={plan.tftp_root}",
        "",
        "# iPXE (its option 175): straight to its menu, over HTTP.",
        "dhcp-match=set:ipxe,175",
        f"dhcp-boot=tag:ipxe,{plan.base}/ipxe",
        "",
    ]
    if plan.bios:
        lines += [
            "# BIOS: iPXE first. undionly.kpxe is in the package ipxe (Debian) or ipxe-bootimgs.",
            f'pxe-service=tag:!ipxe,x86PC,"Install over the network",{BIOS_IPXE}',
            "",
        ]
    for arch in plan.archs:
        lines += [f"# UEFI {arch}: shim and GRUB of the installer, so that Secure Boot stays on."]
        lines += [
            f'pxe-service=tag:!ipxe,{word},"Install over the network",{arch}/{SHIM[arch]}'
            for word in _PXE[arch]
        ]
        lines.append("")
    lines += [
        "# UEFI HTTP boot. dnsmasq answers an HTTPClient only where it gives the addresses, too",
        '# (a dhcp-range without "proxy"); else these go into the network\'s own DHCP server:',
    ]
    for arch in plan.archs:
        tag = f"http-{arch}"
        lines += [
            f'#   option 93 = {_HTTP_ARCH[arch]}: option 60 "HTTPClient", '
            f"option 67 {plan.base}/boot/{arch}/EFI/BOOT/{SHIM[arch]}",
            f"dhcp-match=set:{tag},option:client-arch,{_HTTP_ARCH[arch]}",
            f"dhcp-option-force=tag:{tag},60,HTTPClient",
            f"dhcp-boot=tag:{tag},{plan.base}/boot/{arch}/EFI/BOOT/{SHIM[arch]}",
        ]
    return "\n".join([*lines, ""])
