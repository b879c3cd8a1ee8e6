/* SPDX-License-Identifier: MIT */
/* What the files that compare a layer with its directory share. Nobody else includes it. */
#ifndef VIEW_H
#define VIEW_H

#include <sys/stat.h>

#include "ground/os.h"
#include "layer/dirs.h"
#include "layer/layer.h"

enum {
	/* of a name */
	BIT_MISSING = 1 << 0,
	BIT_TYPE = 1 << 1,
	BIT_OPAQUE = 1 << 2,
	BIT_LINK = 1 << 3,    /* another file than the group's, with other content */
	BIT_COPY = 1 << 4,    /* the same with equal content */
	BIT_UNREADABLE = 1 << 5,
	/* of an inode: at its first name */
	BIT_EMPTY = 1 << 6,
	BIT_SHORT = 1 << 7,
	BIT_ZEROED = 1 << 8,
	BIT_CONTENT = 1 << 9,
	BIT_SYMLINK = 1 << 10,
	BIT_DEVICE = 1 << 11,
	BIT_ATTRIBUTES = 1 << 12, /* mode, owner */
	BIT_TIME = 1 << 13,
	BIT_CAPABILITY = 1 << 14,
	BIT_XATTR = 1 << 15
};

#define BITS_CONTENT (BIT_EMPTY | BIT_SHORT | BIT_ZEROED | BIT_CONTENT)
#define BITS_METADATA (BIT_ATTRIBUTES | BIT_TIME | BIT_CAPABILITY | BIT_XATTR)
#define CHUNK 4096u

/* What a node's bits cannot hold. In any order, until the verdict sorts them. */
struct record {
	uint32_t node;
	uint16_t sys_errno;   /* BIT_UNREADABLE */
	uint8_t stored_bits;  /* the layer has less than 2 to the power of this of the file's bytes, and the rest is holes; 0: it has all */
	uint64_t want;        /* bytes of a file that is not what it should be */
};

/* One snapshot directory. */
struct view {
	struct layer_target target;
	int fs;             /* -1: not there */
	uint16_t **bits;    /* CHUNKS pointers */
	struct record **records;
	uint32_t record_count;
	uint64_t xattrs_found;
	uint64_t owners_seen, owners_other; /* of files, as their entries went by */

	/* the file being compared, or to be compared later */
	int file;
	bool comparing, differs, other_than_zero;
	uint8_t *buffer;
	struct span ahead; /* read and not compared yet */
	uint64_t offset;   /* of the next byte to compare */
	struct layer_dirs dirs;
	struct os_reader reader;
	struct err trouble; /* fs could not be opened: nothing can be said */
};

/* Files that went by and are small enough: what the layer says of them, and where the system puts what the disk has, while those of
 * the next batch go by. Without that, a layer would wait for the medium once for each. */
#define BATCH_FILES 32

struct batch {
	struct os_small files[BATCH_FILES];
	struct {
		struct view *view;
		uint32_t node;
		const uint8_t *want; /* NULL: zeros only, as far as it went by */
	} of[BATCH_FILES];
	unsigned count;
	size_t want_used, got_used;
	uint8_t *want, *got; /* BATCH_BYTES each */
};

#define CAPABILITY_BYTES 24 /* the longest form */

/* What a hard link's entry says of its inode, which is the last word until the next one. Compared at the end: the link's own
 * name may be another file's by then. */
struct linked {
	uint32_t inode, mode, uid, gid;
	struct timespec modified;
	uint8_t capability_bytes; /* 0: the entry has none, and its chown took what there was, as the kernel does */
	uint8_t capability[CAPABILITY_BYTES];
};

struct layer_check {
	struct layer *layer;
	struct arena *arena;
	unsigned count;
	struct view *views;
	struct linked **linked; /* CHUNKS pointers */
	uint32_t linked_count;
	struct batch *batch;             /* that which is filled; the other is under way */
	uint32_t batch_node;             /* of the file that goes by */
	size_t batch_filled, batch_size; /* bytes of it so far, and at the end */
	bool batch_zeros;                /* all of those so far: not copied, then */
	size_t batch_file;               /* bytes of one at most: it fits for all targets */
	uint64_t stored;                 /* bytes that the layer has of the file that goes by */
	bool hurry, differs;             /* differs: a file's content, or all: what is missing may yet be no damage */
	enum rc failed;                  /* a batch was not settled: nothing can be said of any target */
	struct batch batches[2];
	uint8_t xattr_value[LIMIT_XATTR_BYTES];
};

struct capability {
	bool valid, effective;
	uint64_t permitted, inheritable;
};

/* Names of one directory of the walk. tag: whatever the visitor made of it. */
struct frame {
	struct os_name *names;
	size_t count, next;
	uint32_t tag;
	int fd; /* -1: closed meanwhile, to be opened again from above */
	struct arena mark;
};

struct tree {
	struct frame *frames;
	size_t depth; /* frames in use */
	int root;
	bool opened; /* the top frame's directory is open when name is called */
	/* Says what a name is. *into: look inside, if it is a directory; *tag: its own. */
	enum rc (*name)(void *self, const struct tree *t, const struct os_name *n, bool *into, uint32_t *tag, struct err *e);
	/* The directory of the top frame, or the name it looked at last, could not be read. */
	enum rc (*trouble)(void *self, const struct tree *t, const char *name, int sys_errno, struct err *e);
	void *self;
	struct pace *pace;
};

/* Inode numbers of names; in an arena in which nothing else grows. */
struct inodes {
	struct arena *arena;
	uint64_t *at;
	size_t count, cap;
};

enum {
	MARK_ALIVE = 1,
	MARK_DAMAGED = 2, /* one of its names or its inode: at the inode's first name */
	MARK_SHOWN = 4,   /* has something to say, or something beneath it has */
	MARK_BEHIND = 8,  /* the inode's first name is gone, and was compared at a place that is another's by now */
	MARK_LATE = 16,   /* its time is set by the entry of another path */
	MARK_HIDES = 64,  /* a directory with an opaque mark on disk; looked for in an origin alone */
	MARK_UNKNOWN = 32 /* one of its names could not be looked at, so which of them are one file is not known */
};

/* All that layer_check_finish knows on its way. */
struct judge {
	struct layer_check *c;
	struct view *v;
	struct arena work;  /* its own, closed at the end: marks, sorted lists, extras */
	struct arena lists; /* the same: lists of the walk, or the inode numbers */
	uint8_t *marks;     /* MARK_ by node */
	struct record *records; /* sorted, one for a node */
	size_t record_count;
	uint32_t nodes;
	unsigned target;
	void (*emit)(void *self, const struct layer_difference *d);
	void *self;
	struct layer_verdict verdict;

	uint64_t names, inodes;
	bool walk_complete;
	/* deletions: whiteouts and opaque marks. Unknown: could not be looked at; unread: that and everything else */
	uint64_t whiteouts_missing, opaques_missing, deletions_there, deletions_unknown, other_missing, unread;
	bool systematic, chowned, whiteouts_unwritten, entries_lost, opaque_is_damage;
	bool unexplained; /* of an origin: it has what may come from elsewhere, or bytes that lie below */
	bool torn; /* something is damaged, or a repair of it was cut off: see half_made_bits */
	int late_errno; /* of what could not be looked at after the records were sorted */
	struct inodes numbers;

	struct extra {
		struct extra *next;
		char path[];
	} *extras, **extras_end;
	uint64_t extras_kept;
};

/* compare.c */
uint16_t bits_of(const struct view *v, uint32_t node);
CHECKED enum rc put_bits(const struct layer_check *c, struct view *v, uint32_t node, unsigned clear,
	unsigned set, struct err *e);
struct record *record_at(const struct view *v, uint32_t i);
struct linked *linked_at(const struct layer_check *c, uint32_t i);
/* The name on disk. RC_END: not there. RC_IO: could not look. */
CHECKED enum rc look_at(struct view *v, uint32_t node, int *dir, struct stat *st, struct err *why);
bool kind_fits(enum layer_node_kind kind, const struct stat *st);
bool owner_fits(int64_t want, uint32_t got);
/* File systems keep coarser times or a shorter range. */
bool time_fits(struct timespec want, struct timespec got);
bool capabilities_equal(struct span want, struct span got);
/* Sends the batch that was filled, and compares the other, which was sent before. */
CHECKED enum rc turn_batches(struct layer_check *c, struct err *e);
void close_view(struct view *v);

/* walk.c */
/* Walks everything beneath root, names of a directory in order, a directory before what is in it. */
CHECKED enum rc walk_tree(struct tree *t, uint32_t tag, struct arena *a, struct err *e);
CHECKED enum rc add_inode(struct inodes *s, uint64_t inode, struct err *e);
uint64_t distinct(struct inodes *s);
/* Unpacked or used through an overlay mount: the kernel leaves work/work, or marks of its own on fs. */
CHECKED enum rc was_mounted(int snapshot, bool *mounted, struct err *e);

/* verdict.c */
bool alive(const struct judge *j, uint32_t node);
uint32_t inode_of(const struct judge *j, uint32_t node);
CHECKED enum rc mark_alive(struct judge *j, struct err *e);
CHECKED enum rc sort_records(struct judge *j, struct err *e);
const struct record *find_record(const struct judge *j, uint32_t node);
CHECKED enum rc walk_disk(struct judge *j, struct err *e);
bool is_explained(const struct judge *j);
CHECKED enum rc judge_links(struct judge *j, struct err *e);
/* Entries of directories whose names lead elsewhere by the end: times as the last of them has it. */
CHECKED enum rc judge_times(struct judge *j, struct err *e);
/* A node's own bits and those of its inode. */
unsigned all_bits(const struct judge *j, uint32_t node);
/* Those bits that are damage, all things considered. */
unsigned damage_bits(const struct judge *j, uint32_t node);
void count_missing(struct judge *j);
/* Times of directories count for nothing: containerd sets them last, and a cut takes all of them. What could not be looked at
 * may differ as the rest does. */
void count_systematic(struct judge *j);
/* Which of the possible models containerd committed, and whether names were lost since.
 *
 * Deletions that are not there were lost, or never written: containerd 2.2.0 to 2.2.2 wrote neither whiteouts nor opaque marks.
 *
 *   recorded count      any deletion there    other damage    all whiteouts missing    an opaque mark missing
 *   the model's         -                     -               lost                     lost if any deletion is there, or
 *                                                                                      something else is lost
 *   less by all of them no                    -               never written            never written
 *   not known           no                    no              never written            never written
 *   not known           yes, or 2.2 never ran -               lost                     lost
 *   not known           no                    yes             lost                     lost
 *
 * What was not seen may be what decides: then nothing is lost and nothing is noted. */
void judge_counts(struct judge *j);
/* The closure of what is damaged over the names of inodes; dead names are in it, for a repair writes through them. Where
 * something is damaged, inodes that could not be compared for want of their first name are taken to be so too: they get
 * what the layer says, and nobody is told. */
CHECKED enum rc settle_damage(struct judge *j, struct arena *keep, struct err *e);

/* damage.c */
CHECKED enum rc judge(struct judge *j, struct arena *keep, struct err *e);

#endif
