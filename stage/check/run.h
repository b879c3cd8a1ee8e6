/* SPDX-License-Identifier: MIT */
/* What the files of check/ share: one run of a survey. Nobody else includes it. */
#ifndef RUN_H
#define RUN_H

#include "check/match.h"
#include "check/survey.h"
#include "format/oci.h"
#include "ground/threads.h"
#include "layer/feed.h"
#include "policy/policy.h"

enum { CACHED = 1, PAIRED };

/* One blob that can prove one snapshot. */
struct candidate {
	size_t backend, blob;
	struct digest diff_id;
	enum layer_mode mode;
	bool labelled; /* see read_label */
	bool leased;   /* see walk_lease */
	bool claimed;  /* containerd has noted another diff ID with the blob: somebody's claim, tried after all others */
	bool chosen; /* for this round */
	bool contested; /* in this round: another may be tried for the same snapshot, or it is nothing but a claim */
	bool put_off; /* it took more time or memory than a layer of its size does: tried when all else is done, alone */
	bool tried, pairing_failed, unknown; /* unknown: a limit, no memory, or the disk: nothing was learnt */
	const char *why; /* after a try that could not judge */
	size_t next; /* in a list of candidates; STORE_NONE: the last */
};

struct worker {
	struct survey_run *run;
	unsigned slot;               /* of what it is at */
	struct arena scratch, *keep; /* keep: what outlives the survey, of this worker only */
	struct pace pace;
	uint64_t until_ns; /* what it does may take so long, and no longer; 0: as long as all may */
	uint64_t most;     /* and so much work; 0: the same */
	atomic_uint_least64_t spent; /* of that, by this thread and one that reads for it */
	pthread_t thread;
};

struct survey_run {
	struct survey *s;
	const struct store *st;
	struct store *finder;    /* the same, for find_bytes alone */
	const struct survey_options *o; /* these */
	struct arena *keep;      /* of the calling thread: while documents are read, store_read fills it */
	struct err *e;
	enum rc begun;           /* why documents could not be looked for; with a database that cannot be worked with, of no interest */
	struct lock lock;        /* told: a worker ended */
	struct arena told;       /* the findings; under lock while the pool runs */
	size_t finding_cap;
	struct candidate *candidates;
	size_t candidate_count, candidate_cap;
	uint8_t *cached;         /* by backend: CACHED, of a cache of builds, and no layer's name; PAIRED: and a lease has its layer */
	struct match match;
	atomic_bool some_unlearnt; /* a blob that may be a layer could not be read, or not to its content's end */
	bool *vouched;           /* by blob: read last; NULL: no order */
	bool *wanted;            /* by blob: a snapshot is to be compared with it in this round */
	size_t *first;           /* by blob: its chosen candidates; when they are judged, by backend, all; STORE_NONE: none */
	size_t *chosen;          /* by backend, while candidates are chosen */
	bool documents;          /* pass 4a */
	/* where bytes are looked for that are not under their own name */
	enum digest_kind kind;   /* which is being made */
	struct digest *found[DIGEST_KINDS]; /* by spare, if known */
	size_t *by_digest[DIGEST_KINDS];    /* spares for which that is so, in the order of their digests */
	size_t by_digest_count[DIGEST_KINDS];
	size_t spare_cap;
	uint64_t steps;          /* descriptors that a walk over all namespaces has looked at: see LIMIT_IMAGE_STEPS */
	uint64_t asked_for;      /* what sources were asked for last, hashed; 0: nothing */
	bool ask_again;          /* a source could not be read, or there was no time for it, or no room; */
	const char *left_place, *left_why; /* the first of them; NULL: none, or no memory to tell */
	unsigned search;         /* searches begun */
	uint64_t contested_until_ns; /* of this round; 0: no end */
	atomic_size_t document_bytes; /* what is kept of documents */
	atomic_bool crowded;     /* there was not room for all of them */
	bool found_beyond_limits; /* a document that was found is too much for us: what it names is not known */
	atomic_bool some_unread; /* see there */
	atomic_uint_least64_t bytes;
	uint64_t total_bytes;
	/* the pool */
	void (*job)(struct survey_run *r, struct worker *w, size_t index);
	const size_t *order;
	size_t job_count;
	atomic_size_t next;
	unsigned started, running, workers;
	atomic_bool abandoned;   /* what the pool does is not wanted any more */
	atomic_int idle;         /* processors without a worker */
	struct arena_pool memory; /* of all workers */
	atomic_bool put_off;     /* some were; */
	bool last;               /* now they are tried */
	atomic_bool some_differ; /* a layer with a label had to be read again */
	enum rc failed;          /* RC_NOMEM: of a worker's arenas */
	const char *what;
	/* large, and at the end for it: what lies within 128 bytes of where a struct begins is reached by shorter code */
	struct survey_options options;
	struct err unbegun;
	size_t listed[P_COUNT];
	struct worker alone; /* for the thread that is not of the pool: its pace */
	struct worker pool[LIMIT_THREADS];
};

/* So many have memory to spare. */
#define FEW_WORKERS 4

/* Bytes that a worker uses whatever it reads: what is read at once of four blobs. */
#define WORKER_BYTES ((size_t)20 << 20)
/* Work for each byte of a layer, and beside that: one that is packed to a tenth, and 10,000 files, are within it. */
#define WORK_BYTE 64
#define WORK_REST ((uint64_t)1 << 27)

/* Candidates of one blob that one replay can judge: same mode, same diff ID. */
struct group {
	size_t candidates[LAYER_TARGETS_MAX];
	unsigned count;
};

struct group_result {
	struct feed_result feed;
	enum rc replay; /* RC_OK: the model is complete */
	struct err why; /* of the replay */
	bool paired;    /* the blob unpacks to the diff ID */
	bool again;     /* nothing is settled: not by a label */
	bool hashed;    /* its content was, if it is known */
};

/* What speaks for a candidate: the order in which they are asked. */
enum rank {
	RANK_LABELLED,
	RANK_NAMED,   /* by a manifest or a config, and nothing contradicts it */
	RANK_CLAIMED, /* see there */
	RANKS
};

/* survey.c */
/* By whoever runs this program. */
bool interrupted(const struct survey_run *r);
bool stopped(const struct survey_run *r);
bool out_of_time(const struct survey_run *r);
extern const char too_late[];
extern const char ended_here[];
/* Of a struct pace; that worker's thread's, and of one that reads for it. */
CHECKED enum rc may_go_on(void *self, struct err *e);
/* The only way to report. Copies what the finding borrows. */
void emit(struct survey_run *r, struct finding f);
struct span ns_name(const struct store *st, size_t ns);
struct span text_of(const char *s);

/* pool.c */
void tell_progress(struct survey_run *r);
/* Lets the pool begin; nothing to do is nothing begun. */
CHECKED enum rc begin_pool(struct survey_run *r, const char *what, void (*job)(struct survey_run *,
	struct worker *, size_t), const size_t *order, size_t count);
/* Waits until all that was begun is done. */
enum rc end_pool(struct survey_run *r);
CHECKED enum rc run_pool(struct survey_run *r, const char *what, void (*job)(struct survey_run *,
	struct worker *, size_t), const size_t *order, size_t count);

/* blobs.c */
void blob_unreadable(struct survey_run *r, size_t blob, int error, const char *why);
/* What reading a blob came to. RC_END: it is gone. */
void end_blob(struct survey_run *r, size_t index, enum rc rc, const struct digest *found,
	const struct err *e);
/* What is known of one stays in keep, or, if it is none, nothing does. RC_LIMIT: it, or all of them, are too much for us. */
CHECKED enum rc parse_document(struct survey_run *r, struct span bytes, struct arena *keep,
	struct oci_doc **out);
extern const char differs_now[];
/* All of a file that was hashed before. RC_END: it reads differently now. */
CHECKED enum rc read_again(int fd, const struct digest *d, struct arena *a, struct span *bytes,
	struct err *e);
/* There is more to know of documents than is kept. What images lead to must not be crowded out by what else anybody has put into the
 * store: all are forgotten and read again, those first. */
CHECKED enum rc choose_documents(struct survey_run *r);
void hash_blobs(struct survey_run *r, struct worker *w, size_t first);
/* So much may be done from now on; 0: as much as there is. Whether its scratch is full is of what comes from now on as well. */
void allow_work(struct worker *w, uint64_t most);
void job_blob(struct survey_run *r, struct worker *w, size_t index);
void emit_blob(struct survey_run *r, size_t index);
/* What records say of blobs, and is not so. */
void emit_contents(struct survey_run *r);

/* candidates.c */
/* Counts what a walk is about to look at. False: it would be too much, and some of what it is for is not known. */
bool walks_on(struct survey_run *r, size_t descriptors);
/* That of an image's manifest, if it is here and has as many layers. */
const struct oci_doc *config_of(const struct survey_run *r, const struct oci_doc *manifest);
/* Only what is said to be one: any other blob may be a document of any size. */
void find_beyond_limits(struct survey_run *r);
CHECKED enum rc find_candidates(struct survey_run *r);
void sort_jobs(const struct survey_run *r, size_t *order, size_t count);
/* A snapshot is matched by its name: manifests are not needed for it, and may be what was lost. */
CHECKED enum rc match_snapshots(struct survey_run *r);
enum rank rank_of(const struct candidate *c);

/* layers.c */
struct span snapshot_name(const struct store *st, size_t backend);
/* Nothing is concluded from what is not looked at. */
void pass_over_snapshot(struct survey_run *r, size_t i, const char *why);
struct group next_group(const struct survey_run *r, const size_t *mine, size_t mine_count,
	size_t *from);
/* RC_END: the blob's file is not there; RC_CORRUPT: it is no regular file. */
CHECKED enum rc open_feed(const struct store *st, size_t blob, const struct feed_options *o,
	struct arena *a, struct feed **out, struct err *e);
CHECKED enum rc judge_group(struct survey_run *r, struct worker *w, size_t blob,
	const struct group *g, struct group_result *out, struct err *e);
size_t count_chosen(const struct survey_run *r, size_t blob);
/* Candidates of this round for one blob, alike ones side by side. */
size_t gather(const struct survey_run *r, size_t blob, size_t *mine);
CHECKED enum rc pass_layers(struct survey_run *r);
/* A committed snapshot that no layer could judge: the inode count still can prove loss. */
void judge_without_layer(struct survey_run *r, size_t index);

/* wanted.c */
/* needed: asked for in second places too, if the store has it not. */
CHECKED enum rc want(struct survey_run *r, const struct digest *d, size_t ns, bool needed);
/* Room for so many more of the store's spares. */
CHECKED enum rc room_for_spares(struct survey_run *r, size_t more);
/* Hashes them all, each kind of digest once; and sorts. */
CHECKED enum rc hash_spares(struct survey_run *r, enum digest_kind kind);
/* The first of those with this digest; STORE_NONE. */
size_t spare_of(const struct survey_run *r, const struct digest *d);
/* The cut came after the rename and before the commit, or between two changes of ours. containerd's garbage collection would remove
 * it, and the image, which is incomplete without the record, would need a pull. */
CHECKED enum rc find_unrecorded(struct survey_run *r);
/* Whatever anything local names and has no good file of its own: its bytes are looked for in all files of the content store that
 * are no blobs, what is found becomes a blob, and what a document found so names is looked for as well. */
CHECKED enum rc find_bytes(struct survey_run *r, bool *brought);
/* What there is to say of each, now that all else was looked at. */
CHECKED enum rc judge_spares(struct survey_run *r);

/* sources.c */
/* Whether it is needed, and nowhere in the store. */
bool lacks_bytes(const struct survey_run *r, const struct want *w);
/* Asks second places for all that is lacking. What they have is among the spares then. */
CHECKED enum rc ask_sources(struct survey_run *r);

/* ingests.c */
CHECKED enum rc pass_ingests(struct survey_run *r);

/* references.c */
void pass_references(struct survey_run *r);
CHECKED enum rc pass_cri(struct survey_run *r);

#endif
