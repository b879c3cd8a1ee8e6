/* SPDX-License-Identifier: MIT */
/* Our own directory, <root>/containerd-fsck/, for those who write into it: apply, seal, boot, record. */
#ifndef OWN_H
#define OWN_H

#include <sys/types.h>

#include "ground/base.h"
#include "ground/names.h"

#define OWN_BACKUP_DIR "backup"
#define OWN_STAGING "staging" /* of a run; where that name is taken, staging-1 and so on */
#define OWN_ASIDE "aside" /* where it cannot be listed, aside-1 and so on */
#define OWN_ASIDES 4
extern const char own_aside_paths[OWN_ASIDES][32]; /* relative to what containerd-fsck/ is in */
#define OWN_SYNCED_MAX 32

/* Everything written so far on the file system of fd, unless it was seen here already; -1: nothing. Begins as {0}. */
struct own_synced {
	dev_t seen[OWN_SYNCED_MAX]; /* past it one file system is synced more often */
	size_t count;
};
CHECKED enum rc own_sync(struct own_synced *s, int fd, struct err *e);

/* Opens a directory of ours, and makes it, durably, if it is not there. *fd >= 0: it is open already. */
CHECKED enum rc own_open_dir(int parent, const char *name, int *fd, struct err *e);

/* A file that replaces <dir>/<name>: made beside it, as <name>.tmp, instead of what a run left there that was cut off; and, when all
 * of it is written, put in its place, durably. A cut leaves all of the old or all of the new. */
CHECKED enum rc own_create_beside(int dir, const char *name, int *fd, struct err *e);
CHECKED enum rc own_put_in_place(int dir, const char *name, int fd, struct err *e);

/* containerd-fsck/backup/<name> becomes a copy of the file at path, which is read from src, and compared with it byte by byte: all
 * old bytes of the last copy, or all of this one. */
CHECKED enum rc own_copy_file(int own, const struct src *src, const char *path, const char *name, struct arena scratch, struct err *e);

#endif
