# SPDX-License-Identifier: MIT
# containerd-fsck, for Buildroot. The toolchain's C library is musl, so its compiler is musl's. tests/packages has Debian's kconfiglib
# read Config.in, and make run what is installed; there is no Buildroot.

CONTAINERD_FSCK_VERSION = 0.1
CONTAINERD_FSCK_SITE = $(call qstrip,$(BR2_PACKAGE_CONTAINERD_FSCK_SOURCES))
CONTAINERD_FSCK_SITE_METHOD = local
CONTAINERD_FSCK_LICENSE = MIT, Zlib, BSD-3-Clause
CONTAINERD_FSCK_LICENSE_FILES = LICENSE hooks/debian/copyright

define CONTAINERD_FSCK_BUILD_CMDS
	$(TARGET_MAKE_ENV) $(MAKE) -C $(@D) CROSS=$(TARGET_CROSS) MUSL_CC=$(TARGET_CC) MUSL_LIB=$(STAGING_DIR)/usr/lib \
		KERNEL_HEADERS=$(STAGING_DIR)/usr/include DEPS=$(call qstrip,$(BR2_PACKAGE_CONTAINERD_FSCK_DEPS))
endef

define CONTAINERD_FSCK_INSTALL_TARGET_CMDS
	$(TARGET_MAKE_ENV) $(MAKE) -C $(@D) CROSS=$(TARGET_CROSS) DESTDIR=$(TARGET_DIR) PREFIX=/usr install
endef

define CONTAINERD_FSCK_INSTALL_INIT_SYSTEMD
	$(TARGET_MAKE_ENV) $(MAKE) -C $(@D) CROSS=$(TARGET_CROSS) DESTDIR=$(TARGET_DIR) PREFIX=/usr install-systemd
endef

define CONTAINERD_FSCK_INSTALL_INIT_OPENRC
	$(TARGET_MAKE_ENV) $(MAKE) -C $(@D) CROSS=$(TARGET_CROSS) DESTDIR=$(TARGET_DIR) PREFIX=/usr install-openrc
endef

$(eval $(generic-package))
