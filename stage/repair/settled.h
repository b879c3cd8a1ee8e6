/* SPDX-License-Identifier: MIT */
/* Copies of both databases as of one moment, for the day one of them is broken: containerd-fsck/backup/settled-meta.db and
 * settled-overlayfs.db, each with one before it. A copy is checked before it counts, and one that fails never takes the place of one that
 * did not. */
#ifndef SETTLED_H
#define SETTLED_H

#include "store/store.h"

#define SETTLED_META "settled-meta.db"
#define SETTLED_OVERLAY "settled-overlayfs.db"

/* Where the databases are: directories, -1 for none. own: containerd-fsck/. Does nothing where the
 * copies are of these transactions already, where a database is not sound, or where they would take more than SETTLED_BYTES or an
 * eighth of what is free. A cut leaves of each file the old copy, the new one, or one of them as the one before.
 * They may be in use: what changes while it is copied is RC_END, and no copy. */
CHECKED enum rc settled_copy(int own, int meta_dir, int overlay_dir, struct arena scratch, struct err *e);

#define SETTLED_BYTES ((uint64_t)64 << 20)

#endif
