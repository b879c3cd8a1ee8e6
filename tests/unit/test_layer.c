/* SPDX-License-Identifier: MIT */
/* The replay on hostile and on huge layers; the comparison and the rebuilding on small directories, damage by damage.
 * tests/vectors compares all of it with what containerd does. */
#include "layer/layer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "layer/dirs.h"
#include "ground/os.h"
#include "layer/init.h"
#include "layer/rebuild.h"
#include "tar_file.h"
#include "test.h"

static struct arena arena;

/* ---- replay ---- */

static struct layer *layer;

static enum rc replay(const struct archive *a, enum layer_mode mode)
{
	struct pieces pieces = {span_of(a->at, a->n), 4096, 0, 0};
	struct tar *t = NULL;
	struct err e = {0};

	if (layer_open(&layer, mode, NULL, &arena, &e) || tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e))
		abort();
	return layer_replay(layer, t, NULL, &e);
}

static bool has(const char *path, enum layer_node_kind kind)
{
	for (uint32_t i = 0; i < layer_node_count(layer); i++) {
		char found[LIMIT_PATH_BYTES];
		struct err e = {0};
		const struct layer_node n = layer_node_at(layer, i);
		if (n.alive && n.kind == kind && layer_node_path(layer, i, found, &e) == RC_OK && strcmp(found, path) == 0)
			return true;
	}
	return false;
}

/* As dockerd 28.5.2 left them: one on an image with all four directories, one on an image that has /proc and /sys. */
static void what_dockerd_makes_is_a_layer(void)
{
	static const char all[][16] = {"dev/pts", "dev/shm", "proc", "sys"};
	const struct arena mark = arena;
	struct err e = {0};

	for (uint64_t inodes = 9; inodes <= 13; inodes += 2) {
		struct tar *t = NULL;
		if (layer_open(&layer, LAYER_DIRECT, NULL, &arena, &e) || init_layer_tar(inodes, &arena, &t, &e))
			abort();
		CHECK(init_layer_fits(inodes));
		CHECK(layer_replay(layer, t, NULL, &e) == RC_OK && layer_model_inodes(layer) == inodes);
		CHECK(has(".dockerenv", NODE_FILE) && has("dev/console", NODE_FILE) && has("etc/hostname", NODE_FILE));
		CHECK(has("etc/hosts", NODE_FILE) && has("etc/resolv.conf", NODE_FILE) && has("etc/mtab", NODE_SYMLINK));
		for (size_t i = 0; i < 4; i++)
			CHECK(has(all[i], NODE_DIR) == (i < inodes - 9));
		arena = mark;
	}
	/* which of the four it is nobody knows */
	CHECK(!init_layer_fits(10) && !init_layer_fits(12));
	CHECK(!init_layer_fits(8) && !init_layer_fits(14) && !init_layer_fits(UINT64_MAX));
}

static void paths_resolve(void)
{
	struct archive a = {0};
	const struct arena mark = arena;

	archive_member(&a, (struct member){.type = '5', .name = "x/"});
	archive_member(&a, (struct member){.type = '5', .name = "deep/dir/"});
	archive_member(&a, (struct member){.type = '2', .name = "x/q", .link = "../deep/dir"});
	archive_member(&a, (struct member){.type = '2', .name = "x/p", .link = "q/../r"});
	archive_member(&a, (struct member){.name = "x/p/f"});       /* as text: x/r/f; the kernel would say deep/r/f */
	archive_member(&a, (struct member){.type = '2', .name = "esc", .link = "../../../etc"});
	archive_member(&a, (struct member){.name = "esc/f"});
	archive_member(&a, (struct member){.name = "../../up"});
	archive_member(&a, (struct member){.name = "./", .type = '5', .mode = 0700});
	archive_member(&a, (struct member){.name = "no/such/.wh.f"});
	archive_end(&a);
	CHECK(replay(&a, LAYER_DIRECT) == RC_OK);
	CHECK(has("x/r/f", NODE_FILE) && has("etc/f", NODE_FILE) && has("up", NODE_FILE));
	CHECK(has("no/such/f", NODE_WHITEOUT) && layer_whiteouts(layer) == 1);
	CHECK(layer_model_inodes(layer) == 15);
	free(a.at);
	arena = mark;
}

static void numbers_are_the_same_again(void)
{
	struct archive a = {0};
	const struct arena mark = arena;
	uint64_t hashes[2] = {0, 0};

	for (unsigned i = 0; i < 5000; i++) {
		char name[32], link[32];
		snprintf(name, sizeof(name), "d%u/n%u", i * 7919 % 50, i * 104729 % 3000);
		snprintf(link, sizeof(link), "d%u/n%u", (i - 1) * 7919 % 50, (i - 1) * 104729 % 3000);
		archive_member(&a, (struct member){.type = i % 3 == 1 ? '1' : '0', .name = name, .link = i % 3 == 1 ? link : NULL});
	}
	archive_end(&a);
	for (int k = 0; k < 2; k++) {
		arena = mark;
		CHECK(replay(&a, LAYER_BASE) == RC_OK);
		for (uint32_t i = 0; i < layer_node_count(layer); i++) {
			const struct layer_node n = layer_node_at(layer, i);
			hashes[k] = (hashes[k] ^ fnv1a(n.name.at, n.name.left) ^ n.parent ^ (uint64_t)n.inode << 20) * 31 + n.alive;
		}
	}
	CHECK(hashes[0] == hashes[1]);
	free(a.at);
	arena = mark;
}

static enum rc replay_one(struct member m, enum layer_mode mode)
{
	struct archive a = {0};
	const struct arena mark = arena;

	archive_member(&a, m);
	archive_end(&a);
	const enum rc rc = replay(&a, mode);
	free(a.at);
	arena = mark;
	return rc;
}

static char *repeated(const char *head, const char *part, size_t times)
{
	const size_t n = strlen(part);
	char *const text = malloc(strlen(head) + n * times + 8);

	if (!text)
		abort();
	strcpy(text, head);
	for (size_t i = 0; i < times; i++)
		memcpy(text + strlen(head) + n * i, part, n + 1);
	return text;
}

static void hostile_names(void)
{
	char *const deep = repeated("path=", "d/", 2000), *const deeper = repeated("path=", "d/", 2047),
		   *const too_deep = repeated("path=", "d/", 2049), *const million = repeated("path=", "./", 500000),
		   *const up = repeated("path=", "../", 300000), *const long_name = repeated("path=", "n", 256),
		   *const link = repeated("linkpath=", "./", 300000);

	strcat(million, "f");
	strcat(up, "f");
	strcat(link, "f");
	CHECK(replay_one((struct member){.name = "x", .records = deep}, LAYER_BASE) == RC_OK);
	CHECK(replay_one((struct member){.name = "x", .records = deeper}, LAYER_BASE) == RC_OK);
	CHECK(replay_one((struct member){.name = "x", .records = too_deep}, LAYER_BASE) == RC_LIMIT);
	CHECK(replay_one((struct member){.name = "x", .records = million}, LAYER_BASE) == RC_OK);
	CHECK(replay_one((struct member){.name = "x", .records = up}, LAYER_BASE) == RC_LIMIT);
	CHECK(replay_one((struct member){.name = "x", .records = long_name}, LAYER_BASE) == RC_CORRUPT);
	CHECK(replay_one((struct member){.type = '1', .name = "x", .records = link}, LAYER_BASE) == RC_LIMIT);
	CHECK(replay_one((struct member){.type = '7', .name = "x"}, LAYER_BASE) == RC_CORRUPT);
	CHECK(replay_one((struct member){.type = '1', .name = "x", .link = "x"}, LAYER_BASE) == RC_CORRUPT);
	CHECK(replay_one((struct member){.type = '2', .name = "x", .link = ""}, LAYER_BASE) == RC_CORRUPT);
	CHECK(replay_one((struct member){.name = ".wh.."}, LAYER_BASE) == RC_CORRUPT);
	CHECK(replay_one((struct member){.name = "", .records = "GNU.sparse.major=0\nGNU.sparse.minor=0\nGNU.sparse.numblocks=0"},
		      LAYER_BASE) == RC_OK);
	free(deep);
	free(deeper);
	free(too_deep);
	free(million);
	free(up);
	free(long_name);
	free(link);
}

static void symlink_loops(void)
{
	const struct arena mark = arena;
	struct archive a = {0};

	archive_member(&a, (struct member){.type = '2', .name = "a", .link = "b"});
	archive_member(&a, (struct member){.type = '2', .name = "b", .link = "a"});
	archive_member(&a, (struct member){.name = "a/f"});
	archive_end(&a);
	CHECK(replay(&a, LAYER_BASE) == RC_CORRUPT);
	free(a.at);
	a = (struct archive){0};
	/* what leads through links on its way is looked at as the kernel would, which stops at 40 */
	archive_member(&a, (struct member){.type = '2', .name = "l", .link = "l/l"});
	archive_member(&a, (struct member){.type = '2', .name = "x/q", .link = "../l/z"});
	archive_member(&a, (struct member){.name = "x/q/f"});
	archive_end(&a);
	CHECK(replay(&a, LAYER_BASE) == RC_CORRUPT);
	free(a.at);
	arena = mark;
}

/* A source that makes its archive as it is read. */
struct maker {
	unsigned next, count;
	void (*make)(struct archive *a, unsigned i);
	struct archive a;
};

static enum rc make_piece(void *self, struct span *piece, struct err *e)
{
	struct maker *const m = self;

	(void)e;
	m->a.n = 0;
	if (m->next == m->count)
		return RC_END;
	while (m->next < m->count && m->a.n < 100000)
		m->make(&m->a, m->next++);
	*piece = span_of(m->a.at, m->a.n);
	return RC_OK;
}

static struct pace *paced; /* of layers that are made */

static enum rc replay_made(unsigned count, void (*make)(struct archive *a, unsigned i), enum layer_mode mode)
{
	struct maker m = {.count = count, .make = make};
	struct tar *t = NULL;
	struct err e = {0};

	if (layer_open(&layer, mode, paced, &arena, &e) || tar_open(&t, (struct tar_source){make_piece, &m}, &arena, &e))
		abort();
	const enum rc rc = layer_replay(layer, t, NULL, &e);
	free(m.a.at);
	return rc;
}

static void make_usual(struct archive *a, unsigned i)
{
	char name[100];

	snprintf(name, sizeof(name), "usr/share/some-package-%u/file-name-%u%s", i / 20, i, i % 20 ? "" : "/");
	archive_member(a, (struct member){.type = i % 20 ? '0' : '5', .name = name});
}

static void a_million_entries(void)
{
	struct arena kept = arena;
	struct err e = {0};

	if (arena_open(&arena, &e))
		abort();
	CHECK(replay_made(1000000, make_usual, LAYER_DIRECT) == RC_OK);
	CHECK(layer_model_inodes(layer) == 1000000 + 1000000 / 20 + 3);
	CHECK(arena_peak(&arena) < (size_t)60 << 20);
	printf("# 1,000,000 entries: %zu KiB\n", arena_peak(&arena) >> 10);
	arena_close(&arena);
	arena = kept;
}

/* A chain of 35 links, and entries through it. */
static enum rc stop_at_three(void *self, struct err *e)
{
	return ++*(unsigned *)self < 3 ? RC_OK : fail(e, RC_STOPPED, "three");
}

static void a_layer_ends_where_it_is_told(void)
{
	const struct arena mark = arena;
	unsigned asked = 0;
	struct pace pace = {.ask = stop_at_three, .self = &asked};

	paced = &pace;
	CHECK(replay_made(1000000, make_usual, LAYER_DIRECT) == RC_STOPPED && asked == 3);
	CHECK(layer_node_count(layer) <= 3 * PACE_WORK / PACE_STEP);
	paced = NULL;
	arena = mark;
}

/* By turns in one of two deep directories, so that the way to it is gone again for each. */
static void make_deep(struct archive *a, unsigned i)
{
	char records[2100] = "path=";
	size_t n = strlen(records);

	for (unsigned k = 0; k < 1000; k++)
		n += (size_t)snprintf(records + n, sizeof(records) - n, "%c/", i % 2 ? 'd' : 'e');
	snprintf(records + n, sizeof(records) - n, "f%u", i);
	archive_member(a, (struct member){.name = "x", .records = records});
}

/* A step on a long path is more work than one on a short one: here the steps alone would not come to a question. */
static void a_long_path_is_more_work(void)
{
	const struct arena mark = arena;
	unsigned asked = 0;
	struct pace pace = {.ask = stop_at_three, .self = &asked};

	paced = &pace;
	CHECK(replay_made(30, make_deep, LAYER_DIRECT) == RC_STOPPED && asked == 3);
	paced = NULL;
	arena = mark;
}

static void make_dear(struct archive *a, unsigned i)
{
	char name[100], link[100];

	if (i < 35) {
		snprintf(name, sizeof(name), "l%u", i);
		snprintf(link, sizeof(link), "l%u", i + 1);
		archive_member(a, (struct member){.type = '2', .name = name, .link = link});
	} else if (i == 35) {
		archive_member(a, (struct member){.type = '5', .name = "l35"});
	} else {
		snprintf(name, sizeof(name), "l0/%u/f", i);
		archive_member(a, (struct member){.name = name});
	}
}

static void dear_entries_end(void)
{
	const struct arena mark = arena;

	CHECK(replay_made(2000000, make_dear, LAYER_BASE) == RC_LIMIT);
	arena = mark;
}

/* ---- on disk ---- */

static char top[] = "/tmp/test-layer-XXXXXX";
static int snapshots = -1, staging = -1, aside = -1;

static int open_dir(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	if (mkdir(path, 0700))
		abort();
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void shell(const char *format)
{
	char command[1024];

	snprintf(command, sizeof(command), "cd %s/snapshots/7/fs 2>/dev/null || cd %s/snapshots; %s", top, top, format);
	if (system(command))
		printf("# failed: %s\n", command);
}

struct seen {
	uint64_t kinds[DIFF_KINDS];
	struct layer_verdict v;
	char first[100];
};

static void remember(void *self, const struct layer_difference *d)
{
	struct seen *const s = self;

	if (!s->first[0])
		snprintf(s->first, sizeof(s->first), "%s", d->path);
	s->kinds[d->kind]++;
}

/* Compares, and with `repair` puts right what is wrong. */
/* The same in a hurry: it may only end early where a verdict would say more than notes. */
static void look_in_a_hurry(const struct archive *a, enum layer_mode mode, const struct layer_target *target, const struct seen *s)
{
	struct pieces pieces = {span_of(a->at, a->n), 1000, 0, 0};
	const struct arena mark = arena;
	struct layer_check *c = NULL;
	struct layer *l = NULL;
	struct tar *t = NULL;
	struct err e = {0};

	CHECK(tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e) == RC_OK &&
		layer_open(&l, mode, NULL, &arena, &e) == RC_OK && layer_check_open(&c, l, target, 1, &arena, &e) == RC_OK);
	const struct layer_watch w = layer_check_watch(c);
	layer_check_hurry(c);
	const enum rc rc = layer_replay(l, t, &w, &e);
	/* other bytes of a small file are found when its batch is compared, which may be after the replay */
	const bool at_once = s->kinds[DIFF_EMPTY] || s->kinds[DIFF_SHORT] || s->kinds[DIFF_FS_MISSING];
	CHECK(rc == RC_OK || (rc == RC_LIMIT && layer_check_differs(c)));
	CHECK(!layer_check_differs(c) || s->v.damaged);
	CHECK(layer_check_differs(c) || !at_once);
	layer_check_close(c);
	arena = mark;
}

/* Two at once, 7 and 8: how many nodes are damaged in each. */
static void look_at_two(const struct archive *a, uint64_t damaged[2])
{
	struct pieces pieces = {span_of(a->at, a->n), 1000, 0, 0};
	const struct arena mark = arena;
	struct layer_target targets[2] = {{0}};
	struct layer_check *c = NULL;
	struct layer *l = NULL;
	struct tar *t = NULL;
	struct err e = {0};

	for (unsigned i = 0; i < 2; i++)
		targets[i].snapshot = openat(snapshots, i ? "8" : "7", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e) == RC_OK &&
		layer_open(&l, LAYER_BASE, NULL, &arena, &e) == RC_OK && layer_check_open(&c, l, targets, 2, &arena, &e) == RC_OK);
	const struct layer_watch w = layer_check_watch(c);
	CHECK(layer_replay(l, t, &w, &e) == RC_OK);
	for (unsigned i = 0; i < 2; i++) {
		struct seen s = {0};
		CHECK(layer_check_finish(c, i, &arena, remember, &s, &s.v, &e) == RC_OK);
		damaged[i] = s.v.damaged;
		os_close(&targets[i].snapshot);
	}
	layer_check_close(c);
	arena = mark;
}

static bool deletions_written; /* of the targets to come */

static struct seen look(const struct archive *a, enum layer_mode mode, uint64_t inodes, bool repair)
{
	struct pieces pieces = {span_of(a->at, a->n), 1000, 0, 0};
	const struct arena mark = arena;
	struct layer_check *c = NULL;
	struct rebuild *r = NULL;
	struct seen seen = {0};
	struct layer *l = NULL;
	struct tar *t = NULL;
	struct err e = {0};
	auto_fd fd = openat(snapshots, "7", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct layer_target target = {.snapshot = fd, .recorded_inodes = inodes, .deletions_written = deletions_written};

	CHECK(tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e) == RC_OK &&
		layer_open(&l, mode, NULL, &arena, &e) == RC_OK && layer_check_open(&c, l, &target, 1, &arena, &e) == RC_OK);
	struct layer_watch w = layer_check_watch(c);
	CHECK(layer_replay(l, t, &w, &e) == RC_OK);
	CHECK(layer_check_finish(c, 0, &arena, remember, &seen, &seen.v, &e) == RC_OK);
	layer_check_close(c);
	for (int k = 0; k < DIFF_KINDS; k++)
		CHECK(seen.kinds[k] == seen.v.count[k]);
	look_in_a_hurry(a, mode, &target, &seen);
	if (repair && seen.v.damaged) {
		const struct rebuild_target rt = {.snapshots = snapshots, .id = "7", .mode = mode,
			.damaged_bits = seen.v.damaged_bits, .node_count = seen.v.node_count, .staging = staging, .aside = aside};
		pieces = (struct pieces){span_of(a->at, a->n), 1000, 0, 0};
		CHECK(tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e) == RC_OK &&
			layer_open(&l, mode, NULL, &arena, &e) == RC_OK && rebuild_open(&r, l, &rt, &arena, &e) == RC_OK);
		w = rebuild_watch(r);
		CHECK(layer_replay(l, t, &w, &e) == RC_OK && rebuild_publish(r, &e) == RC_OK);
		rebuild_close(r);
		CHECK(rebuild_clear(staging, arena, &e) == RC_OK);
	}
	if (e.rc)
		printf("# %s: %s\n", e.text, strerror(e.sys_errno));
	seen.v.damaged_bits = NULL;
	arena = mark;
	return seen;
}

static bool nothing(const struct seen *s)
{
	for (int k = 0; k < DIFF_KINDS; k++)
		if (s->kinds[k])
			return false;
	return s->v.damaged == 0 && s->v.unverified == VERIFIED;
}

/* d/big and hard; what is not longer than half a MiB is compared with others, longer files as they go by */
#define BIG_MOST 700000
static size_t big_bytes = 300000;

static struct archive sample(bool whiteouts)
{
	struct archive a = {0};
	const unsigned uid = getuid(), gid = getgid();
	static uint8_t big[BIG_MOST];

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + i / 1000 + 1);
	archive_member(&a, (struct member){.type = '5', .name = "d/", .uid = uid, .gid = gid});
	archive_member(&a, (struct member){.name = "d/small", .data = "hello", .size = 5, .uid = uid, .gid = gid});
	archive_member(&a, (struct member){.name = "d/big", .data = big, .size = big_bytes, .uid = uid, .gid = gid});
	archive_member(&a, (struct member){.type = '1', .name = "hard", .link = "d/big", .uid = uid, .gid = gid});
	archive_member(&a, (struct member){.type = '2', .name = "soft", .link = "d/small", .uid = uid, .gid = gid, .mode = 0777});
	archive_member(&a, (struct member){.type = '6', .name = "pipe", .uid = uid, .gid = gid});
	archive_member(&a, (struct member){.name = "empty", .uid = uid, .gid = gid});
	archive_member(&a, (struct member){.name = "way/to/file", .data = "x", .size = 1, .uid = uid, .gid = gid});
	if (whiteouts) {
		archive_member(&a, (struct member){.name = ".wh.gone", .uid = uid, .gid = gid});
		archive_member(&a, (struct member){.name = "d/.wh.gone", .uid = uid, .gid = gid});
	}
	archive_end(&a);
	return a;
}
#define SAMPLE_INODES 10 /* with fs */

static void fresh(const struct archive *a, enum layer_mode mode)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -rf %s/snapshots/7 && mkdir %s/snapshots/7", top, top);
	CHECK(system(command) == 0);
	const struct seen s = look(a, mode, 0, true);
	CHECK(s.kinds[DIFF_FS_MISSING] == 1 && s.v.damaged > 0);
	const struct seen again = look(a, mode, 0, false);
	CHECK(nothing(&again));
}

static void damage_by_damage_of(size_t bytes)
{
	static const struct {
		const char *command;
		enum layer_difference_kind kind;
		uint64_t count;
		const char *first;
	} damages[] = {{"truncate -s 0 d/small", DIFF_EMPTY, 1, "d/small"},
		{"truncate -s 0 d/big", DIFF_EMPTY, 2, "d/big"},
		{"truncate -s 4096 hard", DIFF_SHORT, 2, "d/big"},
		{"truncate -s 0 d/big; truncate -s $N d/big", DIFF_ZEROED, 2, "d/big"},
		{"dd if=/dev/zero of=hard bs=4096 seek=70 count=2 conv=notrunc status=none", DIFF_ZEROED, 2, "d/big"},
		{"printf x | dd of=hard bs=1 seek=$((N - 1)) conv=notrunc status=none", DIFF_CONTENT, 2, "d/big"},
		{"printf more >>d/small", DIFF_CONTENT, 1, "d/small"}, {"rm d/small", DIFF_MISSING, 1, "d/small"},
		{"rm -r way", DIFF_MISSING, 3, "way"}, {"rm hard", DIFF_MISSING, 1, "hard"}, {"rm pipe", DIFF_MISSING, 1, "pipe"},
		{"ln -sfn elsewhere soft", DIFF_SYMLINK, 1, "soft"}, {"rm soft; cp d/small soft", DIFF_TYPE, 1, "soft"},
		{"rm d/small; mkdir -p d/small/in", DIFF_TYPE, 1, "d/small"}, {"rm pipe; : >pipe", DIFF_TYPE, 1, "pipe"},
		{"rm -r way; : >way", DIFF_TYPE, 1, "way"}, {"rm -r d; ln -s /etc d", DIFF_TYPE, 1, "d"},
		{"rm hard; printf %${N}s x >hard", DIFF_LINK, 1, "hard"}, {"printf junk >empty", DIFF_CONTENT, 1, "empty"}};
	char number[32];

	big_bytes = bytes;
	snprintf(number, sizeof(number), "%zu", bytes);
	setenv("N", number, 1);
	struct archive a = sample(false);
	fresh(&a, LAYER_BASE);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		shell(damages[i].command);
		struct seen s = look(&a, LAYER_BASE, SAMPLE_INODES, true);
		if (s.kinds[damages[i].kind] != damages[i].count || strcmp(s.first, damages[i].first) != 0) {
			printf("# %s: %llu of kind %d, first %s\n", damages[i].command,
				(unsigned long long)s.kinds[damages[i].kind], (int)damages[i].kind, s.first);
			CHECK(!"the difference is what was damaged");
		}
		CHECK(s.v.damaged > 0 && s.v.unverified == VERIFIED);
		s = look(&a, LAYER_BASE, SAMPLE_INODES, true);
		if (!nothing(&s)) {
			printf("# after repair of %s: %s\n", damages[i].command, s.first);
			CHECK(!"nothing is left");
		}
	}
	free(a.at);
}

static void damage_by_damage(void)
{
	damage_by_damage_of(524288);
	damage_by_damage_of(524289);
	damage_by_damage_of(BIG_MOST);
	damage_by_damage_of(300000);
}

/* Files that begin, end or are zeros, among so many others that what batches hold is used again. */
static void zeros(void)
{
	static uint8_t lead[20000], trail[20000], full[20000], none[600000];
	static const struct {
		const char *command;
		enum layer_difference_kind kind;
		const char *first;
	} damages[] = {{"printf x | dd of=none bs=1 seek=19999 conv=notrunc status=none", DIFF_CONTENT, "none"},
		{"printf x | dd of=one bs=1 conv=notrunc status=none", DIFF_CONTENT, "one"},
		{"printf x | dd of=lead bs=1 seek=100 conv=notrunc status=none", DIFF_CONTENT, "lead"},
		{"truncate -s 16384 lead; truncate -s 20000 lead", DIFF_ZEROED, "lead"},
		{"truncate -s 0 lead; truncate -s 20000 lead", DIFF_ZEROED, "lead"},
		{"truncate -s 0 trail; truncate -s 20000 trail", DIFF_ZEROED, "trail"},
		{"printf x | dd of=trail bs=1 seek=19999 conv=notrunc status=none", DIFF_CONTENT, "trail"},
		{"printf x | dd of=long bs=1 seek=300000 conv=notrunc status=none", DIFF_CONTENT, "long"},
		{"truncate -s 599999 long", DIFF_SHORT, "long"}};
	struct archive a = {0};
	char names[200][16];

	for (size_t i = 0; i < sizeof(full); i++) {
		full[i] = (uint8_t)(i % 255 + 1);
		lead[i] = i < 15000 ? 0 : full[i];
		trail[i] = i < 15000 ? full[i] : 0;
	}
	for (unsigned i = 0; i < 200; i++) {
		snprintf(names[i], sizeof(names[i]), "other-%03u", i);
		const uint8_t *const data[] = {full, none, lead, trail};
		archive_member(&a, (struct member){.name = names[i], .data = data[i * 7 % 4], .size = 9000 + i * 50, .uid = getuid(),
			.gid = getgid()});
	}
	const struct {
		const char *name;
		const uint8_t *data;
		size_t size;
	} files[] = {{"none", none, 20000}, {"one", none, 1}, {"lead", lead, 20000}, {"trail", trail, 20000}, {"long", none, sizeof(none)}};
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		archive_member(&a, (struct member){.name = files[i].name, .data = files[i].data, .size = files[i].size, .uid = getuid(),
			.gid = getgid()});
	archive_end(&a);
	fresh(&a, LAYER_BASE);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		shell(damages[i].command);
		struct seen s = look(&a, LAYER_BASE, 206, true);
		if (s.kinds[damages[i].kind] != 1 || s.v.damaged != 1 || strcmp(s.first, damages[i].first) != 0) {
			printf("# %s: %llu damaged, first %s\n", damages[i].command, (unsigned long long)s.v.damaged, s.first);
			CHECK(!"the difference is what was damaged");
		}
		s = look(&a, LAYER_BASE, 206, false);
		CHECK(nothing(&s));
	}
	uint64_t damaged[2] = {9, 9};
	shell("rm -rf ../../8; cp -a ../../7 ../../8");
	look_at_two(&a, damaged);
	CHECK(damaged[0] == 0 && damaged[1] == 0);
	shell("cd ../../8/fs; for f in none lead trail long; do printf x | dd of=$f bs=1 seek=15999 conv=notrunc status=none; done");
	look_at_two(&a, damaged);
	CHECK(damaged[0] == 0 && damaged[1] == 4);
	shell("rm -rf ../../8");
	/* holes are zeros */
	shell("for f in none long; do n=$(stat -c %s $f); touch -r $f ../was; truncate -s 0 $f; truncate -s $n $f; "
	      "touch -r ../was $f; done; rm ../was");
	const struct seen s = look(&a, LAYER_BASE, 206, false);
	CHECK(nothing(&s));
	free(a.at);
}

static void notes_are_no_damage(void)
{
	struct archive a = sample(false);

	fresh(&a, LAYER_BASE);
	shell("chmod 600 d/small; : >extra; mkdir extra-dir; : >extra-dir/inside; chmod 700 way/to");
	struct seen s = look(&a, LAYER_BASE, SAMPLE_INODES, true);
	CHECK(s.v.damaged == 0 && s.kinds[DIFF_NOTE_EXTRA] == 2 && s.kinds[DIFF_NOTE_METADATA] == 1);
	CHECK(s.v.unverified == VERIFIED && s.kinds[DIFF_NOTE_COUNT] == 0);
	/* but damage with damage */
	shell("printf '' >d/small");
	s = look(&a, LAYER_BASE, SAMPLE_INODES, true);
	CHECK(s.kinds[DIFF_EMPTY] == 1 && s.kinds[DIFF_METADATA] == 1 && s.v.damaged == 1);
	s = look(&a, LAYER_BASE, SAMPLE_INODES, true);
	CHECK(s.v.damaged == 0 && s.kinds[DIFF_NOTE_METADATA] == 0 && s.kinds[DIFF_NOTE_EXTRA] == 2);
	/* a copy of a hard link is as good */
	shell("rm -r extra extra-dir; cp -p hard copy; mv copy hard");
	s = look(&a, LAYER_BASE, SAMPLE_INODES, true);
	CHECK(s.v.damaged == 0 && s.kinds[DIFF_NOTE_METADATA] == 1);
	/* everything alike: one note */
	shell("ln -f d/big hard; find . -exec touch -h -d @1 {} +; find . -type f -exec chmod 640 {} +");
	s = look(&a, LAYER_BASE, SAMPLE_INODES, true);
	CHECK(s.v.damaged == 0 && s.kinds[DIFF_NOTE_SYSTEMATIC] == 1 && s.kinds[DIFF_NOTE_METADATA] == 0);
	free(a.at);
}

static void counts_decide(void)
{
	struct archive a = sample(false);

	fresh(&a, LAYER_BASE);
	/* the record fits the disk and not our model: nothing is missing */
	shell("rm d/small");
	struct seen s = look(&a, LAYER_BASE, SAMPLE_INODES - 1, true);
	CHECK(s.v.unverified == UNVERIFIED_MODEL && s.v.damaged == 0 && s.kinds[DIFF_MISSING] == 0);
	/* contents count all the same */
	shell("printf y >way/to/file");
	s = look(&a, LAYER_BASE, SAMPLE_INODES - 1, false);
	CHECK(s.v.unverified == UNVERIFIED_MODEL && s.v.damaged == 1 && s.kinds[DIFF_CONTENT] == 1);
	/* more was there than we know of: loss is proved, and what we know of is damage */
	s = look(&a, LAYER_BASE, SAMPLE_INODES + 5, false);
	CHECK(s.v.unverified == VERIFIED && s.kinds[DIFF_LOST_ENTRIES] == 1 && s.kinds[DIFF_MISSING] == 1);
	/* unpacked through a mount */
	shell("mkdir -p ../work/work");
	s = look(&a, LAYER_BASE, SAMPLE_INODES, false);
	CHECK(s.v.unverified == UNVERIFIED_MOUNTED && s.kinds[DIFF_MISSING] == 0 && s.kinds[DIFF_CONTENT] == 1);
	free(a.at);

	struct layer_census census = {0};
	struct err e = {0};
	auto_fd fd = openat(snapshots, "7", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(layer_census(fd, NULL, arena, &census, &e) == RC_OK);
	CHECK(census.names == SAMPLE_INODES && census.inodes == SAMPLE_INODES - 1 && census.was_mounted && !census.fs_missing);
}

static void whiteouts_never_written(void)
{
	struct archive a = sample(true);

	if (geteuid() != 0) {
		printf("skip - %s whiteouts: not root\n", __FILE__);
		free(a.at);
		return;
	}
	fresh(&a, LAYER_DIRECT);
	struct seen s = look(&a, LAYER_DIRECT, SAMPLE_INODES + 2, false);
	CHECK(nothing(&s));
	shell("rm gone");
	s = look(&a, LAYER_DIRECT, SAMPLE_INODES + 2, false);
	CHECK(s.kinds[DIFF_WHITEOUT] == 1 && s.v.damaged == 1);
	shell("rm d/gone; touch -d @1600000000 d");
	/* committed so: containerd 2.2.0 to 2.2.2 */
	s = look(&a, LAYER_DIRECT, SAMPLE_INODES, false);
	CHECK(s.kinds[DIFF_NOTE_WHITEOUTS] == 1 && s.v.damaged == 0 && s.v.unverified == VERIFIED);
	/* lost since */
	s = look(&a, LAYER_DIRECT, SAMPLE_INODES + 2, true);
	CHECK(s.kinds[DIFF_WHITEOUT] == 2 && s.v.damaged == 2);
	s = look(&a, LAYER_DIRECT, SAMPLE_INODES + 2, false);
	CHECK(nothing(&s));
	free(a.at);
}

static void take(const char *name, const char *xattr)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/snapshots/7/fs/%s", top, name);
	CHECK(lremovexattr(path, xattr) == 0);
}

static struct archive deletions(bool whiteouts, unsigned opaques)
{
	static const char *const dirs[] = {"p/", "q/"}, *const marks[] = {"p/.wh..wh..opq", "q/.wh..wh..opq"};
	struct archive a = {0};
	const unsigned uid = getuid(), gid = getgid();

	for (unsigned i = 0; i < opaques; i++) {
		archive_member(&a, (struct member){.type = '5', .name = dirs[i], .uid = uid, .gid = gid});
		archive_member(&a, (struct member){.name = marks[i], .uid = uid, .gid = gid});
	}
	archive_member(&a, (struct member){.name = "file", .data = "hello", .size = 5, .uid = uid, .gid = gid});
	if (whiteouts) {
		archive_member(&a, (struct member){.name = ".wh.one", .uid = uid, .gid = gid});
		archive_member(&a, (struct member){.name = ".wh.two", .uid = uid, .gid = gid});
	}
	archive_end(&a);
	return a;
}

/* Marks and whiteouts in every mixture that decides something: what is there proves that whoever unpacked the layer wrote them. */
static void deletions_lost_or_never_written(void)
{
	static const struct {
		bool whiteouts;
		unsigned opaques;
		const char *unmarked, *command;
		int inodes; /* recorded, against the model; 99: not known */
		bool written;
		uint64_t lost_whiteouts, lost_marks, notes, empty;
		enum layer_unverified unverified;
	} rows[] = {
		{true, 2, "p", "", 0, false, 0, 1, 0, 0, VERIFIED},
		{true, 2, "pq", "", 0, false, 0, 2, 0, 0, VERIFIED}, /* as a copy without attributes has it */
		{true, 2, "pq", "", 99, false, 0, 2, 0, 0, VERIFIED},
		{true, 2, "pq", "rm one", 99, false, 1, 2, 0, 0, VERIFIED},
		{true, 2, "p", "rm one two", 99, false, 2, 1, 0, 0, VERIFIED},
		{true, 2, "", "rm one two", 99, false, 2, 0, 0, 0, VERIFIED},
		{true, 2, "pq", "rm one two", 99, false, 0, 0, 1, 0, VERIFIED},
		{true, 2, "pq", "rm one two", -2, false, 0, 0, 1, 0, VERIFIED},
		{true, 2, "pq", "rm one two", 0, false, 2, 2, 0, 0, VERIFIED},
		{true, 2, "pq", "rm one two", 99, true, 2, 2, 0, 0, VERIFIED},
		{true, 2, "pq", "rm one two; : >file", 99, false, 2, 2, 0, 1, VERIFIED},
		{true, 2, "pq", "rm one two; : >file", -2, false, 0, 0, 1, 1, VERIFIED},
		{true, 2, "p", "rm one two", -2, false, 0, 0, 0, 0, UNVERIFIED_MODEL}, /* neither they nor we */
		{false, 2, "p", "", 0, false, 0, 1, 0, 0, VERIFIED},
		{false, 2, "pq", "", 0, false, 0, 0, 1, 0, VERIFIED},
		{false, 2, "pq", "", 0, true, 0, 2, 0, 0, VERIFIED},
		{false, 2, "pq", ": >file", 0, false, 0, 2, 0, 1, VERIFIED},
		{false, 1, "p", "", 0, false, 0, 0, 1, 0, VERIFIED},
		{false, 1, "p", "", 99, true, 0, 1, 0, 0, VERIFIED},
		{true, 0, "", "rm one", 99, false, 1, 0, 0, 0, VERIFIED},
		{true, 0, "", "rm one two", 99, false, 0, 0, 1, 0, VERIFIED},
		{true, 0, "", "rm one two", 99, true, 2, 0, 0, 0, VERIFIED},
		{true, 0, "", "rm one two", -2, true, 0, 0, 0, 0, UNVERIFIED_MODEL}};

	if (geteuid() != 0) {
		printf("skip - %s deletions: not root\n", __FILE__);
		return;
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct archive a = deletions(rows[i].whiteouts, rows[i].opaques);
		const uint64_t model = 2 + rows[i].opaques + (rows[i].whiteouts ? 2 : 0);
		const uint64_t inodes = rows[i].inodes == 99 ? 0 : (uint64_t)((int)model + rows[i].inodes);
		fresh(&a, LAYER_DIRECT);
		for (const char *dir = rows[i].unmarked; *dir; dir++)
			take(*dir == 'p' ? "p" : "q", "trusted.overlay.opaque");
		if (*rows[i].command)
			shell(rows[i].command);
		deletions_written = rows[i].written;
		const struct seen s = look(&a, LAYER_DIRECT, inodes, true);
		const bool right = s.kinds[DIFF_WHITEOUT] == rows[i].lost_whiteouts && s.kinds[DIFF_OPAQUE] == rows[i].lost_marks &&
				   s.kinds[DIFF_NOTE_WHITEOUTS] == rows[i].notes && s.kinds[DIFF_EMPTY] == rows[i].empty &&
				   s.v.unverified == rows[i].unverified;
		if (!right)
			printf("# row %zu: %llu, %llu, %llu, %llu\n", i, (unsigned long long)s.kinds[DIFF_WHITEOUT],
				(unsigned long long)s.kinds[DIFF_OPAQUE], (unsigned long long)s.kinds[DIFF_NOTE_WHITEOUTS],
				(unsigned long long)s.kinds[DIFF_EMPTY]);
		CHECK(right);
		if (s.kinds[DIFF_WHITEOUT] || s.kinds[DIFF_OPAQUE]) {
			const struct seen again = look(&a, LAYER_DIRECT, inodes, false);
			CHECK(again.v.damaged == 0);
		}
		deletions_written = false;
		free(a.at);
	}
}

/* A store copied without times and attributes: most entries differ alike, and what a file may do is lost all the same. */
static void capabilities_beside_what_is_systematic(void)
{
	static const char record[] =
		"57 SCHILY.xattr.security.capability=\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\n";
	struct archive a = {0};

	if (geteuid() != 0) {
		printf("skip - %s capabilities: not root\n", __FILE__);
		return;
	}
	for (unsigned i = 0; i < 8; i++)
		archive_member(&a, (struct member){.name = &"a\0b\0c\0d\0e\0f\0g\0h"[2 * i], .data = "hello", .size = 5});
	archive_header(&a, &(struct member){.name = "PaxHeaders/x"}, 'x', sizeof(record) - 1);
	archive_add(&a, record, sizeof(record) - 1);
	archive_pad(&a);
	archive_member(&a, (struct member){.name = "capable", .data = "hello", .size = 5});
	archive_end(&a);
	fresh(&a, LAYER_BASE);
	shell("find . -exec touch -h -d @1 {} +");
	take("capable", "security.capability");
	struct seen s = look(&a, LAYER_BASE, 0, true);
	CHECK(s.kinds[DIFF_NOTE_SYSTEMATIC] == 1 && s.kinds[DIFF_METADATA] == 1 && s.v.damaged == 1);
	s = look(&a, LAYER_BASE, 0, false);
	CHECK(s.kinds[DIFF_NOTE_SYSTEMATIC] == 1 && s.v.damaged == 0);
	/* given to another owner, by which the kernel takes it away */
	fresh(&a, LAYER_BASE);
	shell("chown -R 100000:100000 .");
	s = look(&a, LAYER_BASE, 0, false);
	CHECK(s.kinds[DIFF_NOTE_SYSTEMATIC] == 1 && s.v.damaged == 0);
	free(a.at);
}

static void several_at_once(void)
{
	struct archive a = sample(false);
	const struct arena mark = arena;
	struct pieces pieces = {span_of(a.at, a.n), 777, 0, 0};
	struct layer_target targets[3];
	struct layer_check *c = NULL;
	struct layer *l = NULL;
	struct tar *t = NULL;
	struct err e = {0};

	fresh(&a, LAYER_BASE);
	shell("rm -rf ../../8 ../../9; cp -a ../../7 ../../8; cp -a ../../7 ../../9; printf 12345 >../../8/fs/d/small; rm -r ../../9/fs/d");
	for (int i = 0; i < 3; i++) {
		const char name[2] = {(char)('7' + i), 0};
		targets[i] = (struct layer_target){.snapshot = openat(snapshots, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	}
	CHECK(tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e) == RC_OK &&
		layer_open(&l, LAYER_BASE, NULL, &arena, &e) == RC_OK && layer_check_open(&c, l, targets, 3, &arena, &e) == RC_OK);
	const struct layer_watch w = layer_check_watch(c);
	CHECK(layer_replay(l, t, &w, &e) == RC_OK);
	static const uint64_t damaged[] = {0, 1, 4}; /* with d and its two files the other name of one of them */
	for (unsigned i = 0; i < 3; i++) {
		struct seen s = {0};
		CHECK(layer_check_finish(c, i, &arena, remember, &s, &s.v, &e) == RC_OK);
		CHECK(s.v.damaged == damaged[i]);
		os_close(&targets[i].snapshot);
	}
	layer_check_close(c);
	free(a.at);
	arena = mark;
}

/* No memory for what is different in the second: nothing is said of the first either, and whoever asks once more hears the same. */
static void a_failure_is_no_verdict(void)
{
	struct archive a = sample(false);
	const struct arena mark = arena;
	struct pieces pieces = {span_of(a.at, a.n), 777, 0, 0};
	struct layer_target targets[2];
	struct layer_check *c = NULL;
	struct layer *l = NULL;
	struct tar *t = NULL;
	struct seen s = {0};
	struct err e = {0};

	fresh(&a, LAYER_BASE);
	shell("rm -rf ../../8; cp -a ../../7 ../../8; printf olleh >../../8/fs/d/small");
	for (int i = 0; i < 2; i++) {
		const char name[2] = {(char)('7' + i), 0};
		targets[i] = (struct layer_target){.snapshot = openat(snapshots, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	}
	CHECK(tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e) == RC_OK &&
		layer_open(&l, LAYER_BASE, NULL, &arena, &e) == RC_OK && layer_check_open(&c, l, targets, 2, &arena, &e) == RC_OK);
	const struct layer_watch w = layer_check_watch(c);
	CHECK(layer_replay(l, t, &w, &e) == RC_OK);
	const struct arena before = arena;
	for (size_t n = (size_t)1 << 30; n >= 16; n /= 2)
		while (arena_get(&arena, n))
			;
	for (unsigned i = 0; i < 4; i++)
		CHECK(layer_check_finish(c, i % 2, &arena, remember, &s, &s.v, &e) == RC_NOMEM);
	arena = before;
	CHECK(layer_check_finish(c, 1, &arena, remember, &s, &s.v, &e) == RC_NOMEM && !s.first[0]);
	layer_check_close(c);
	for (unsigned i = 0; i < 2; i++)
		os_close(&targets[i].snapshot);
	free(a.at);
	arena = mark;
}

static uint32_t node_of(const char *path)
{
	for (uint32_t i = 0; i < layer_node_count(layer); i++) {
		char found[LIMIT_PATH_BYTES];
		struct err e = {0};
		if (layer_node_path(layer, i, found, &e) == RC_OK && strcmp(found, path) == 0)
			return i;
	}
	abort();
}

CHECKED enum rc __real_os_open_dir(int dir, const char *name, int *fd, struct err *e);
CHECKED enum rc __wrap_os_open_dir(int dir, const char *name, int *fd, struct err *e);

static bool no_openat2;
static unsigned opened;

CHECKED enum rc __wrap_os_open_dir(int dir, const char *name, int *fd, struct err *e)
{
	opened++;
	return no_openat2 && strchr(name, '/') ? RC_CORRUPT : __real_os_open_dir(dir, name, fd, e);
}

/* What opening a directory of the layer's tree comes to on disk, and which directory that is. */
static enum rc dir_of(struct layer_dirs *d, const char *path, ino_t *inode)
{
	struct err e = {0};
	struct stat st = {0};
	int fd = -1;
	const enum rc rc = layer_dirs_get(d, node_of(path), &fd, &e);

	if (rc == RC_OK && fstat(fd, &st))
		abort();
	*inode = st.st_ino;
	return rc;
}

static void directories_along_no_link(void)
{
	static const char *const paths[] = {"a/b/c/d/", "a/b/e/", "link/b/c/d/", "a/file/c/", "a/gone/c/d/", "a/in/c/d/"};
	static const char *const made[] = {"a", "a/b", "a/b/c", "a/b/c/d", "a/b/e"};
	const int root = open_dir("dirs");
	struct archive a = {0};
	struct layer_dirs dirs;
	const struct arena mark = arena;
	ino_t found = 0, again = 0, other = 0;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		archive_member(&a, (struct member){.type = '5', .name = paths[i]});
	archive_end(&a);
	CHECK(replay(&a, LAYER_BASE) == RC_OK);
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
		CHECK(mkdirat(root, made[i], 0700) == 0);
	CHECK(symlinkat("a", root, "link") == 0 && symlinkat("b", root, "a/in") == 0 && mknodat(root, "a/file", S_IFREG, 0) == 0);
	int fd = -1;
	struct err ignored = {0};
	const bool here = __real_os_open_dir(root, "a/b", &fd, &ignored) == RC_OK; /* not under qemu-user */
	close(fd);
	for (unsigned old = 0; old < 2; old++) {
		no_openat2 = old;
		opened = 0;
		layer_dirs_init(&dirs, layer, root);
		CHECK(dir_of(&dirs, "a/b/c/d", &found) == RC_OK && found && opened == (old || !here ? 1 + 4 : 1));
		CHECK(dir_of(&dirs, "a/b/c", &other) == RC_OK && other && other != found);
		CHECK(dir_of(&dirs, "a/b/c/d", &again) == RC_OK && again == found);
		CHECK(dir_of(&dirs, "a/gone/c/d", &other) == RC_END);
		CHECK(dir_of(&dirs, "a/file/c", &other) == RC_CORRUPT);
		CHECK(dir_of(&dirs, "link/b/c/d", &other) == RC_CORRUPT);
		CHECK(dir_of(&dirs, "a/in/c/d", &other) == RC_CORRUPT);
		layer_dirs_close(&dirs);
		CHECK(dir_of(&dirs, "a/b/e", &other) == RC_OK && other && other != found);
		for (unsigned i = 0; i < 3 * LAYER_DIRS_OPEN; i++) /* whatever is kept open, each is itself */
			CHECK(dir_of(&dirs, i % 2 ? "a/b/c/d" : "a/b/e", &again) == RC_OK && again == (i % 2 ? found : other));
		layer_dirs_close(&dirs);
	}
	no_openat2 = false;
	close(root);
	free(a.at);
	arena = mark;
}

int main(void)
{
	struct err e = {0};

	umask(0);
	if (arena_open(&arena, &e) || !mkdtemp(top))
		return 1;
	snapshots = open_dir("snapshots");
	staging = open_dir("staging");
	aside = open_dir("aside");
	RUN(what_dockerd_makes_is_a_layer);
	RUN(paths_resolve);
	RUN(numbers_are_the_same_again);
	RUN(a_layer_ends_where_it_is_told);
	RUN(a_long_path_is_more_work);
	RUN(hostile_names);
	RUN(symlink_loops);
	RUN(directories_along_no_link);
	RUN(a_million_entries);
	RUN(dear_entries_end);
	RUN(damage_by_damage);
	RUN(zeros);
	RUN(notes_are_no_damage);
	RUN(counts_decide);
	RUN(whiteouts_never_written);
	RUN(deletions_lost_or_never_written);
	RUN(capabilities_beside_what_is_systematic);
	RUN(several_at_once);
	RUN(a_failure_is_no_verdict);
	char command[256];
	snprintf(command, sizeof(command), "rm -rf %s", top);
	if (system(command))
		printf("# %s stays\n", top);
	return test_failed != 0;
}
