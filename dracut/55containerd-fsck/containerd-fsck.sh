#!/bin/sh
# SPDX-License-Identifier: MIT
# dracut's pre-pivot hook, for an initramfs without systemd. Process 1 sources it: exit would end in a panic, and what never
# returns holds up the boot for good. So: one function, which returns, and the binary under a second clock.

# shellcheck source=/dev/null
command -v getargbool >/dev/null 2>&1 || . /lib/dracut-lib.sh

containerd_fsck() {
	# for the day when the binary is the trouble; everything else on the command line is read by it
	getargbool 1 rd.containerd.fsck || return 0
	timeout -k 10 300 /usr/sbin/containerd-fsck boot --sysroot "${NEWROOT:-/sysroot}" --remount --budget 240 </dev/null ||
		case $? in
		1) ;; # repaired
		*) warn "containerd-fsck ended with status $?" ;;
		esac
	return 0
}

containerd_fsck || :
unset -f containerd_fsck
