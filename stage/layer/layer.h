/* SPDX-License-Identifier: MIT */
/* A layer's tar stream replayed as containerd applies it (containerd 1.6 to 2.3: pkg/archive/tar.go),
 * beside the snapshot directories it was unpacked to: yields the differences. Reads only.
 *
 * The model is the tree the replay gives: one small node per path, numbered in the order of creation, the same numbers for
 * the same bytes and mode every time, so that a set of nodes found damaged in one pass can be written in a second one.
 * Content is compared while it streams by; nothing of it is kept. */
#ifndef LAYER_H
#define LAYER_H

#include <sys/stat.h>

#include "format/tar.h"

enum layer_mode {
	LAYER_BASE,  /* bottom of a chain: whiteouts are carried out */
	LAYER_DIRECT /* above it: whiteouts are devices 0:0, opaque directories have an xattr */
};

enum layer_node_kind {
	NODE_FILE,
	NODE_SYMLINK,
	NODE_DIR,
	NODE_CHAR,
	NODE_BLOCK,
	NODE_FIFO,
	NODE_WHITEOUT /* char 0:0 made from .wh.<name> */
};

#define LAYER_ROOT 0u             /* node 0 is fs itself */
#define LAYER_NO_NODE UINT32_MAX

enum layer_event {
	LAYER_MADE,    /* a new node; what was at its path is gone */
	LAYER_APPLIED, /* a directory entry for a directory that was there */
	LAYER_LINKED,  /* a new name of an inode, whose metadata te applies again */
	LAYER_OPAQUED  /* a directory of this layer hides those beneath it (direct mode) */
};

/* What a replay tells about a node. Valid until the next entry is replayed. */
struct layer_node {
	enum layer_node_kind kind;
	uint32_t parent;  /* LAYER_ROOT for entries of fs */
	uint32_t inode;   /* first node of its hard-link group; its own number if it is no link */
	struct span name; /* last component; a NUL follows it */
	bool alive;       /* still in the tree (of the replay so far), all ancestors too */
	bool explicit_entry; /* has an entry of its own; else a directory made on the way */
	bool opaque;
	/* in layer_watch.entry only */
	enum layer_event event;
	uint32_t target; /* LAYER_LINKED: the name that was linked to */
};

/* ---- replay: who wants to see the entries go by, resolved ---- */

struct layer_watch {
	/* te is NULL for a directory made on the way. */
	enum rc (*entry)(void *self, uint32_t node, const struct layer_node *n, const struct tar_entry *te, struct err *e);
	/* Content of the regular file just announced, in order, if entry called layer_want_data; holes as tar_data has them. */
	enum rc (*data)(void *self, uint32_t node, struct span piece, struct err *e);
	enum rc (*data_end)(void *self, uint32_t node, struct err *e);
	/* The node leaves the tree, and all beneath it. It is still there when this is called. May be NULL. */
	enum rc (*removed)(void *self, uint32_t node, struct err *e);
	void *self;
};

struct layer;

/* All memory comes from the arena. pace: asked while the layer is replayed, compared or rebuilt; NULL: no bound but those of limits.h. */
CHECKED enum rc layer_open(struct layer **l, enum layer_mode mode, struct pace *pace, struct arena *a, struct err *e);
/* Replays all entries to the end of the archive. w may be NULL. RC_CORRUPT: containerd would have refused the layer too (*e
 * says why); RC_LIMIT: cannot be judged. */
CHECKED enum rc layer_replay(struct layer *l, struct tar *t, const struct layer_watch *w, struct err *e);
/* To be called inside entry: yes, give me this file's content. */
void layer_want_data(struct layer *l);
/* What it was opened with, and pace_on of that, for who works on its entries. */
struct pace *layer_pace(const struct layer *l);
CHECKED enum rc layer_go_on(struct layer *l, uint64_t work, struct err *e);
uint32_t layer_node_count(const struct layer *l);
struct layer_node layer_node_at(const struct layer *l, uint32_t node);
/* The parts of it that cost nothing. */
uint32_t layer_parent(const struct layer *l, uint32_t node);
uint32_t layer_inode(const struct layer *l, uint32_t node);
const char *layer_name(const struct layer *l, uint32_t node);
enum layer_node_kind layer_kind(const struct layer *l, uint32_t node);
bool layer_is_explicit(const struct layer *l, uint32_t node);
bool layer_is_opaque(const struct layer *l, uint32_t node);
/* "usr/share/x", relative to fs, "" for the root; RC_LIMIT past LIMIT_PATH_BYTES. */
CHECKED enum rc layer_node_path(const struct layer *l, uint32_t node, char path[LIMIT_PATH_BYTES], struct err *e);
/* After a replay: distinct inodes it made, fs included: what containerd recorded at commit, if this is how it unpacked. */
uint64_t layer_model_inodes(const struct layer *l);
/* Names of whiteouts alive after a replay. */
uint64_t layer_whiteouts(const struct layer *l);
enum layer_mode layer_mode_of(const struct layer *l);
/* The children a directory has now, dead ones left out: first, then next of each; LAYER_NO_NODE ends. */
uint32_t layer_first_child(const struct layer *l, uint32_t dir);
uint32_t layer_next_child(const struct layer *l, uint32_t child);
uint32_t layer_child(const struct layer *l, uint32_t dir, struct span name);
/* Target of a NODE_SYMLINK. */
const char *layer_link_text(const struct layer *l, uint32_t node);

/* Times as containerd sets them: access time the later one; outside 1970 to 2262 exactly 0. */
struct layer_times {
	struct timespec access, modified;
};
struct layer_times layer_times_of(const struct tar_entry *te);
/* Times that are set after the last entry, in order: of the directories that had entries, or of what their names lead to by
 * then: containerd looks their names up again. For nodes alive after a replay. */
struct layer_late_time {
	uint32_t node;
	bool elsewhere; /* not the node that the entry was applied to */
	struct layer_times times;
};
size_t layer_late_time_count(const struct layer *l);
struct layer_late_time layer_late_time_at(const struct layer *l, size_t i);

/* ---- verification ---- */

struct layer_target {
	int snapshot;             /* snapshots/<id>, borrowed; holds fs and maybe work */
	uint64_t recorded_inodes; /* of metadata.db; 0: not known */
	bool ignore_owners;       /* mapping labels on the snapshot */
	bool half_repaired;       /* a repair of it was cut off: see DIFF_METADATA */
	bool deletions_written;   /* whoever unpacked it is known to have written whiteouts and opaque marks */
	bool by_mount;            /* it was made through a mount, and all its names are known nonetheless */
	bool origin;              /* the same, and the layer was made of it: what it has need not be in the layer */
};
#define LAYER_TARGETS_MAX 8 /* snapshots compared in one pass over a blob */

enum layer_difference_kind {
	DIFF_MISSING,      /* an entry of the layer is not there */
	DIFF_EMPTY,        /* size 0, layer has more */
	DIFF_SHORT,        /* shorter, what is there may be right */
	DIFF_ZEROED,       /* right size or longer prefix, differing blocks are all zero */
	DIFF_CONTENT,      /* other bytes, or longer */
	DIFF_TYPE,         /* another kind of file */
	DIFF_SYMLINK,      /* other target */
	DIFF_DEVICE,       /* other device number */
	DIFF_METADATA,     /* capability; mode, owner, time or attribute where something else of the snapshot is damaged */
	DIFF_WHITEOUT,     /* a deletion marker is not there: a deleted file reappears */
	DIFF_OPAQUE,       /* as before, for a whole directory */
	DIFF_LINK,         /* names of one hard-link group are different files and contents differ */
	DIFF_LOST_ENTRIES, /* recorded inodes > names found: proof of loss without a layer */
	DIFF_FS_MISSING,   /* snapshots/<id>/fs is not there or no directory */
	/* notes: never a reason to write */
	DIFF_NOTE_EXTRA,
	DIFF_NOTE_METADATA,
	DIFF_NOTE_WHITEOUTS, /* none of all deletions is there: containerd 2.2.0-2.2.2 wrote none (its issue 13030) */
	DIFF_NOTE_SYSTEMATIC, /* more than half of all entries differ alike: mapped or restored store */
	DIFF_NOTE_COUNT,   /* recorded inodes explain neither disk nor model */
	/* could not look */
	DIFF_UNREADABLE,   /* EIO and the like on this entry */
	DIFF_KINDS
};
/* A node is damaged if one of its differences comes before DIFF_NOTE_EXTRA. */

struct layer_difference {
	enum layer_difference_kind kind;
	unsigned target;
	uint32_t node;    /* LAYER_NO_NODE: extra, or about the whole snapshot */
	const char *path; /* relative to fs; raw bytes */
	uint64_t got, want; /* bytes, or counts, or 0; DIFF_UNREADABLE: got is errno */
};

/* layer_check_finish is RC_CORRUPT where an origin holds, or was recorded with, what is not in the layer: then nothing is told of it. */
enum layer_unverified {
	VERIFIED,
	UNVERIFIED_MOUNTED, /* unpacked through a mount: contents only were compared */
	UNVERIFIED_MODEL    /* the recorded inode count fits the disk and not our model: contents only were compared */
};

struct layer_verdict {
	enum layer_unverified unverified;
	uint64_t entries;                    /* explicit entries alive at the end */
	uint64_t count[DIFF_KINDS];
	bool owners_differ;                  /* most files' owners do, as far as known, or there is no file to tell by */
	uint64_t damaged;                    /* nodes */
	uint8_t *damaged_bits;               /* by node, in the arena `keep`; NULL if damaged == 0 */
	uint32_t node_count;
	uint64_t rewrite_bytes;              /* expanded content of damaged regular files: what a repair must write */
	uint64_t rewrite_inodes;
};

struct layer_check;
/* Compares as the entries go by: pass layer_check_watch() to layer_replay. Targets are borrowed until the end. */
CHECKED enum rc layer_check_open(struct layer_check **c, struct layer *l, const struct layer_target *targets, unsigned count,
	struct arena *a, struct err *e);
struct layer_watch layer_check_watch(struct layer_check *c);
/* For who would begin anew if anything differed: the replay then ends, with RC_LIMIT, soon after the first entry that does. */
void layer_check_hurry(struct layer_check *c);
/* Whether a file's content did, or a target is not there: but a later entry of the same name may have taken the file's place. */
bool layer_check_differs(const struct layer_check *c);
/* Accepts NULL. */
void layer_check_close(struct layer_check *c);
/* After a complete replay, and only after the blob's digest was found right, and the diff ID or a label of it: looks at the rest of the
 * disk (missing, extra), decides (verdict.c), calls emit for each difference in the order of paths
 * (damage first, notes after) and fills the verdict of one target. */
CHECKED enum rc layer_check_finish(struct layer_check *c, unsigned target, struct arena *keep,
	void (*emit)(void *self, const struct layer_difference *d), void *self, struct layer_verdict *v, struct err *e);

/* Without a layer at hand: counts names and inodes under snapshots/<id>/fs. Damage only if recorded > names. pace may be NULL. */
struct layer_census {
	uint64_t names, inodes; /* fs itself included in both */
	bool fs_missing, was_mounted;
	uint64_t unreadable;
};
CHECKED enum rc layer_census(
	int snapshot, struct pace *pace, struct arena scratch, struct layer_census *c, struct err *e);

#endif
