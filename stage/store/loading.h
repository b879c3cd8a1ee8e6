/* SPDX-License-Identifier: MIT */
/* What the files of store/ share: a root while it is read. Nobody else includes it. */
#ifndef LOADING_H
#define LOADING_H

#include "store/store.h"

struct loader {
	struct store *st;
	struct arena scratch;
	struct bolt *b;
	struct err *e;
	size_t content_cap, lease_cap, snapshot_cap, backend_cap;
};

#define PUSH(st, array, count) arena_push((st)->keep, (void **)&(st)->array, &(st)->count, sizeof(*(st)->array))

typedef enum rc (*item_fn)(struct loader *l, const struct bolt_item *item, void *context);

#define ROOM(l, b, array, count, cap) \
	make_room(l, b, (void **)&(l)->st->array, (l)->st->count, &(l)->cap, sizeof(*(l)->st->array))

#define META_PATH STORE_META_DIR "/meta.db"
#define OVERLAY_PATH STORE_OVERLAY_DIR "/metadata.db"

/* Whose place a stray file lies in; STORE_NONE: of none such. */
struct place {
	size_t ingest, stray, blob;
};

#define FOLLOW_IT "bind-mount what it leads to in its place"

/* store.c */
/* Asked for each name of a directory: some calls of the system. */
CHECKED enum rc go_on(const struct store *st, struct err *e);
CHECKED enum rc add_stray(struct store *st, const char *dir, const char *name, enum stray_kind kind,
	bool is_directory, bool empty, struct err *e);
void link_blobs(struct store *st);
/* fd stays -1 for what is not there, or is no directory. */
CHECKED enum rc open_optional_dir(int dir, const char *name, int *fd, struct err *e);
/* RC_OK: a link is there, which we do not follow; RC_END: not. */
CHECKED enum rc look_for_link(int dir, const char *name, struct err *e);

/* meta_db.c */
/* A value under a key, in scratch: until the item it belongs to has been seen to. RC_END: not there, or a bucket. */
CHECKED enum rc lookup(struct loader *l, const struct bolt_bucket *b, const char *key,
	struct span *value);
/* The same, copied into keep. */
CHECKED enum rc get_value(struct loader *l, const struct bolt_bucket *b, const char *key,
	struct span *value);
/* A bucket under a key; its bytes live as long as those of lookup(). RC_END: not there, or no bucket. */
CHECKED enum rc get_bucket(struct loader *l, const struct bolt_bucket *b, const char *key,
	struct bolt_bucket *out);
/* RC_END becomes RC_OK: the field may be absent. */
CHECKED enum rc optional(enum rc rc);
CHECKED enum rc each(struct loader *l, const struct bolt_bucket *b, item_fn fn, void *context);
CHECKED enum rc each_in(struct loader *l, const struct bolt_bucket *b, const char *key, item_fn fn,
	void *context);
/* Room for the records of a bucket, which are counted first: they may be very many, and an array takes no more than it must. */
CHECKED enum rc make_room(struct loader *l, const struct bolt_bucket *b, void **array, size_t count,
	size_t *cap, size_t size);
/* Each bucket is walked twice, so that what stays is no longer than it must be: there may be very many. has_source may be NULL. */
CHECKED enum rc get_labels(struct loader *l, const struct bolt_bucket *b, struct labels *labels,
	bool *has_source);
CHECKED enum rc add_fault(struct store *st, const char *path, enum store_fault_kind kind,
	const char *format, ...) PRINTF_LIKE(4, 5);
CHECKED enum rc bad_record(struct loader *l, const char *path, const char *what, struct span key);
/* Go's Time.MarshalBinary: version, 8 bytes of seconds since year 1, 4 of nanoseconds, 2 of zone. */
int64_t decode_time_ns(struct span s);
/* Of meta.db; *v1: its bucket. RC_OK: st->schema is set, or is 0 and the fault is told, which of a database that is not sound is only
 * that of a newer one. RC_END: there is no v1. */
CHECKED enum rc judge_schema(struct loader *l, struct bolt_bucket *v1);
CHECKED enum rc read_meta(struct loader *l);

/* snapshotter.c */
void split_backend_key(struct backend *b);
CHECKED enum rc read_overlay(struct loader *l, struct backend ***by_id_out);
CHECKED enum rc open_database(struct store *st, struct database *d, int dir, const char *name,
	const char *path, struct arena scratch, struct err *e);
/* Files that are neither blobs nor downloads. */
CHECKED enum rc read_foreigners(struct store *st, struct arena scratch, struct err *e);
/* Rebuilds of ours that were cut off. */
CHECKED enum rc read_intents(struct store *st, struct backend **by_id, struct arena scratch,
	struct err *e);
CHECKED enum rc read_snapshot_dirs(struct store *st, struct backend **by_id, struct arena scratch,
	struct err *e);
/* Names in one directory that begin with a prefix. */
CHECKED enum rc find_prefixed(struct store *st, const char *dir_name, const char *prefix,
	enum stray_kind kind, struct arena scratch, struct err *e);

/* files.c */
/* RC_OK: a directory below dir is there and empty; RC_END: it is not. Anything else: that is not known. */
CHECKED enum rc is_empty_dir(int dir, const char *name, struct arena scratch, struct err *e);
/* RC_OK: snapshots/<id> has no fs, or one with nothing in it; RC_END: something; else as above. */
CHECKED enum rc holds_nothing(int snapshots, const char *id, struct arena scratch, struct err *e);
/* A place that was to be looked at and could not be: RC_OK for what is not there, for then there is nothing to see. */
CHECKED enum rc note_unseen(struct store *st, const char *dir, const char *name, enum rc rc,
	const struct err *why, struct err *e);
CHECKED enum rc add_spare(struct store *st, const char *dir, const char *name, uint64_t size,
	struct place of, struct err *e);
/* Names in a directory of which containerd has these alone. */
CHECKED enum rc add_foreigners(struct store *st, const char *path, const char (*known)[16],
	struct arena scratch, struct err *e);
CHECKED enum rc read_blobs(struct store *st, struct arena scratch, struct err *e);
/* The directory of a download, which containerd names by the hash of its ref (containerd 2.3: plugins/content/local/store.go). */
const char *name_of_ref(struct span ref, char text[DIGEST_TEXT_BYTES]);
CHECKED enum rc read_ingests(struct store *st, struct arena scratch, struct err *e);
int compare_blobs(const void *a, const void *b);
/* path: containerd-fsck/ of the root, or of a content store that is a mount of its own. */
CHECKED enum rc read_own(struct store *st, const char *path, struct arena scratch, struct err *e);
/* Numbers of snapshots grow, and a container's own is made just before it. */
void number_cri(struct store *st);
CHECKED enum rc read_state_files(struct store *st, struct arena scratch, struct err *e);

/* this_boot.c */
/* Whether a path leads to this root: by device and inode, since the same directory may be bound to several places. */
bool leads_here(const struct store *st, const char *path);
CHECKED enum rc judge_boot(struct store *st, struct arena scratch, struct err *e);

/* agree.c */
/* A database that went back in time: its counters are behind what the other one, or the disk, has seen. One step ahead
 * is the ordinary trace of a cut (the directory or the other record was made, the counter's transaction was not). */
CHECKED enum rc judge_sequences(struct store *st, struct arena scratch);
/* Sound databases, but one of them is not there although the rest of the store says it must have been. */
CHECKED enum rc judge_missing(struct store *st);
/* A blob that is not here may be there. */
CHECKED enum rc judge_content_proxy(struct store *st);
CHECKED enum rc judge_dirs(struct store *st, struct err *e);
/* The same beside the fault of a database, as far as it can be seen without that: whoever makes one again must see all that it is made
 * of. */
CHECKED enum rc judge_beside(struct store *st, struct err *e);

#endif
