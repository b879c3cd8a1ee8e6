/* SPDX-License-Identifier: MIT */
/* Which store this is, at a glance: what journal.h binds its records to. Opens nothing but the
 * databases' first two pages, and no more than a glance at the directories that hold blobs, downloads and snapshots. */
#ifndef IDENTITY_H
#define IDENTITY_H

#include "memory/journal.h"

/* root: an open descriptor. A database whose two meta pages are both torn is listed with txid 0, one that is not there is not
 * listed: either differs from what was sealed. RC_LIMIT: more databases than JOURNAL_DATABASES_MAX. */
CHECKED enum rc identity_read(struct journal_identity *id, int root, struct arena scratch, struct err *e);

#endif
