/* SPDX-License-Identifier: MIT */
/* What may be concluded from what was seen of a store and of the machine. Tables only: no input, no output, no clock. Absence
 * proves nothing, and neither does a look that failed: what is not proved here is unknown, and nothing is done for it. */
#ifndef EVIDENCE_H
#define EVIDENCE_H

#include "ground/base.h"

/* Two databases, and how their snapshots agree. */
struct kinship {
	size_t missing; /* records of meta.db that metadata.db does not have */
	size_t shared;  /* in both under one key, made at one time; or a commit of which only metadata.db has the end */
	size_t newer;   /* of those missing: nothing that metadata.db has of their namespace was made after them */
	bool ahead;     /* a directory has the number after metadata.db's counter: the transaction that made it was lost */
	bool behind;    /* directories with something in them have numbers that metadata.db never gave out: it has gone back */
	bool nothing;   /* metadata.db has never held anything */
};

/* Whether metadata.db is the database in which the snapshots of meta.db were made, up to the last one: only then does what it lacks
 * mean anything. After a change of root_path the database of the old directory lies in the root, and lacks what was made since. */
bool evidence_is_kin(const struct kinship *k);

/* What tells whether containerd has run on this store since the machine started. */
struct boot_facts {
	bool mounted;      /* an overlay of its snapshots is mounted, or it could not be seen that none is */
	bool told;         /* a person says that it has not */
	bool journal_says; /* the journal's last boot is another one, and both databases are as it left them */
	bool first_boot;   /* the command boot, and the journal's last boot is another one */
	bool state_known;  /* by the list or the configuration it is known where the state directory is */
	bool state_there;  /* it is there; where it is not known, one of those listed is */
	bool shims;        /* a container has run in this boot, on whatever store */
	bool held;         /* a process has a file of the store open */
	bool all_seen;     /* each process of the machine could be looked at */
	bool written;      /* by the clock, a database was changed since the machine started */
};

enum boot_proof {
	PROOF_NONE,       /* unknown: nothing is taken for a leftover of an earlier boot */
	PROOF_IN_USE,     /* it has */
	PROOF_TOLD,       /* the rest: it has not */
	PROOF_JOURNAL,
	PROOF_FIRST_BOOT,
	PROOF_NO_STATE
};

enum boot_proof evidence_of_boot(const struct boot_facts *f);

#endif
