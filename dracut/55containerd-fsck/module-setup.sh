#!/bin/bash
# SPDX-License-Identifier: MIT
# The binary, and what starts it once the root is mounted: a unit where systemd runs in the initramfs, a hook where it does not.
# dracut 059 and later, and dracut-ng.

# called by dracut; 255: only if asked for, add_dracutmodules+=" containerd-fsck "
check() {
	require_binaries /usr/sbin/containerd-fsck timeout || return 1
	return 255
}

# called by dracut
depends() {
	return 0
}

# called by dracut
install() {
	# static: no libraries to look for. Never with -H, which rd.hostonly=0 takes away.
	inst_simple /usr/sbin/containerd-fsck

	# shellcheck disable=SC2154 # dracut's
	if dracut_module_included "systemd-initrd"; then
		inst_simple "$moddir/containerd-fsck-initrd.service" "$systemdsystemunitdir/containerd-fsck-initrd.service"
		$SYSTEMCTL -q --root "$initdir" add-wants initrd.target containerd-fsck-initrd.service
	else
		inst_multiple timeout
		inst_hook pre-pivot 50 "$moddir/containerd-fsck.sh"
	fi
}
