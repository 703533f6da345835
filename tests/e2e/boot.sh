#!/bin/sh
# Boots a copy of this machine under systemd, runs commands in it, and takes it down again.
#
#   boot.sh DIRECTORY COMMANDS
#
# The copy is an overlay of / in memory, in namespaces of its own: whatever is done to it, this machine
# stays as it is. It starts what sockets need and nothing else. DIRECTORY is where it is put together, and
# its /mnt. Ends with 77 where no machine can be booted.
set -eu

case $1 in
--outside)
    # In a mount namespace of its own.
    directory=$2
    memory=$directory/memory
    root=$memory/root
    mkdir -p "$memory"
    mount -t tmpfs tmpfs "$memory" || exit 77
    mkdir "$memory/upper" "$memory/work" "$root" "$memory/groups"
    mount -t overlay -o "lowerdir=/,upperdir=$memory/upper,workdir=$memory/work" overlay "$root" || exit 77
    mount -t cgroup2 cgroup2 "$memory/groups" || exit 77
    group=$memory/groups/kiln-boot-$$
    mkdir "$group" || exit 77
    mount --bind "$directory" "$root/mnt"

    # What this machine mounts, or starts at boot, is its own business.
    : > "$root/etc/fstab"
    rm -f "$root/usr/sbin/policy-rc.d"
    echo 6b696c6e6b696c6e6b696c6e6b696c6e > "$root/etc/machine-id"
    mount -t tmpfs -o mode=755 tmpfs "$root/etc/systemd/system"
    for unit in "$root"/usr/lib/systemd/system/*.target.wants/*; do
        case ${unit##*/} in
        *.target | systemd-journald.s* | systemd-journald-dev-log.socket) ;;
        *) ln -sf /dev/null "$root/etc/systemd/system/${unit##*/}" ;;
        esac
    done

    (
        echo 0 > "$group/cgroup.procs"
        exec unshare --pid --fork --kill-child --uts --ipc --net --cgroup --mount "$0" --inside "$root"
    ) < /dev/null > "$memory/log" 2>&1 &
    parent=$!
    end() {
        kill -KILL "$parent" && wait "$parent" || :
        # A group can go once its last process is reaped.
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            find "$group" -depth -type d -exec rmdir {} + 2> /dev/null && break
            sleep 0.2
        done
    } 2> /dev/null
    trap end EXIT

    tries=0
    until init=$(cat "/proc/$parent/task/$parent/children") && [ -n "$init" ] &&
        nsenter --target "${init% }" --all systemctl is-active --quiet basic.target 2> /dev/null; do
        tries=$((tries + 1))
        if [ $tries = 100 ] || ! kill -0 "$parent"; then
            cat "$memory/log" >&2
            exit 77
        fi
        sleep 0.2
    done
    nsenter --target "${init% }" --all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root \
        sh -euc "cd; $3"
    ;;
--inside)
    # The first process of the copy.
    root=$2
    mount -t proc proc "$root/proc"
    # Settings of the kernel are everybody's, but for those of the network.
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount -t proc proc "$root/run"
    mount --bind "$root/run/sys/net" "$root/proc/sys/net"
    umount -l "$root/run"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    for device in null zero full random urandom tty; do
        : > "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    cd "$root"
    mkdir -p .old
    pivot_root . .old
    umount -l /.old
    exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /usr/lib/systemd/systemd --system --unit=basic.target --show-status=1 --log-target=console
    ;;
*)
    exec unshare --mount --propagation private "$0" --outside "$@"
    ;;
esac
