/* SPDX-License-Identifier: MIT */
/* What the files that plan share: one plan being made. Nobody else includes it. */
#ifndef PLANNER_H
#define PLANNER_H

#include "repair/plan.h"

#define SNAPSHOT_LABEL "containerd.io/gc.ref.snapshot.overlayfs" /* on a config: the top of its chain */

struct planner {
	struct plan *p;
	const struct store *st;
	const struct survey *s;
	const struct plan_options *o;
	struct arena *keep;
	/* by index */
	bool *drop, *pinned;           /* backends */
	bool *drop_snapshot;           /* meta.db records, of dropped backends or on their own */
	bool *let_go;                  /* by snapshot: a lease that goes holds it */
	bool *drop_content;            /* content records */
	struct want *added;            /* by digest, then namespace: what gets a record */
	size_t added_count;
	bool *rescued;                 /* blobs whose bytes lie elsewhere and are brought back */
	const char **held_ingest;      /* why they stay, if they hold, or may hold, the only copy of what is named */
	const char **held_stray, **held_blob; /* the same */
	struct leased_ref *held_refs;  /* see find_leased; NULL: not asked for yet */
	size_t held_ref_count;
	bool *leased;                  /* namespaces that got a lease of ours */
	bool *unproved;                /* namespaces with files of image layers that stay and were compared with nothing */
	bool *uncompared;              /* these, and those whose files are trusted: whether their layers are here too was not asked */
	const char **left;             /* backends: why they stay */
	const char **left_snapshot;    /* meta.db records */
	/* what an earlier round could not do, and why; by blob, blob, ingest, backend, backend */
	const char **stuck_blob, **stuck_bytes, **stuck_ingest, **stuck_rebuild, **stuck_aside;
	const char *stuck_records;     /* meta.db cannot be changed: no record goes or comes */
	size_t *evaluated;             /* blobs: 1 + the last image for which this manifest or index was looked at */
	size_t evaluation;
	struct image_eval *evals;      /* by image */
	size_t *answered;              /* blobs: 1 + the image whose target it is, and that was evaluated last */
	uint64_t image_steps;          /* descriptors that were looked at for this image; */
	uint64_t steps[2];             /* and for all, those that were looked at before: for small images, and for others */
	bool no_memory;
};

/* v1/<namespace>/<more...>; the list ends with a NULL text. */
#define PATH_END ((struct span){NULL, 0, false})
#define META_PATH(ns, ...) meta_path(w->st, (ns), (const struct span[]){__VA_ARGS__, PATH_END})

struct leased_ref {
	size_t ns;
	struct span ref;
};

struct image_eval {
	enum image_verdict verdict;
	bool damaged, unpacked; /* unpacked: it has, or had, a chain here */
	bool by_layers;         /* IMAGE_NEEDS_PULL for no other reason than that layers are not here, nor their snapshots */
	bool pinned;            /* its files are lost, and something keeps their records: a pull would say "done" */
	bool unproved;          /* a pull would take files as they are that no layer here proves */
	bool left_out;          /* a pull need not fetch all of its layers: see image_state */
	bool chained;           /* it has a complete one: config is set */
	struct digest config;
	size_t top;             /* if unpacked: meta.db snapshot */
	uint64_t lost_entries, lost_bytes; /* of that chain: see image_state */
	const char *why;
};

/* records.c */
struct span literal(const char *s);
void add_action(struct planner *w, enum action_kind kind, size_t index, bool set_aside);
/* What goes only after its records did. */
void add_recorded(struct planner *w, enum action_kind kind, size_t index, bool set_aside);
struct bolt_path meta_path(const struct store *st, size_t ns, const struct span *parts);
void meta_remove(struct planner *w, struct bolt_path path);
void meta_put(struct planner *w, struct bolt_path path, struct span value);
void overlay_remove(struct planner *w, const char *bucket, struct span name);
struct span encode_time(struct planner *w, uint64_t unix_ns);
size_t put_uvarint(uint8_t *out, uint64_t value);
struct span encode_varint(struct planner *w, uint64_t value);
bool is_stale(const struct store *st, const struct lease *l);
void lease_content(struct planner *w, size_t ns, struct span digest);
/* Unless a lease that stays holds it. */
void lease_ingest(struct planner *w, const struct ingest_record *r);
/* Without expiry, of the id of the container whose own layer it is, as dockerd makes it. */
void lease_for_docker(struct planner *w, const struct snapshot *s);
/* What a record that goes away referred to stays referred to, as far as it is whole. */
void lease_references(struct planner *w, const struct content *c);

/* plan_blobs.c */
void ask_what_is_held(struct planner *w);
/* What gets a record: what is brought into place; and what was renamed before the cut came, which came before the record, be it a
 * download's or ours. */
void plan_records(struct planner *w);
bool gets_record(const struct planner *w, size_t ns, const struct digest *d);
void plan_ingests(struct planner *w);
/* Neither a good file of its own nor bytes elsewhere that are put there, by this run or the next. */
bool is_gone(const struct planner *w, size_t blob);
/* Its bytes may be in a file that could not be read; the next run knows. For a directory that may hold anything no wrong file waits:
 * its record would keep a pull from healing it, boot after boot, and if the bytes are found later they get a new one. */
bool may_come(const struct planner *w, size_t blob);
void plan_blobs(struct planner *w);
void record_found(struct planner *w);

/* plan_snapshots.c */
/* Why a record that must go stays; NULL: it goes. */
const char *why_cri_stays(const struct planner *w, size_t i);
void plan_cri(struct planner *w);
void plan_drops(struct planner *w);
void edit_drops(struct planner *w);
void plan_rebuilds(struct planner *w);

/* plan_images.c */
void plan_images(struct planner *w, struct finding *extra, size_t *extra_count);

#endif
