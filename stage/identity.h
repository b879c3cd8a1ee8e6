/* SPDX-License-Identifier: MIT */
/* Which store this is, at a glance: what journal.h binds its records to (boot-integration.md 3.4). Opens nothing but the
 * databases' first two pages. */
#ifndef IDENTITY_H
#define IDENTITY_H

#include "journal.h"

/* root: an open descriptor. A database that is not there, or whose two meta pages are both torn, is listed with txid 0: it
 * then differs from any that was sealed. RC_LIMIT: more databases than JOURNAL_DATABASES_MAX. */
CHECKED enum rc identity_read(struct journal_identity *id, int root, struct arena scratch, struct err *e);

#endif
