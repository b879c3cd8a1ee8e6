/* SPDX-License-Identifier: MIT */
/* From what survey learnt to what is to be done, in order, and what becomes of each image. Computes only: no input, no
 * output, no clock. The same plan is made for check, which only tells it. */
#ifndef PLAN_H
#define PLAN_H

#include "format/bolt_edit.h"
#include "check/survey.h"

enum action_kind {
	/* in this order; each may run twice */
	ACTION_FREE_BYTES,      /* spare: out of what is about to go; set_aside: it is kept, else it will become a blob */
	ACTION_CLEAN_STAGING,   /* of a repair that was cut off; early, because it may be what fills the disk */
	ACTION_REMOVE_BLOB,     /* blob: the file, before its records */
	ACTION_CUT_INGEST,      /* ingest: data is cut back to what can be vouched for */
	ACTION_PLACE_BLOB,      /* blob: its bytes get its name, before its record, and before a layer in it is needed */
	ACTION_REBUILD,         /* backend: damaged entries, or the whole tree, from its layer */
	ACTION_ASIDE_SNAPSHOT,  /* backend: a container's own directory, before its records: later it would be a leftover */
	ACTION_ASIDE_CRI,       /* cri: CRI's directory of a container or sandbox, before its records: without them containerd deletes it */
	ACTION_EDIT_META,       /* one transaction: plan.meta */
	ACTION_EDIT_OVERLAY,    /* one transaction: plan.overlay */
	ACTION_REMOVE_INGEST,   /* ingest: the directory, after its record */
	ACTION_REMOVE_SNAPSHOT, /* backend: the directory, after its records */
	ACTION_REMOVE_STRAY,    /* stray */
	ACTION_STATE_FILE       /* state_file */
};

/* What became of an action. Only a disk that refuses (EIO, ENOSPC, EROFS, EDQUOT) ends a run; whatever else stands in the way of one
 * action leaves that one, and the rest is done. */
enum action_outcome {
	OUTCOME_PENDING, /* not tried: nothing was carried out yet, or the run ended before it */
	OUTCOME_DONE,
	OUTCOME_NOTHING, /* there was nothing to do any more */
	OUTCOME_LEFT,    /* could not be done, or waits for one that could not: why says so */
	OUTCOME_DISK     /* the disk refused, which ended the run */
};

struct action {
	enum action_kind kind;
	size_t index;   /* into the store's array; unused for the edits */
	bool set_aside; /* moved to aside/ instead of removed */
	bool recorded;  /* the databases name it: it goes only after its records */
	bool earlier;   /* its outcome is of an earlier round */
	bool acknowledged; /* so is a finding that it answers */
	enum action_outcome outcome;
	const char *why; /* OUTCOME_LEFT: a phrase, raw bytes from disk in it; else NULL */
};

/* What became of the actions of an earlier round: what is done counts as done, and nothing is planned that needs what could not be.
 * Strings and array belong to the arena they were made in. */
struct deeds {
	struct deed {
		enum action_kind kind;
		size_t index;
		enum action_outcome outcome;
		const char *why;
	} *at;
	size_t count;
};

enum edit_kind { EDIT_REMOVE, EDIT_PUT };

/* There may be very many, of few buckets: each knows its name, and shares the path to it with those before it. */
struct edit {
	enum edit_kind kind;
	uint32_t name_bytes, value_bytes;
	const struct bolt_path *in; /* the names of the buckets, from the root */
	const uint8_t *name;        /* in the last of them */
	const uint8_t *value;       /* EDIT_PUT */
};

struct edits {
	struct edit *at;
	size_t count;
};

enum image_verdict { IMAGE_IS_WHOLE, IMAGE_IS_HEALED, IMAGE_NEEDS_PULL, IMAGE_IS_UNVERIFIED };

struct image_state {
	enum image_verdict verdict; /* after the plan was carried out */
	bool damaged;               /* something of it was found wrong in this run */
	const char *why;            /* a phrase; NULL for a whole image */
	bool name_dropped;
	bool imported;              /* no pull brought it, as far as its records say: whether a registry has it is not known */
	bool pinned;                /* a pull cannot heal it: see why */
	const char *left;           /* of an incomplete one in k8s.io: a sentence, why its name stays; else NULL */
	bool unproved;              /* a pull takes files of it as they are that were compared with nothing */
	bool left_out;              /* a layer's blob is not here, its snapshot is, or nobody knows: a pull need not fetch that blob */
	size_t top;                 /* snapshot of its top layer, STORE_NONE if that is not there */
	/* Of its chain, if that is complete: what a repair writes, or has written: entries, and their bytes. */
	uint64_t lost_entries, lost_bytes;
};

struct plan {
	struct action *actions;
	size_t action_count;
	struct edits meta, overlay;
	struct image_state *images; /* by index of the store's images */
	const bool *dropped;        /* by backend: its records go */
	struct finding *findings;   /* survey's, with fates, and those about images; in the order of codes */
	size_t finding_count;
	uint64_t write_bytes, write_inodes; /* what the actions put on the disk, without the databases */
	/* but for what is acknowledged: */
	bool nothing_wrong; /* no finding but notes */
	bool something_left; /* after the plan: damage that stays, or something that could not be checked; see plan_conclude */
	uint64_t total[P_COUNT];
	struct span acks; /* memory/acks.h */
	uint64_t acknowledged; /* findings, no leftovers among them */
};

struct plan_options {
	bool keep;        /* --keep: damaged blobs are set aside */
	uint64_t now_ns;  /* Unix time: labels only */
	const struct deeds *deeds; /* of earlier rounds; NULL: none */
	struct span acks;
};

CHECKED enum rc plan_make(struct plan *p, const struct store *st, const struct survey *s, const struct plan_options *o,
	struct arena *keep, struct err *e);

/* Whether the action may need another plan if it is left: the databases are edited after it, and say what it came to. */
static inline bool plan_depends_on(enum action_kind k)
{
	return k != ACTION_CLEAN_STAGING && k <= ACTION_EDIT_META;
}

/* What became of what a finding is about: of its answering action; OUTCOME_LEFT for FATE_LEFT, OUTCOME_NOTHING where there is none. */
enum action_outcome plan_outcome(const struct plan *p, const struct finding *f);

/* Whether it is there after the plan as well, so that a run does not end well: left, or unchecked. A leftover is none of these. */
bool plan_stays(const struct plan *p, const struct finding *f);

/* Sets what depends on fates and outcomes, as they are now. A leftover that could not be removed is told and is no damage. */
void plan_conclude(struct plan *p, const struct store *st, const struct survey *s);

#endif
