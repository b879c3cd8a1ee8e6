/* SPDX-License-Identifier: MIT */
#include "ground/host.h"

#include <stdlib.h>
#include <string.h>

#include "ground/os.h"

/* links of descriptors that are read, some 300 ns each; and mount namespaces that are looked into. Past them not all was seen. */
#define LINKS_MAX (1u << 18)
#define NAMESPACES_MAX 128

/* the number of the machine's own process namespace (Linux: include/linux/proc_ns.h, PROC_PID_INIT_INO) */
#define ALL_PROCESSES "pid:[4026531836]"

#define OVERLAY_SNAPSHOTS "io.containerd.snapshotter.v1.overlayfs/snapshots"

struct look {
	const struct host_question *q;
	struct host_view *v;
	struct arena *keep;
	struct stat root, snapshots; /* st_ino 0: not there */
	/* the last answers: neighbours ask the same */
	char asked[LIMIT_PATH_BYTES];
	bool answer;
	unsigned links, namespaces;
	char seen[NAMESPACES_MAX][40];
};

static bool is_same(const char *path, const struct stat *wanted)
{
	auto_fd fd = -1;
	struct stat st = {0};
	struct err ignored = {0}; /* what cannot be opened is not ours by this test */

	return wanted->st_ino && os_open_root(path, &fd, &ignored) == RC_OK && os_stat_fd(fd, &st, &ignored) == RC_OK &&
	       st.st_dev == wanted->st_dev && st.st_ino == wanted->st_ino;
}

/* ---- mounts ---- */

/* The kernel writes blanks and backslashes as \040: proc_pid_mountinfo(5). In place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *at = text; *at; at++) {
		if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' && at[3] >= '0' && at[3] <= '7') {
			*to++ = (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0'));
			at += 3;
		} else {
			*to++ = *at;
		}
	}
	*to = 0;
}

/* Whether dir is the directory of the snapshots, by device and inode: the same may be reached by several paths. before: put in front
 * of it, where another process sees it. Only of our own paths a name counts, for what is mounted may lie under what was mounted later. */
static bool is_snapshots(struct look *l, const char *before, const char *dir)
{
	char path[LIMIT_PATH_BYTES];
	const size_t n = strlen(before), m = strlen(dir);

	if (n + m >= sizeof(path))
		return true; /* nobody's path is that long */
	memcpy(path, before, n);
	memcpy(path + n, dir, m + 1);
	if (strcmp(path, l->asked) == 0)
		return l->answer;
	l->answer = is_same(path, &l->snapshots);
	for (size_t i = 0; !n && !l->answer && l->q->names[i]; i++) {
		const size_t length = strlen(l->q->names[i]);
		l->answer = m == length + sizeof("/" OVERLAY_SNAPSHOTS) - 1 && memcmp(dir, l->q->names[i], length) == 0 &&
			    strcmp(dir + length, "/" OVERLAY_SNAPSHOTS) == 0;
	}
	memcpy(l->asked, path, n + m + 1);
	return l->answer;
}

/* One directory of an overlay, "<snapshots>/<id>/fs". containerd shortens long options to names relative to snapshots/, "12/fs"
 * (containerd 2.3: core/mount/mount_linux.go): those could be another containerd's, and among our own mounts are taken for ours. */
static bool is_of_store(struct look *l, const char *before, char *dir)
{
	const size_t n = strlen(dir);

	if (*dir >= '0' && *dir <= '9')
		return !*before;
	if (n < 4 || strcmp(dir + n - 3, "/fs") != 0)
		return false;
	char *at = dir + n - 3;
	while (at > dir && at[-1] >= '0' && at[-1] <= '9')
		at--;
	if (at == dir + n - 3 || at == dir || at[-1] != '/')
		return false;
	at[-1] = 0;
	return at > dir + 1 && is_snapshots(l, before, dir);
}

/* The options of one overlay: lowerdir=A:B, upperdir=C, and lowerdir+=A of newer kernels. Changed in place. */
static bool has_snapshots(struct look *l, const char *before, char *options)
{
	for (char *rest = options, *option; (option = strsep(&rest, ","));) {
		char *const value = strchr(option, '=');
		if (!value || !(strncmp(option, "lowerdir", 8) == 0 || strncmp(option, "upperdir", 8) == 0))
			continue;
		unescape(value + 1);
		for (char *dirs = value + 1, *dir; (dir = strsep(&dirs, ":"));)
			if (is_of_store(l, before, dir))
				return true;
	}
	return false;
}

static enum rc look_at_mounts(struct look *l, char *text, const char *before, struct err *e)
{
	for (char *rest = text, *line; !l->v->mounted && (line = strsep(&rest, "\n"));) {
		char *const options = text_find(line, " - overlay ");
		if (!options || !has_snapshots(l, before, options))
			continue;
		const char *place = line;
		for (unsigned field = 1; field < 5; field++) /* id, parent, device, root */
			place += strcspn(place, " ") + (place[strcspn(place, " ")] == ' ');
		char *const kept = arena_printf(l->keep, "%.*s", (int)min_u64(strcspn(place, " "), 200), place);
		if (!kept)
			return no_memory(e);
		for (char *at = kept; *at; at++)
			if (*at < ' ' || *at > '~')
				*at = '?';
		l->v->mounted = kept;
	}
	return RC_OK;
}

/* What is mounted for another process, if its mounts are others and nobody with the same was looked at. */
static enum rc look_at_namespace(struct look *l, int process, const char *number, struct arena scratch, struct err *e)
{
	char ns[LIMIT_PATH_BYTES];
	struct span text = {0};
	size_t n = 0;
	struct err why = {0};
	enum rc rc = os_read_link(process, "ns/mnt", ns, &n, &why);

	if (rc == RC_END)
		return RC_OK; /* it has ended */
	if (rc || n >= sizeof(l->seen[0])) {
		l->v->all_seen = false;
		return RC_OK;
	}
	for (unsigned i = 0; i < l->namespaces; i++)
		if (strcmp(l->seen[i], ns) == 0)
			return RC_OK;
	if (l->namespaces == NAMESPACES_MAX) {
		l->v->all_seen = false;
		return RC_OK;
	}
	memcpy(l->seen[l->namespaces++], ns, n + 1);
	const char *const path = arena_printf(&scratch, "/proc/%s/mountinfo", number);
	const char *const before = arena_printf(&scratch, "/proc/%s/root", number);
	if (!path || !before)
		return no_memory(e);
	rc = os_read_proc(path, &scratch, &text, &why);
	if (rc == RC_NOMEM)
		return no_memory(e);
	if (rc)
		l->v->all_seen &= rc == RC_END;
	return rc ? RC_OK : look_at_mounts(l, (char *)(uintptr_t)text.at, before, e);
}

/* ---- processes ---- */

/* A file below the root, whatever path leads there for that process: all that containerd opens there is in a directory
 * io.containerd.*. The same name may be another place for who has other mounts. */
static bool is_in_root(struct look *l, const char *number, char *path, struct arena scratch)
{
	char *const part = text_find(path, "/io.containerd.");

	if (!part)
		return false;
	*part = 0;
	const char *const there = arena_printf(&scratch, "/proc/%s/root%s", number, path);
	return !there || is_same(there, &l->root); /* without memory: it may be */
}

/* The name of its program; false: of this one, or it has ended. */
static bool name_of(const char *number, char *name, size_t cap, struct arena scratch)
{
	const char *const path = arena_printf(&scratch, "/proc/%s/comm", number);
	struct span text = {0};
	struct err ignored = {0};

	if (!path || os_read_proc(path, &scratch, &text, &ignored))
		text = span_of_string("?");
	while (text.left && text.at[text.left - 1] == '\n')
		text.left--;
	(void)escape(name, cap, text); /* 15 bytes at most */
	return strncmp(name, "containerd-fsck", 15) != 0;
}

static enum rc look_at_process(struct look *l, int proc, const char *number, bool ours, struct arena scratch, struct err *e)
{
	auto_fd process = -1, dir = -1;
	struct os_name *names = NULL;
	size_t count = 0;
	char name[64], path[LIMIT_PATH_BYTES + 1];
	struct err why = {0};
	enum rc rc = os_open_dir(proc, number, &process, &why);

	if (rc == RC_END)
		return RC_OK;
	if (rc) {
		l->v->all_seen = false;
		return RC_OK;
	}
	if ((rc = look_at_namespace(l, process, number, scratch, e)) || ours || !name_of(number, name, sizeof(name), scratch))
		return rc;
	rc = os_open_dir(process, "fd", &dir, &why);
	if (rc == RC_OK)
		rc = os_list(dir, &scratch, &names, &count, &why);
	if (rc && rc != RC_END) {
		struct stat st = {0};
		struct err ignored = {0};
		l->v->all_seen &= os_stat(proc, number, &st, &ignored) == RC_END; /* unless it has ended meanwhile */
	}
	for (size_t i = 0; rc == RC_OK && !l->v->held && i < count; i++) {
		size_t n = 0;
		if (l->links++ == LINKS_MAX) {
			l->v->all_seen = false;
			break;
		}
		const enum rc got = os_read_link(dir, names[i].name, path, &n, &why);
		if (got && got != RC_END)
			l->v->all_seen = false;
		if (got || *path != '/' || !is_in_root(l, number, path, scratch))
			continue;
		l->v->held = arena_printf(l->keep, "process %s (%s)", number, name);
		if (!l->v->held)
			return no_memory(e);
	}
	return RC_OK;
}

static enum rc look_at_processes(struct look *l, struct arena scratch, struct err *e)
{
	auto_fd proc = -1, self = -1;
	struct os_name *names = NULL;
	size_t count = 0, n = 0;
	char own[LIMIT_PATH_BYTES] = "", ns[LIMIT_PATH_BYTES] = "";
	struct err why = {0};

	if (os_open_root("/proc", &proc, &why) || os_list(proc, &scratch, &names, &count, &why) ||
		os_read_link(proc, "self", own, &n, &why) || os_open_dir(proc, own, &self, &why) ||
		os_read_link(self, "ns/pid", ns, &n, &why))
		return RC_OK;
	/* the first process has every capability: whoever may look at it may look at all, and /proc hides none from him */
	bool first = false;
	l->v->all_seen = strcmp(ns, ALL_PROCESSES) == 0;
	for (size_t i = 0; i < count && l->v->all_seen; i++)
		first |= strcmp(names[i].name, "1") == 0;
	l->v->all_seen &= first;
	for (size_t i = 0; i < count && !l->v->held; i++) {
		if (names[i].name[0] < '1' || names[i].name[0] > '9')
			continue;
		const enum rc rc = look_at_process(l, proc, names[i].name, strcmp(names[i].name, own) == 0, scratch, e);
		if (rc)
			return rc;
	}
	return RC_OK;
}

enum rc host_look(struct host_view *out, const struct host_question *q, struct arena *keep, struct arena scratch, struct err *e)
{
	struct host_view v = {0};
	struct look *const l = arena_get(&scratch, sizeof(*l));
	struct arena local = scratch;
	struct span text = {0};
	struct err why = {0};

	if (!l)
		return no_memory(e);
	*l = (struct look){.q = q, .v = &v, .keep = keep};
	local = scratch;
	const bool known = os_stat_fd(q->root, &l->root, &why) == RC_OK &&
			   (q->snapshots < 0 || os_stat_fd(q->snapshots, &l->snapshots, &why) == RC_OK);
	enum rc rc = os_read_proc("/proc/self/mountinfo", &local, &text, &why);
	/* without /proc containerd could not have run here either */
	v.mounts_seen = known && (rc == RC_OK || rc == RC_END);
	if (rc == RC_NOMEM)
		return no_memory(e);
	if (rc == RC_OK && (rc = look_at_mounts(l, (char *)(uintptr_t)text.at, "", e)))
		return rc;
	if (!v.mounted && (rc = look_at_processes(l, scratch, e)))
		return rc;
	v.all_seen &= v.mounts_seen;
	*out = v;
	return RC_OK;
}

/* ---- places ---- */

/* What is there below sysroot, or "" if nothing is; NULL: it cannot be told. */
static const char *resolved(const char *sysroot, const char *path, char *out)
{
	struct err ignored = {0};

	if (!*sysroot)
		return path;
	const enum rc rc = os_resolve_in(sysroot, path, out, &ignored);
	return rc == RC_OK ? out : rc == RC_END ? "" : NULL;
}

bool host_may_have(const char *sysroot, const char *path)
{
	char inside[LIMIT_PATH_BYTES];
	auto_fd fd = -1;
	struct err ignored = {0};
	const char *const place = resolved(sysroot, path, inside);

	return !place || (*place && os_open_root(place, &fd, &ignored) != RC_END);
}

bool host_has_shims(const char *sysroot, struct arena scratch)
{
	char inside[LIMIT_PATH_BYTES];
	auto_fd fd = -1;
	struct os_name *names = NULL;
	size_t count = 0;
	struct err ignored = {0};
	const char *const place = resolved(sysroot, "/run/containerd/s", inside);

	if (!place)
		return true;
	if (!*place)
		return false;
	const enum rc rc = os_open_root(place, &fd, &ignored);
	return rc != RC_END && (rc || os_list(fd, &scratch, &names, &count, &ignored) || count);
}

int64_t host_started_ns(struct arena scratch)
{
	struct span text = {0};
	uint64_t seconds = 0;
	struct err ignored = {0};

	/* "855.01 1276.39": seconds, of which the fraction does not matter */
	if (os_read_proc("/proc/uptime", &scratch, &text, &ignored))
		return 0;
	const uint8_t *const dot = text.left ? memchr(text.at, '.', text.left) : NULL;
	if (!dot || parse_decimal(span_of(text.at, (size_t)(dot - text.at)), &seconds))
		return 0;
	const int64_t now = (int64_t)os_calendar_ns();
	return seconds < 4000000000u && now > (int64_t)seconds * 1000000000 ? now - (int64_t)(seconds + 1) * 1000000000 : 0;
}
