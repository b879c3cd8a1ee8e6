/* SPDX-License-Identifier: MIT */
/* A layer's tar stream as Go's archive/tar reads it (Go 1.19 to 1.25: archive/tar/reader.go, format.go): ustar, GNU, PAX,
 * old GNU and PAX sparse files, base-256 numbers. What Go's reader refuses is RC_CORRUPT here; where Go versions differ or
 * the answer is uncertain it is RC_LIMIT, "cannot be judged". Pull parser over pieces of any size; never allocates beyond
 * the arena it is given. */
#ifndef TAR_H
#define TAR_H

#include <sys/types.h>

#include "ground/base.h"

enum tar_type {
	TAR_FILE,
	TAR_HARD_LINK,
	TAR_SYMLINK,
	TAR_CHAR,
	TAR_BLOCK,
	TAR_DIR,
	TAR_FIFO,
	TAR_GLOBAL, /* pax global header: containerd ignores it */
	TAR_OTHER   /* containerd refuses or skips it: raw_type says which */
};

struct tar_xattr {
	struct span name, value; /* name without "SCHILY.xattr." */
};

/* One entry. Spans belong to the reader's arena and are valid until the next tar_next. */
struct tar_entry {
	enum tar_type type;
	uint8_t raw_type;
	struct span name;      /* as the archive has it: not cleaned */
	struct span link_name;
	uint64_t size;         /* logical bytes of content, sparse holes included */
	uint64_t stored;       /* bytes of it that the archive has: without the holes */
	uint32_t mode;         /* the 07777 bits Go's FileInfo().Mode() carries over */
	int64_t uid, gid;
	int64_t dev_major, dev_minor;
	int64_t mtime_s, atime_s;
	uint32_t mtime_ns, atime_ns;
	bool has_atime;
	struct tar_xattr *xattrs;
	size_t xattr_count;
};

struct tar;

struct tar_source {
	enum rc (*next)(void *self, struct span *piece, struct err *e); /* as struct stream_source */
	void *self;
};

CHECKED enum rc tar_open(struct tar **t, struct tar_source source, struct arena *a, struct err *e);
/* Skips what is left of the current entry's content. RC_END: end of archive as Go sees it. */
CHECKED enum rc tar_next(struct tar *t, struct tar_entry *entry, struct err *e);
/* The next piece of the current entry's content, valid until the next call. piece->at NULL: a hole of piece->left zero bytes, which
 * nobody can hold in memory: an archive of one block may have one of 2^63. RC_END: content complete. */
CHECKED enum rc tar_data(struct tar *t, struct span *piece, struct err *e);

#endif
