/* SPDX-License-Identifier: MIT */
/* The layer modules as a command, for tests/vectors/run:
 *   verify check base|direct SNAPSHOT INODES LAYER.tar    differences, one a line: kind, path; then a summary
 *   verify model base|direct LAYER.tar                    nodes and inodes of the replay
 *   verify census SNAPSHOT
 *   verify rebuild base|direct SNAPSHOTS ID INODES STAGING ASIDE LAYER.tar [LOWER-FS...]    check, then repair
 *   verify whole base|direct SNAPSHOTS ID STAGING ASIDE LAYER.tar [LOWER-FS...]    rebuild the whole tree
 * Exit status: 0 done, 2 refused (RC_CORRUPT), 3 cannot be judged (RC_LIMIT), 1 anything else. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer/layer.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "layer/rebuild.h"

static const char *const kinds[DIFF_KINDS] = {"missing", "empty", "short", "zeroed", "content", "type", "symlink", "device",
	"metadata", "whiteout", "opaque", "link", "lost-entries", "fs-missing", "note-extra", "note-metadata",
	"note-whiteouts", "note-systematic", "note-count", "unreadable"};

struct file {
	int fd;
	uint64_t off;
	uint8_t buf[65536];
};

static enum rc next_piece(void *self, struct span *piece, struct err *e)
{
	struct file *const f = self;
	size_t got = 0;
	const enum rc rc = os_read(f->fd, f->off, f->buf, sizeof(f->buf), &got, e);

	if (rc || !got)
		return rc ? rc : RC_END;
	f->off += got;
	*piece = span_of(f->buf, got);
	return RC_OK;
}

static void show(void *self, const struct layer_difference *d)
{
	char text[4 * LIMIT_PATH_BYTES];

	(void)self;
	(void)escape(text, sizeof(text), span_of_string(d->path));
	printf("%s /%s got=%llu want=%llu\n", kinds[d->kind], text, (unsigned long long)d->got, (unsigned long long)d->want);
}

static int end(enum rc rc, const struct err *e)
{
	if (rc)
		printf("error %d: %s%s%s\n", (int)rc, e->text, e->sys_errno ? ": " : "",
			e->sys_errno ? strerror(e->sys_errno) : "");
	return rc == RC_OK ? 0 : rc == RC_CORRUPT ? 2 : rc == RC_LIMIT ? 3 : 1;
}

static enum rc open_tar(struct tar **t, struct file *f, const char *path, struct arena *a, struct err *e)
{
	f->off = 0;
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0)
		return fail(e, RC_IO, "open %s", path);
	return tar_open(t, (struct tar_source){next_piece, f}, a, e);
}

static enum rc check(enum layer_mode mode, int snapshot, uint64_t inodes, const char *path, struct arena *a,
	struct layer_verdict *v, struct err *e)
{
	static struct file f;
	const struct layer_target target = {.snapshot = snapshot, .recorded_inodes = inodes};
	struct layer_check *c = NULL;
	struct arena keep = {0};
	struct layer *l = NULL;
	struct tar *t = NULL;
	enum rc rc;

	if ((rc = arena_open(&keep, e)) || (rc = open_tar(&t, &f, path, a, e)) || (rc = layer_open(&l, mode, NULL, a, e)) ||
		(rc = layer_check_open(&c, l, &target, 1, a, e)))
		return rc;
	const struct layer_watch w = layer_check_watch(c);
	if (!(rc = layer_replay(l, t, &w, e)))
		rc = layer_check_finish(c, 0, &keep, show, NULL, v, e);
	layer_check_close(c);
	close(f.fd);
	unsigned orphans = 0; /* names whose inode had its content under a name that is gone */
	for (uint32_t i = 0; !rc && i < layer_node_count(l); i++)
		orphans += layer_node_at(l, i).alive && !layer_node_at(l, layer_inode(l, i)).alive;
	if (!rc)
		printf("verdict unverified=%d entries=%llu damaged=%llu nodes=%u model=%llu rewrite=%llu/%llu orphans=%u peak=%zu\n",
			(int)v->unverified, (unsigned long long)v->entries, (unsigned long long)v->damaged, v->node_count,
			(unsigned long long)layer_model_inodes(l), (unsigned long long)v->rewrite_inodes,
			(unsigned long long)v->rewrite_bytes, orphans, arena_peak(a));
	return rc;
}

static enum rc rebuild(const struct rebuild_target *target, const char *path, struct arena *a, struct err *e)
{
	static struct file f;
	struct rebuild *r = NULL;
	struct layer *l = NULL;
	struct tar *t = NULL;
	enum rc rc;

	if ((rc = open_tar(&t, &f, path, a, e)) || (rc = layer_open(&l, target->mode, NULL, a, e)) ||
		(rc = rebuild_open(&r, l, target, a, e)))
		return rc;
	const struct layer_watch w = rebuild_watch(r);
	if (!(rc = layer_replay(l, t, &w, e)))
		rc = rebuild_publish(r, e);
	rebuild_close(r);
	if (!rc)
		rc = rebuild_clear(target->staging, *a, e);
	close(f.fd);
	return rc;
}

static int dir(const char *path)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		printf("error: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	const char *const verb = argc > 1 ? argv[1] : "";
	const enum layer_mode mode = argc > 2 && strcmp(argv[2], "base") == 0 ? LAYER_BASE : LAYER_DIRECT;
	struct layer_verdict v = {0};
	struct arena a = {0};
	struct err e = {0};

	umask(0);
	if (arena_open(&a, &e))
		return end(RC_NOMEM, &e);
	if (strcmp(verb, "check") == 0 && argc == 6) {
		const int fd = dir(argv[3]);
		return end(check(mode, fd, strtoull(argv[4], NULL, 10), argv[5], &a, &v, &e), &e);
	}
	if (strcmp(verb, "model") == 0 && argc == 4) {
		static struct file f;
		struct layer *l = NULL;
		struct tar *t = NULL;
		enum rc rc;
		if (!(rc = open_tar(&t, &f, argv[3], &a, &e)) && !(rc = layer_open(&l, mode, NULL, &a, &e)) &&
			!(rc = layer_replay(l, t, NULL, &e)))
			printf("model nodes=%u inodes=%llu peak=%zu\n", layer_node_count(l),
				(unsigned long long)layer_model_inodes(l), arena_peak(&a));
		return end(rc, &e);
	}
	if (strcmp(verb, "census") == 0 && argc == 3) {
		struct layer_census c = {0};
		const enum rc rc = layer_census(dir(argv[2]), NULL, a, &c, &e);
		if (!rc)
			printf("census names=%llu inodes=%llu fs_missing=%d mounted=%d unreadable=%llu\n",
				(unsigned long long)c.names, (unsigned long long)c.inodes, c.fs_missing, c.was_mounted,
				(unsigned long long)c.unreadable);
		return end(rc, &e);
	}
	const bool whole = strcmp(verb, "whole") == 0;
	const int at = whole ? 5 : 6;
	if ((whole || strcmp(verb, "rebuild") == 0) && argc >= at + 3) {
		static int lower[LIMIT_LAYERS];
		struct rebuild_target t = {.snapshots = dir(argv[3]), .id = argv[4], .mode = mode, .lower_fs = lower};
		t.staging = dir(argv[at]);
		t.aside = dir(argv[at + 1]);
		for (int i = at + 3; i < argc; i++)
			lower[t.lower_count++] = dir(argv[i]);
		if (!whole) {
			const int snapshot = openat(t.snapshots, t.id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			const enum rc rc = check(mode, snapshot, strtoull(argv[5], NULL, 10), argv[at + 2], &a, &v, &e);
			if (rc || !v.damaged)
				return end(rc, &e);
			t.damaged_bits = v.damaged_bits;
			t.node_count = v.node_count;
		}
		return end(rebuild(&t, argv[at + 2], &a, &e), &e);
	}
	fprintf(stderr, "see the comment at the top of verify.c\n");
	return 1;
}
