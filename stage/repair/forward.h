/* SPDX-License-Identifier: MIT */
/* What two databases of a root, its blobs and its journal say of each other, once one of them was made again: the records that are missing
 * in it are made of what the others know. Values as containerd writes them (containerd 2.3: core/metadata/buckets.go,
 * core/snapshots/storage/bolt.go). Computes only. */
#ifndef FORWARD_H
#define FORWARD_H

#include "format/bolt_edit.h"
#include "store/store.h"

struct forward_snapshot { /* of the overlayfs snapshotter in meta.db */
	struct span ns, key, name, parent;
};
struct forward_backend { /* in metadata.db */
	struct span key, parent, ns, user_key;
	uint64_t number, id;
	enum snapshot_kind kind;
	uint8_t stands; /* whether all beneath it is there, or can be made: see forward.c */
};
struct forward_image {
	struct span ns, name;
	struct digest target;
};

struct forward_name { /* of an image that meta.db had, whatever it meant */
	struct span ns, name;
	bool used;
	struct span digest, media_type; /* empty: not known */
	uint64_t size;
};
struct forward_container {
	struct span ns, snapshot_key;
};

struct forward {
	const struct store *st;
	struct bolt *meta, *overlay; /* NULL: there is none */
	struct forward_snapshot *snapshots;
	struct forward_backend *backends; /* by key */
	struct forward_image *images;
	struct forward_container *containers;
	size_t snapshot_count, backend_count, image_count, container_count;
	struct forward_name *names; /* the same: images that it had, whose record is gone */
	size_t name_count;
	size_t recovered;          /* images that got a name of ours */
	uint64_t sequence, id_max; /* the last id that metadata.db tells of; that anything does */
	uint64_t strange;          /* the one directory behind that sequence which no record has; 0: none, or several */
	bool names_lost;           /* set by whoever knows: meta.db may lack images that it had, */
	bool containers_lost;      /* or containers */
	struct span names_ns;      /* and it is known in which namespace; bad or empty: not */
	uint64_t taken;            /* that, if it was given to the one snapshot that had none */
};

/* meta and overlay must stay as they are until the edits are made. */
CHECKED enum rc forward_read(struct forward *f, const struct store *st, struct bolt *meta, struct bolt *overlay, struct arena *keep,
	struct arena scratch, struct err *e);
/* Puts into an edit of meta.db, or of metadata.db, what it lacks. *made: records. */
#define FORWARD_SCHEMA SPAN_LITERAL("\x06") /* 3: what an older containerd writes, newer ones migrate (core/metadata/migrations.go) */
#define FORWARD_RECOVERED "containerd-fsck.recovered/" /* and 12 digits of what is called so, whose name nothing tells any more */
CHECKED enum rc forward_meta(struct forward *f, struct bolt_edit *t, size_t *made, struct arena *a, struct err *e);
CHECKED enum rc forward_overlay(struct forward *f, struct bolt_edit *t, size_t *made, struct arena *a, struct err *e);
/* Whether a database, which is sound, has the snapshot that metadata.db calls so. */
CHECKED enum rc forward_has(struct bolt *b, bool is_meta, struct span backend_key, bool *has, struct arena scratch, struct err *e);
/* Whether metadata.db has a snapshot of this number. */
bool forward_knows(const struct forward *f, uint64_t id);

#endif
