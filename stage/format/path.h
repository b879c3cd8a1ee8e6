/* SPDX-License-Identifier: MIT */
/* Paths as containerd sees them: cleaned as text (Go: filepath.Clean) and resolved inside a root in user space, which is not
 * what the kernel would answer (continuity 0.3.0 to 0.5.0: fs/path.go, RootPath). No I/O of its own. */
#ifndef PATH_H
#define PATH_H

#include "ground/base.h"

/* Collapses slashes, drops ".", resolves "x/.." as text; "" becomes "."; a leading slash stays, so do leading "..".
 * RC_CORRUPT: a NUL inside; RC_LIMIT: LIMIT_PATH_BYTES - 1 or more bytes remain. */
CHECKED enum rc path_clean(struct span raw, char out[LIMIT_PATH_BYTES]);
/* filepath.Join("/", raw): cleaned, and no ".." rises above the root. */
CHECKED enum rc path_clean_rooted(struct span raw, char out[LIMIT_PATH_BYTES]);

enum path_kind { PATH_ABSENT, PATH_DIR, PATH_LINK, PATH_OTHER };

/* What is at a path beneath a root: lstat. path is "/a/b", cleaned, not "/". RC_CORRUPT where lstat fails otherwise than
 * with ENOENT (a file as a parent, a name too long). For PATH_LINK its target goes to link, NUL-terminated. */
struct path_root {
	enum rc (*look)(void *self, const char *path, enum path_kind *kind, char link[LIMIT_PATH_BYTES], struct err *e);
	void *self;
};

/* Resolves all symbolic links of path, the last component's too; what is absent stays as it is. The answer is cleaned,
 * begins with a slash, and none of its components was a link when it was looked at last. */
CHECKED enum rc path_resolve(
	const struct path_root *root, struct span path, char out[LIMIT_PATH_BYTES], struct err *e);

#endif
