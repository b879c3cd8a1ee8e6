/* SPDX-License-Identifier: MIT */
/* Which local layers are those of which snapshots, by chain IDs: a committed snapshot is named by the SHA-256 of its parent's
 * chain ID and its layer's diff ID, so a name and a diff ID that fit are proof, with or without a manifest. Told of diff IDs and
 * of chains, it pairs them. Computes only: reads nothing from the disk, judges nothing; that a blob unpacks to the diff ID it is
 * said to have is for whoever compares. */
#ifndef MATCH_H
#define MATCH_H

#include "store/store.h"

struct match_layer {
	struct digest diff_id;
	size_t blob;
};

struct match_chain {
	bool found;
	bool deep; /* not found, and stands on more without a layer's name than are followed */
	uint8_t diff_id[32]; /* if found: its SHA-256, the only kind that containerd names a snapshot by */
};

struct match {
	const struct store *st;
	struct arena *a;
	struct match_layer *layers; /* sorted by diff ID, then by blob, once match_sort was called */
	size_t layer_count;
	bool *learnt;               /* by blob: its diff ID is known, and not only that it would be its own name if it were plain */
	struct match_chain *chains; /* by backend */
	uint64_t pairs;             /* tried so far, of LIMIT_CHAIN_PAIRS */
	bool cut;                   /* not all were: what was not found is not known to be absent */
};

CHECKED enum rc match_open(struct match *m, const struct store *st, struct arena *a, struct err *e);
/* The blob is said to unpack to this. By its name: it would if it were a plain archive. */
CHECKED enum rc match_add(struct match *m, size_t blob, const struct digest *diff_id, bool by_name, struct err *e);
/* A config has this chain in this namespace. */
void match_name(struct match *m, size_t ns, const struct digest *chain, const struct digest *diff_id);
/* Before match_resolve and match_proofs, and again after more was added. */
void match_sort(struct match *m);
/* Finds the diff IDs of those committed snapshots that are open (by backend) and have none yet. over: asked now and then whether to
 * stop, with self. */
CHECKED enum rc match_resolve(struct match *m, const bool *open, bool (*over)(const void *self), const void *self, struct err *e);
/* The diff ID of a snapshot; false: none was found. */
bool match_diff_id(const struct match *m, size_t backend, struct digest *diff_id);
/* Blobs that are said to be the layer of this snapshot; at most LIMIT_PROOFS. */
size_t match_proofs(const struct match *m, size_t backend, size_t blobs[LIMIT_PROOFS]);

#endif
