# SPDX-License-Identifier: MIT
# For Yocto, with TCLIBC = "musl": make dist, and its tarball beside this file in a directory "files". tests/packages runs what it
# installs with the shell; there is no bitbake.
SUMMARY = "Checks and repairs containerd's store after a power cut"
LICENSE = "MIT & Zlib & BSD-3-Clause"
LIC_FILES_CHKSUM = "file://LICENSE;beginline=1;endline=1;md5=2e7f3427ab08fda49476f7eec09fe84c"

# what the Makefile pins, from Debian; it looks at the digests once more
SRC_URI = "file://containerd-fsck-${PV}.tar.gz \
    ${DEBIAN_MIRROR}/main/z/zlib/zlib_1.2.13.dfsg.orig.tar.bz2;name=zlib;unpack=0 \
    ${DEBIAN_MIRROR}/main/libz/libzstd/libzstd_1.5.4+dfsg2.orig.tar.xz;name=zstd;unpack=0 \
    ${DEBIAN_MIRROR}/main/b/bearssl/bearssl_0.6+dfsg.1.orig.tar.xz;name=bearssl;unpack=0"
SRC_URI[zlib.sha256sum] = "71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1"
SRC_URI[zstd.sha256sum] = "8cf4bbb65e77ec348d052c8d6230eba66d435bddf64c8b5be2fcb16880c19953"
SRC_URI[bearssl.sha256sum] = "102a625bd8f6155260867a50c508df8d8c3f796985dd744df1a68e5cd1a79004"

inherit features_check
REQUIRED_DISTRO_FEATURES = "systemd"
COMPATIBLE_HOST:libc-glibc = "null"
# it strips itself
INHIBIT_PACKAGE_STRIP = "1"
INSANE_SKIP:${PN} += "already-stripped ldflags"

do_compile() {
	oe_runmake CROSS="${TARGET_PREFIX}" MUSL_CC="${CC}" MUSL_LIB="${STAGING_LIBDIR}" KERNEL_HEADERS="${STAGING_INCDIR}" DEPS="${WORKDIR}"
}

# The unit is on by a link in /usr, so that this needs no class for services.
do_install() {
	oe_runmake CROSS="${TARGET_PREFIX}" DESTDIR="${D}" PREFIX="${prefix}" SBINDIR="${sbindir}" SYSTEMD_UNITS="${systemd_system_unitdir}" \
		SYSTEMD_PRESETS="${systemd_unitdir}/system-preset" SYSTEMD_CATALOG="${systemd_unitdir}/catalog" install install-systemd
}

FILES:${PN} += "${systemd_system_unitdir} ${systemd_unitdir}/system-preset ${systemd_unitdir}/catalog ${datadir}"
