/* SPDX-License-Identifier: MIT */
/* Places that are mounted later: by the fstab and the units of a system of our own. */
#include "session/boot.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "test.h"

static struct arena arena;
static char top[] = "/tmp/test-boot-XXXXXX";

static void make_directory(const char *name)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	CHECK(mkdir(path, 0700) == 0);
}

static void write_file(const char *name, const char *text)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	FILE *const f = fopen(path, "w");
	CHECK(f && fputs(text, f) >= 0);
	CHECK(f && fclose(f) == 0);
}

/* Why the root of that system is a shadow; "": it is none. */
static const char *shadow(void)
{
	const char *why = NULL;
	char root[256];
	struct err e = {0};

	(void)snprintf(root, sizeof(root), "%s/var/lib/containerd", top);
	CHECK(boot_find_shadow(top, root, &arena, &why, &e) == RC_OK);
	return why ? why : "";
}

static void fstab(void)
{
	CHECK(!*shadow()); /* none */
	write_file("etc/fstab", "");
	CHECK(!*shadow());
	write_file("etc/fstab", "/dev/vda1 / ext4 defaults 0 1\n# /dev/vdb /var/lib ext4\n\n  \n/dev/vdb\nlast");
	CHECK(!*shadow());
	write_file("etc/fstab", "/dev/vda1 / ext4\n \t/dev/vdb\t/var/lib/  ext4");
	CHECK(strcmp(shadow(), "/var/lib is mounted later (fstab)") == 0);
	write_file("etc/fstab", "/dev/vdb /var/library ext4\n/dev/vdb /var/lib/containerd/below ext4\n/dev/vdc /var/lib/containerd");
	CHECK(strcmp(shadow(), "/var/lib/containerd is mounted later (fstab)") == 0);
	write_file("etc/fstab", "");
}

static void units(void)
{
	make_directory("etc/systemd");
	make_directory("etc/systemd/system");
	write_file("etc/systemd/system/var-lib-other.mount", "");
	CHECK(!*shadow());
	write_file("etc/systemd/system/var-lib.mount", "");
	CHECK(strcmp(shadow(), "/var/lib is mounted later (a mount unit)") == 0);
}

int main(void)
{
	struct err e = {0};
	char command[64];

	if (!mkdtemp(top) || arena_open(&arena, &e))
		return 1;
	make_directory("etc");
	RUN(fstab);
	RUN(units);
	(void)snprintf(command, sizeof(command), "rm -rf %s", top);
	if (system(command))
		return 1;
	return test_failed != 0;
}
