#!/bin/sh
# Installs what the integration tests drive: podman, a registry, sshd, dnf and rpm tools.
# Only as root, and only what is missing; says what it would need otherwise.
set -eu

missing=
for tool in podman skopeo docker-registry sshd ssh ssh-agent sshpass sudo dnf rpmbuild \
    createrepo_c debootstrap runc git iptables gpg busybox npm groovy shellcheck \
    qemu-system-x86_64 dnsmasq curl openssl grub-script-check \
    grub-mknetdir xorriso mcopy grub-mkimage implantisomd5 mke2fs qemu-img prometheus \
    chromium systemd-analyze; do
    command -v "$tool" >/dev/null 2>&1 || [ -x "/usr/sbin/$tool" ] || missing="$missing $tool"
done
[ -x /usr/lib/podman/netavark ] || [ -x /usr/libexec/podman/netavark ] || missing="$missing netavark"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || [ -x /usr/bin/postgres ] ||
    missing="$missing postgres"
# Where dnf is, GRUB's and isolinux's parts lie elsewhere, and those ISOs are not made.
command -v apt-get >/dev/null 2>&1 && for file in /usr/lib/grub/i386-pc/boot_hybrid.img \
    /usr/lib/grub/x86_64-efi/linux.mod /usr/lib/ISOLINUX/isolinux.bin \
    /usr/lib/syslinux/modules/bios/ldlinux.c32 /usr/share/OVMF/OVMF_CODE_4M.fd; do
    [ -e "$file" ] || missing="$missing $file"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "not installed, and this is not root:$missing" >&2
    echo "the tests that need them are skipped; run 'sudo make test' to run everything" >&2
    exit 0
fi
echo "installing for the tests:$missing"
# A Node.js from elsewhere brings its own npm, and conflicts with the distribution's.
command -v npm >/dev/null 2>&1 && npm= || npm=npm
if command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends \
        podman runc netavark aardvark-dns iptables skopeo docker-registry uidmap gnupg \
        openssh-server openssh-client sshpass sudo dnf rpm createrepo-c debootstrap \
        busybox-static $npm git iproute2 postgresql postgresql-common groovy \
        shellcheck qemu-system-x86 ipxe-qemu dnsmasq-base curl openssl grub-common \
        grub-pc-bin grub-efi-amd64-bin xorriso mtools isolinux syslinux-common isomd5sum \
        ovmf e2fsprogs qemu-utils systemd prometheus chromium >/dev/null
    exit 0
fi
if command -v dnf >/dev/null 2>&1; then
    # There is no groovy, no prometheus, no chromium outside of EPEL, no grub-script-check (it is grub2-script-check), and no ShellCheck outside of EPEL: those tests are skipped.
    # docker-registry is docker-distribution here; debootstrap builds the tests' base image.
    dnf install -y -q podman runc netavark aardvark-dns skopeo docker-distribution \
        openssh-server openssh-clients sshpass sudo rpm-build rpm-sign gnupg2 iptables-nft createrepo_c debootstrap \
        git-core iproute postgresql-server busybox $npm \
        qemu-system-x86-core ipxe-roms-qemu dnsmasq curl openssl \
        xorriso mtools grub2-tools isomd5sum e2fsprogs qemu-img edk2-ovmf systemd
    exit 0
fi
echo "neither apt-get nor dnf is here; install by hand:$missing" >&2
exit 5
