/* SPDX-License-Identifier: MIT */
#include "repair/settled.h"

#include <errno.h>

#include "format/bolt.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"

#define NEXT_SUFFIX ".next"

/* One of the two, and what its copy is called. */
struct pair {
	int dir;
	const char *file, *path, *name;
	struct database d;
	bool current; /* the copy is of this transaction */
};

/* RC_CORRUPT: no database that passes its check. */
static enum rc open_sound(int dir, const char *name, int *fd, struct src *src, struct bolt *b, struct arena scratch, struct err *e)
{
	struct bolt_fault fault = {0};
	struct bolt_stats stats = {0};
	struct err why = {0};
	enum rc rc = os_open_file(dir, name, fd, &why);

	if (rc == RC_OK)
		rc = os_src(*fd, src, &why);
	if (rc == RC_OK)
		rc = bolt_open(b, src, &scratch, &fault, &why);
	if (rc == RC_OK)
		rc = bolt_check(b, scratch, &stats, &fault, &why);
	if (rc && rc != RC_END && rc != RC_CORRUPT)
		*e = why;
	return rc;
}

/* Of one that was checked when it was made the transaction is enough. */
static bool is_of(int backup, const char *name, const struct bolt *b, struct arena scratch)
{
	struct bolt_fault fault = {0};
	struct err ignored = {0}; /* what cannot be read is made anew */
	struct bolt copy;
	struct src src;
	auto_fd fd = -1;

	return os_open_file(backup, name, &fd, &ignored) == RC_OK && os_src(fd, &src, &ignored) == RC_OK &&
	       bolt_open(&copy, &src, &scratch, &fault, &ignored) == RC_OK &&
	       copy.meta[copy.current].txid == b->meta[b->current].txid && copy.meta[copy.current].root == b->meta[b->current].root;
}

static enum rc take_turn(int backup, const char *name, struct err *e)
{
	char next[64], before[64];
	enum rc rc;

	(void)print_to(next, sizeof(next), "%s" NEXT_SUFFIX, name); /* fits */
	(void)print_to(before, sizeof(before), "%s.1", name);	    /* fits */
	if ((rc = os_rename(backup, name, backup, before, e)) && e->sys_errno != ENOENT)
		return rc;
	*e = (struct err){0}; /* the first has none before it */
	return os_rename(backup, next, backup, name, e);
}

/* RC_END: the file is of another transaction by now, or what was copied is. */
static enum rc is_still(const struct pair *p, int fd, int backup, struct arena scratch, struct err *e)
{
	struct bolt_fault fault = {0};
	char next[64];
	struct bolt now;
	struct src src;
	enum rc rc = os_src(fd, &src, e);

	(void)print_to(next, sizeof(next), "%s" NEXT_SUFFIX, p->name); /* fits */
	if (rc == RC_OK)
		rc = bolt_open(&now, &src, &scratch, &fault, e);
	if (rc)
		return rc == RC_CORRUPT ? RC_END : rc;
	return now.meta[now.current].txid == p->d.bolt.meta[p->d.bolt.current].txid && is_of(backup, next, &p->d.bolt, scratch) ? RC_OK
																: RC_END;
}

/* Both, or neither: a pair is of one moment. */
enum rc settled_copy(int own, int meta_dir, int overlay_dir, struct arena scratch, struct err *e)
{
	struct pair both[] = {{meta_dir, "meta.db", STORE_META_DIR "/meta.db", SETTLED_META, {.fd = -1}, false},
		{overlay_dir, "metadata.db", STORE_OVERLAY_DIR "/metadata.db", SETTLED_OVERLAY, {.fd = -1}, false}};
	uint64_t bytes = 0, free_bytes = 0, inodes = 0;
	auto_fd backup = -1, first = -1, second = -1;
	int *const fds[] = {&first, &second};
	bool all_current = true;
	enum rc rc;

	if ((rc = own_open_dir(own, OWN_BACKUP_DIR, &backup, e)) || (rc = os_free(own, &free_bytes, &inodes, e)))
		return rc;
	for (size_t i = 0; i < 2; i++) {
		struct arena mine = scratch;
		if (both[i].dir < 0)
			return RC_OK;
		rc = open_sound(both[i].dir, both[i].file, fds[i], &both[i].d.src, &both[i].d.bolt, mine, e);
		if (rc) /* what does not pass may be in motion */
			return rc == RC_END ? RC_OK : rc == RC_CORRUPT ? RC_END : rc;
		both[i].d.path = both[i].path;
		both[i].current = is_of(backup, both[i].name, &both[i].d.bolt, mine);
		all_current &= both[i].current;
		bytes += both[i].d.src.size;
	}
	if (all_current || bytes > SETTLED_BYTES || bytes > free_bytes / 8 || inodes < 16)
		return RC_OK;
	for (size_t i = 0; i < 2; i++) {
		char next[64];
		struct bolt b;
		struct src src;
		auto_fd fd = -1;
		(void)print_to(next, sizeof(next), "%s" NEXT_SUFFIX, both[i].name); /* fits */
		if ((rc = own_copy_file(own, &both[i].d.src, both[i].path, next, scratch, e)))
			return rc;
		rc = open_sound(backup, next, &fd, &src, &b, scratch, e);
		if (rc)
			return rc == RC_CORRUPT ? RC_END : rc;
	}
	for (size_t i = 0; i < 2; i++) /* one moment: neither has gone on since it was looked at */
		if ((rc = is_still(&both[i], *fds[i], backup, scratch, e)))
			return rc;
	for (size_t i = 0; rc == RC_OK && i < 2; i++)
		rc = take_turn(backup, both[i].name, e);
	return rc ? rc : os_fsync(backup, e);
}
