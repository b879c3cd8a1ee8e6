/* SPDX-License-Identifier: MIT */
/* What the machine says, as any bytes: the kernel's words, a fstab, lists of mounts, links of descriptors, names of programs. Parts of an
 * input end with the byte 1; the first part's first byte says who reads them. Nothing of this machine is read: each look of boot.c and
 * host.c at it is answered here. */
#include "ground/host.h"

#include <string.h>

#include "session/boot.h"
#include "ground/os.h"
#include "steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PARTS 12
#define ROOT_FD 10
#define SYSROOT "/sysroot"
#define ROOT "/sysroot/var/lib/containerd"

static struct span parts[PARTS];
static unsigned next_link;
static uint64_t given; /* bytes, each as often as it was */

static enum rc give(struct span part, struct arena *a, struct span *bytes, struct err *e)
{
	if (part.left == 1 && *part.at == '!')
		return fail(e, RC_IO, "a look that fails");
	given += part.left;
	*bytes = arena_copy(a, part);
	return bytes->bad ? RC_NOMEM : RC_OK;
}

/* ---- what is asked ---- */

CHECKED enum rc __wrap_os_read_proc(const char *path, struct arena *a, struct span *bytes, struct err *e);
enum rc __wrap_os_read_proc(const char *path, struct arena *a, struct span *bytes, struct err *e)
{
	const size_t n = strlen(path);

	if (strcmp(path, "/proc/self/mountinfo") == 0)
		return give(parts[0], a, bytes, e);
	if (strcmp(path, "/proc/cmdline") == 0 || strcmp(path, "/proc/uptime") == 0)
		return give(parts[1], a, bytes, e);
	return give(parts[n > 5 && strcmp(path + n - 5, "/comm") == 0 ? 4 : 5], a, bytes, e);
}

CHECKED enum rc __wrap_os_read_small(int dir, const char *name, size_t cap, struct arena *a, struct span *bytes, struct err *e);
enum rc __wrap_os_read_small(int dir, const char *name, size_t cap, struct arena *a, struct span *bytes, struct err *e)
{
	if (dir != -1 || strcmp(name, "fstab") != 0 || cap < parts[2].left)
		abort();
	return give(parts[2], a, bytes, e);
}

bool __wrap_os_exists(const char *path);
bool __wrap_os_exists(const char *path)
{
	const size_t n = strlen(path);

	if (strncmp(path, SYSROOT "/", sizeof(SYSROOT)) != 0 || n < 6 || strcmp(path + n - 6, ".mount") != 0)
		abort();
	return parts[3].left && fnv1a(path, n) % 8 == *parts[3].at % 8;
}

CHECKED enum rc __wrap_os_open_root(const char *path, int *fd, struct err *e);
enum rc __wrap_os_open_root(const char *path, int *fd, struct err *e)
{
	(void)e;
	(void)fd; /* stays -1: nothing is open */
	return strcmp(path, "/proc") == 0 || strcmp(path, SYSROOT "/etc") == 0 || fnv1a(path, strlen(path)) % 2 ? RC_OK : RC_END;
}

CHECKED enum rc __wrap_os_open_dir(int dir, const char *name, int *fd, struct err *e);
enum rc __wrap_os_open_dir(int dir, const char *name, int *fd, struct err *e)
{
	(void)dir;
	(void)fd;
	return *name == '9' ? fail(e, RC_IO, "a look that fails") : *name == '8' ? RC_END : RC_OK;
}

/* Processes, and their descriptors: all have names that are numbers. */
CHECKED enum rc __wrap_os_list(int dir, struct arena *a, struct os_name **out, size_t *count, struct err *e);
enum rc __wrap_os_list(int dir, struct arena *a, struct os_name **out, size_t *count, struct err *e)
{
	static const char *const numbers[] = {"1", "2", "34", "8", "9", "version"};
	struct os_name *const n = arena_array(a, 6, sizeof(*n));

	(void)dir;
	if (!n)
		return fail(e, RC_NOMEM, "no memory");
	for (size_t i = 0; i < 6; i++)
		n[i].name = numbers[i];
	*out = n;
	*count = 6;
	return RC_OK;
}

CHECKED enum rc __wrap_os_read_link(int dir, const char *name, char *buf, size_t *n, struct err *e);
enum rc __wrap_os_read_link(int dir, const char *name, char *buf, size_t *n, struct err *e)
{
	const struct span part = strcmp(name, "self") == 0     ? span_of_string("2")
				 : strcmp(name, "ns/pid") == 0 ? span_of_string("pid:[4026531836]")
							       : parts[6 + next_link++ % (PARTS - 6)];

	(void)dir;
	if (part.left == 1 && *part.at == '!')
		return fail(e, RC_IO, "a look that fails");
	if (part.left == 1 && *part.at == '?')
		return RC_END;
	*n = (size_t)min_u64(part.left, LIMIT_PATH_BYTES - 1);
	given += *n;
	if (*n)
		memcpy(buf, part.at, *n);
	buf[*n] = 0;
	return RC_OK;
}

CHECKED enum rc __wrap_os_stat_fd(int fd, struct stat *st, struct err *e);
enum rc __wrap_os_stat_fd(int fd, struct stat *st, struct err *e)
{
	(void)e;
	*st = (struct stat){.st_dev = 1, .st_ino = fd == ROOT_FD ? 2 : fd == ROOT_FD + 1 ? 3 : (ino_t)(2 + next_link % 3)};
	return RC_OK;
}

CHECKED enum rc __wrap_os_stat(int dir, const char *name, struct stat *st, struct err *e);
enum rc __wrap_os_stat(int dir, const char *name, struct stat *st, struct err *e)
{
	(void)dir;
	(void)name;
	(void)e;
	*st = (struct stat){.st_ino = 2};
	return RC_OK;
}

/* ---- who asks ---- */

static void kernel_words(struct arena *a)
{
	struct boot_wish w, again;
	struct err e = {0};

	if (boot_parse_wish(&w, parts[1], a, &e))
		abort();
	if (w.root_count > BOOT_ROOTS_MAX || w.roots[w.root_count] || w.mode > BOOT_SKIP)
		abort();
	for (size_t i = 0; i < w.root_count; i++)
		if (!*w.roots[i])
			abort();
	if (w.force && w.mode == BOOT_SKIP)
		abort();
	/* as the kernel gives them to us: by way of the file */
	if (boot_read_wish(&again, a, &e) || (again.mode != w.mode && parts[1].left != 1) ||
		(again.root_count != w.root_count && parts[1].left != 1))
		abort();
}

static void shadow(struct arena *a)
{
	const char *why = NULL;
	struct err e = {0};
	const enum rc rc = boot_find_shadow(SYSROOT, ROOT, a, &why, &e);

	if (rc == RC_OK && why && strncmp(why, "/var", 4) != 0)
		abort(); /* it is the root's place or one above it */
	if (rc && why)
		abort();
}

static void machine(struct arena *a, struct arena scratch)
{
	static const char *const called[] = {"/var/lib/containerd", "/mnt/containerd", NULL};
	const struct host_question q = {.root = ROOT_FD, .snapshots = ROOT_FD + 1, .names = called};
	struct host_view v = {0};
	struct err e = {0};

	if (host_look(&v, &q, a, scratch, &e))
		abort();
	for (const char *at = v.mounted ? v.mounted : ""; *at; at++)
		if (*at < ' ' || *at > '~')
			abort();
	for (const char *at = v.held ? v.held : ""; *at; at++)
		if (*at > 0 && *at < ' ')
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena arena, scratch;
	struct err e = {0};

	if (!arena.region && (arena_open(&arena, &e) || arena_open(&scratch, &e)))
		abort();
	if (!size)
		return 0;
	const uint8_t who = data[0];
	struct span left = span_of(data + 1, size - 1);
	for (unsigned i = 0; i < PARTS; i++) {
		const uint8_t *const end = left.left ? memchr(left.at, 1, left.left) : NULL;
		parts[i] = span_sub(&left, end ? (size_t)(end - left.at) : left.left);
		if (end)
			(void)span_take(&left, 1);
	}
	const struct arena mark = arena;
	next_link = 0;
	given = 0;
	steps_begin();
	if (who % 4 == 0)
		kernel_words(&arena);
	else if (who % 4 == 1)
		shadow(&arena);
	else if (who % 4 == 2)
		machine(&arena, scratch);
	else
		(void)host_started_ns(scratch);
	steps_end(size + given, 100, 20000);
	arena = mark;
	return 0;
}
