/* SPDX-License-Identifier: MIT */
/* What a person has seen, and nobody can put right: it is still told, and no run's status counts it, until that is taken back. Kept in
 * <root>/containerd-fsck/acks, and not in the journal, which goes where it is damaged or a disk is full: a line for each, with a path,
 * digest or name as reports print it.
 *
 * Cuts: acks_change leaves all of the old file or all of the new. */
#ifndef ACKS_H
#define ACKS_H

#include "ground/base.h"

#define ACKS_NAME "acks"

/* The lines, each with its newline; none where there is no such file, or it cannot be read: rather too much is told. own: -1 for no
 * such directory. Valid as long as *a. */
struct span acks_read(int own, struct arena *a);
/* raw: bytes from the disk, of any kind; empty ones are never there. */
bool acks_have(struct span lines, struct span raw);
/* One more, or (undo) one less; durable when this returns. RC_END: it is so already. */
CHECKED enum rc acks_change(int own, const char *id, bool undo, struct arena scratch, struct err *e);

#endif
