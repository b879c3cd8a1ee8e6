/* SPDX-License-Identifier: MIT */
/* A layer, from a compact description, compared with a directory that somebody made to do harm, and rebuilt there: links out of the root,
 * special files, names of another kind, hard links to a file outside. Nothing beside the store changes, no link is followed, and where it
 * says that the rebuild was done, nothing is left to do.
 *
 * An input: a byte of choices, entries of the layer, and after a byte 255 what lies on the disk, in order. */
#include "layer/rebuild.h"

#include <sys/sysmacros.h>

#include "../unit/tar_file.h"
#include "ground/os.h"
#include "place.h"
#include "steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES_MOST 60

static const char *const names[] = {"a", "b", "c", "d", "x", "..", ".", "", "a", "b", ".wh.a", ".wh..wh..opq", "x", "y", ".wh.b", "c"};
static char outside[8][160];

static int store, snapshots = -1, staging = -1, aside = -1;

static void path_from(struct span *s, char *out, size_t cap)
{
	const unsigned count = span_u8(s) % 5;
	size_t used = 0;

	out[0] = 0;
	for (unsigned i = 0; i < count; i++) {
		const char *const part = names[span_u8(s) % 16];
		if (used + strlen(part) + 2 >= cap)
			return;
		if (i)
			out[used++] = '/';
		memcpy(out + used, part, strlen(part) + 1);
		used += strlen(part);
	}
}

/* ---- the layer ---- */

static struct archive layer_from(struct span *s)
{
	static const char kinds[] = "0012253467g0";
	static uint8_t content[9000];
	struct archive a = {0};

	for (unsigned i = 0; i < ENTRIES_MOST && s->left && *s->at != 255; i++) {
		char name[100], link[160] = "";
		const uint8_t kind = span_u8(s), how = span_u8(s);
		path_from(s, name, sizeof(name));
		const char type = kinds[kind % 12];
		if (type == '1' || (type == '2' && !(kind & 0x40)))
			path_from(s, link, sizeof(link));
		else if (type == '2')
			(void)snprintf(link, sizeof(link), "%.99s", outside[how % 8]);
		const size_t n = type == '0' ? (size_t)how * (kind & 0x80 ? 33 : 1) : 0;
		memset(content, how, sizeof(content));
		archive_member(&a, (struct member){.type = type, .name = name, .link = *link ? link : NULL, .data = content, .size = n,
			.mode = how % 3 ? 0 : 07777u >> how % 9, .uid = how % 5, .major = how % 4, .minor = how % 7,
			.records = kind & 0x20 ? "SCHILY.xattr.trusted.a=1\nSCHILY.xattr.user.b=2" : NULL});
	}
	archive_end(&a);
	return a;
}

/* ---- the disk ---- */

/* The last name of a path beneath dir; directories on the way are made, and none is entered through a link. -1: it cannot be had. */
static int way_to(int dir, char *path, char **last)
{
	int at = dup(dir);

	for (char *rest = path, *part; at >= 0 && (part = strsep(&rest, "/"));) {
		if (!*part || strcmp(part, ".") == 0 || strcmp(part, "..") == 0)
			break;
		*last = part;
		if (!rest)
			return at;
		(void)mkdirat(at, part, 0755);
		const int next = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		(void)close(at);
		at = next;
	}
	if (at >= 0)
		(void)close(at);
	return -1;
}

static void put_one(int fs, struct span *s)
{
	char path[100], *name = NULL, link[160];
	const uint8_t kind = span_u8(s), how = span_u8(s);
	path_from(s, path, sizeof(path));
	const int dir = way_to(fs, path, &name);

	if (dir < 0)
		return;
	/* each fails where something stands already, and that is fine: then that stays */
	switch (kind % 9) {
	case 0:
		(void)!mkdirat(dir, name, how & 1 ? 0755 : 07777u >> how % 8);
		break;
	case 1:
		(void)!symlinkat(outside[how % 8], dir, name);
		break;
	case 2:
		(void)!linkat(AT_FDCWD, outside[0], dir, name, 0);
		break;
	case 3:
		(void)!mknodat(dir, name, how & 1 ? S_IFIFO | 0600 : S_IFSOCK | 0600, 0);
		break;
	case 4:
		(void)!mknodat(dir, name, S_IFCHR | 0600, makedev(how % 4, how % 7));
		break;
	case 5:
		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d/%.64s", dir, name);
		(void)!lsetxattr(link, how & 1 ? "trusted.overlay.opaque" : "trusted.a", "y", 1, 0);
		break;
	case 6:
		(void)!fchmodat(dir, name, 07777u & (unsigned)how * 16, AT_SYMLINK_NOFOLLOW);
		(void)!fchownat(dir, name, how, how, AT_SYMLINK_NOFOLLOW);
		break;
	default: {
		const int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		static uint8_t content[255];
		memset(content, how, sizeof(content));
		(void)!write(fd, content, how);
		if (fd >= 0)
			(void)close(fd);
		break;
	}
	}
	(void)close(dir);
}

static void fresh(struct span *s, uint8_t choice)
{
	char path[100];

	os_close(&snapshots);
	os_close(&staging);
	os_close(&aside);
	(void)snprintf(path, sizeof(path), "%s/store/snapshots", place_path);
	place_remove(path);
	place_mkdir(store, "snapshots", 0700);
	snapshots = openat(store, "snapshots", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/store/%s", place_path, i ? "aside" : "staging");
		place_remove(path);
		place_mkdir(store, i ? "aside" : "staging", 0700);
		*(i ? &aside : &staging) = openat(store, i ? "aside" : "staging", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (choice & 8) {
		(void)!symlinkat(outside[choice >> 4 & 7], snapshots, "7");
		return;
	}
	place_mkdir(snapshots, "7", 0700);
	place_mkdir(snapshots, "7/work", 0711);
	if (choice & 16) {
		(void)!symlinkat(outside[choice >> 5 & 7], snapshots, "7/fs");
		return;
	}
	place_mkdir(snapshots, "7/fs", 0755);
	const int fs = openat(snapshots, "7/fs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < ENTRIES_MOST && s->left; i++)
		put_one(fs, s);
	(void)close(fs);
}

/* ---- what is done ---- */

static void none(void *self, const struct layer_difference *d)
{
	(void)self;
	if (strlen(d->path) >= LIMIT_PATH_BYTES)
		abort();
}

struct pass {
	struct pieces pieces;
	struct layer *l;
	struct tar *t;
	struct err e;
};

/* Paths through links cost what they are told to, whatever the bytes; that ends by LIMIT_LAYER_STEPS. */
static uint64_t work;

static enum rc go_on(void *self, struct err *e)
{
	(void)self;
	(void)e;
	work += PACE_WORK;
	return RC_OK;
}

static struct pace pace = {go_on, NULL, 0};

static void begin(struct pass *p, const struct archive *a, enum layer_mode mode, struct arena *arena)
{
	*p = (struct pass){.pieces = {span_of(a->at, a->n), 1000, 0, 0}};
	if (tar_open(&p->t, (struct tar_source){next_piece, &p->pieces}, arena, &p->e) || layer_open(&p->l, mode, &pace, arena, &p->e))
		abort();
}

/* How the disk differs; RC_OK: *v says it. */
static enum rc look(const struct archive *a, enum layer_mode mode, struct arena *arena, struct layer_verdict *v)
{
	struct layer_check *c = NULL;
	struct pass p;
	auto_fd fd = openat(snapshots, "7", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	const struct layer_target target = {.snapshot = fd};

	if (fd < 0)
		return RC_END;
	begin(&p, a, mode, arena);
	enum rc rc = layer_check_open(&c, p.l, &target, 1, arena, &p.e);
	const struct layer_watch w = rc ? (struct layer_watch){0} : layer_check_watch(c);
	if (!rc && !(rc = layer_replay(p.l, p.t, &w, &p.e)))
		rc = layer_check_finish(c, 0, arena, none, NULL, v, &p.e);
	layer_check_close(c);
	return rc;
}

static enum rc rebuild(const struct archive *a, enum layer_mode mode, const struct layer_verdict *v, struct arena *arena)
{
	struct rebuild *r = NULL;
	struct pass p;
	const struct rebuild_target target = {.snapshots = snapshots, .id = "7", .mode = mode, .damaged_bits = v->damaged_bits,
		.node_count = v->node_count, .staging = staging, .aside = aside};

	begin(&p, a, mode, arena);
	enum rc rc = rebuild_open(&r, p.l, &target, arena, &p.e);
	const struct layer_watch w = rc ? (struct layer_watch){0} : rebuild_watch(r);
	if (!rc && !(rc = layer_replay(p.l, p.t, &w, &p.e)))
		rc = rebuild_publish(r, &p.e);
	rebuild_close(r);
	struct err e = {0};
	if (rebuild_clear(staging, *arena, &e)) {
		(void)fprintf(stderr, "staging: %s\n", e.text);
		abort();
	}
	return rc;
}

static void prepare(void)
{
	place_begin();
	const int top = place_open(place_path);
	place_write(top, "canary", "canary\n", 7);
	place_mkdir(top, "dir", 0755);
	place_write(top, "dir/a", "inside\n", 7);
	place_mkdir(top, "dir/b", 0750);
	place_write(top, "dir/b/a", "below\n", 6);
	place_mkdir(top, "store", 0700);
	store = openat(top, "store", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(outside[0], sizeof(outside[0]), "%s/canary", place_path);
	(void)snprintf(outside[1], sizeof(outside[1]), "%s/dir", place_path);
	(void)snprintf(outside[2], sizeof(outside[2]), "../../../../dir");
	(void)snprintf(outside[3], sizeof(outside[3]), "../../../../canary");
	(void)snprintf(outside[4], sizeof(outside[4]), "../../dir"); /* of snapshots/7 */
	(void)snprintf(outside[5], sizeof(outside[5]), ".");
	(void)snprintf(outside[6], sizeof(outside[6]), "../a");
	(void)snprintf(outside[7], sizeof(outside[7]), "../../../../../dir/b");
	(void)close(top);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena arena;
	struct span s = span_of(data, size);
	struct layer_verdict v = {0}, after = {0};
	struct err e = {0};
	char but[80];

	if (!arena.region) {
		if (arena_open(&arena, &e))
			abort();
		prepare();
	}
	const struct arena mark = arena;
	const uint8_t choice = span_u8(&s);
	const enum layer_mode mode = choice & 1 ? LAYER_BASE : LAYER_DIRECT;
	const struct archive a = layer_from(&s);
	(void)span_u8(&s); /* 255 */
	fresh(&s, choice);
	(void)snprintf(but, sizeof(but), "%s/store", place_path);
	const uint64_t before = place_sum(place_path, but);

	const int free_fd = place_free_fd();
	work = pace.done = 0;
	steps_begin();
	enum rc rc = look(&a, mode, &arena, &v);
	const bool judged = rc == RC_OK;
	if (judged && choice & 2) { /* as if all of it were damaged */
		v.damaged_bits = arena_get(&arena, v.node_count / 8 + 1);
		memset(v.damaged_bits, 0xff, v.node_count / 8 + 1);
	} else if (judged && choice & 4) {
		v.damaged_bits = NULL; /* all, and fs too */
	}
	if (!judged || v.damaged || choice & 6) {
		rc = rebuild(&a, mode, &v, &arena);
		/* of all that is there the layer's are right now, and what it does not have is not damage */
		if (rc == RC_OK && (look(&a, mode, &arena, &after) || after.damaged)) {
			(void)fprintf(stderr, "rebuilt, and damaged\n");
			abort();
		}
	}
	if (rc == RC_STOPPED)
		abort();
	steps_end(100 * (a.n + 64 * size) + work + pace.done, 2, 2000000);
	if (place_free_fd() != free_fd) {
		(void)fprintf(stderr, "a descriptor stays open\n");
		abort();
	}
	if (place_sum(place_path, but) != before) {
		(void)fprintf(stderr, "something outside has changed\n");
		abort();
	}
	free(a.at);
	arena = mark;
	return 0;
}
