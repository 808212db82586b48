#!/bin/sh
# Runs inside the bare Debian root (chroot) and gives it the shape of a bootc base image:
# an empty /var, the links of an ostree root, one kernel, the RPM database under /usr.
set -eu
kernel="$1"

# What Debian's packages brought and a bootc base does not have.
rm -rf /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian \
       /usr/share/perl /usr/share/perl5 /usr/lib/x86_64-linux-gnu/perl-base \
       /usr/lib/python3/dist-packages/__pycache__ /etc/machine-id /etc/hostname
find /usr -name '__pycache__' -prune -exec rm -rf {} +

# Debian gives these numbers to groups that RHEL has elsewhere: 26 is postgres there, 10 is wheel.
for group in tape uucp; do
    sed -i "/^$group:/d" /etc/group /etc/passwd /etc/gshadow /etc/shadow
    sed -i "/^[ug] $group /d" /usr/lib/sysusers.d/basic.conf
done

# Users of the base, as its vendor would ship them.
{
    awk -F: '$1 != "root" { printf "g %s %s -\n", $1, $3 }' /etc/group
    awk -F: '$1 != "root" { printf "u %s %s:%s \"%s\" %s %s\n", $1, $3, $4, $5, $6, $7 }' /etc/passwd
    echo 'g wheel 10 -'
} > /usr/lib/sysusers.d/00-base.conf
systemd-sysusers /usr/lib/sysusers.d/00-base.conf

# RHEL's policy: a unit is off unless a preset says otherwise.
echo 'disable *' > /usr/lib/systemd/system-preset/99-default-disable.preset
sed -i '/^enable \*/d' /usr/lib/systemd/system-preset/*.preset

for unit in timer service; do
    : > "/usr/lib/systemd/system/bootc-fetch-apply-updates.$unit"
done
cat > /usr/lib/systemd/system/bootc-fetch-apply-updates.timer <<'UNIT'
[Timer]
OnBootSec=1h
[Install]
WantedBy=timers.target
UNIT
cat > /usr/lib/systemd/system/bootc-fetch-apply-updates.service <<'UNIT'
[Service]
Type=oneshot
ExecStart=/usr/bin/bootc upgrade --apply --quiet
UNIT
systemctl enable bootc-fetch-apply-updates.timer

mkdir -p "/usr/lib/modules/$kernel"
for file in vmlinuz initramfs.img modules.order modules.builtin modules.builtin.modinfo; do
    : > "/usr/lib/modules/$kernel/$file"
done

mkdir -p /usr/lib/ostree /usr/lib/bootc/kargs.d /etc/pki/ca-trust/source/anchors
printf '[composefs]\nenabled = yes\n[sysroot]\nreadonly = true\n' > /usr/lib/ostree/prepare-root.conf

# The RPM database under /usr, and a package that owns what scriptlets ask for.
mkdir -p /etc/rpm /usr/lib/sysimage/rpm /etc/yum.repos.d
echo '%_dbpath /usr/lib/sysimage/rpm' > /etc/rpm/macros.dbpath
cat > /etc/yum.repos.d/test.repo <<'REPO'
[test]
name=Local repository of the tests
baseurl=file:///usr/share/bootcfleet-test-repo
enabled=1
gpgcheck=0
REPO
echo 10 > /etc/dnf/vars/releasever
rpm --initdb
rpm -i /usr/share/bootcfleet-test-repo/base-standin-*.rpm

# /var is a volume of the host; the rest leads there.
rm -rf /var
mkdir -p /var/cache /var/lib /var/log
mkdir -m 1777 /var/tmp
ln -s ../run /var/run
rm -rf /home /root /srv /opt /mnt /media /boot /run /tmp
ln -s var/home /home
ln -s var/roothome /root
ln -s var/srv /srv
ln -s var/opt /opt
ln -s var/mnt /mnt
ln -s run/media /media
ln -s sysroot/ostree /ostree
mkdir /sysroot /boot /run
mkdir -m 1777 /tmp
