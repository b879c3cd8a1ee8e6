/* SPDX-License-Identifier: MIT */
/* The command line, as containerd-fsck and as fsck(8)'s fsck.containerd. */
#ifndef OPTS_H
#define OPTS_H

#include "ground/base.h"

enum verb {
	VERB_CHECK, VERB_REPAIR, VERB_SHOW, VERB_BOOT, VERB_SEAL, VERB_RECORD, VERB_SCRUB, VERB_STATUS, VERB_ACK, VERB_HELP, VERB_VERSION,
	VERB_FETCH_LIST /* a word, and not a verb of struct opts: see fetch_list there */
};

#define OPTS_ROOTS_MAX 16
#define OPTS_SLICES_MAX 1000

struct opts {
	enum verb verb;
	const char *roots[OPTS_ROOTS_MAX]; /* as given; none: the well-known ones */
	size_t root_count;
	const char *sources[OPTS_ROOTS_MAX]; /* as given */
	size_t source_count;
	const char *sysroot; /* "" for none */
	const char *config;  /* the only configuration that is read; NULL: the usual ones */
	const char *json;    /* NULL: none; "-": standard output */
	const char *metrics; /* NULL: none was named */
	uint64_t threads;    /* 0: one for each processor */
	uint64_t budget_s;   /* 0: none */
	uint64_t interval_s, distance_s; /* record; scrub: from one to the next, 0: there is none */
	bool reset;          /* repair of one root that is named */
	uint64_t rate;       /* scrub: bytes a second; 0: as gently as it is by itself */
	const char *image;   /* scrub: this alone; NULL: all */
	uint64_t slice, slices; /* scrub: the slice-th of so many; 0: all */
	bool remount;        /* boot only */
	bool after_boot;     /* a person says that containerd has not run since the machine started */
	bool fetch_list;     /* check: what must be fetched is listed, and no findings */
	bool last;           /* show only: the last runs */
	const char *id;      /* ack: NULL: those that are there are listed */
	bool undo;           /* ack: taken back */
	bool keep, full, quiet, verbose, progress;
};

/* RC_CORRUPT: *e says what is wrong with the command line. Borrows argv. */
CHECKED enum rc opts_parse(struct opts *o, int argc, char *const *argv, struct err *e);
extern const char opts_help[];

#endif
