/* SPDX-License-Identifier: MIT */
/* Compares what the store promises with what the disk holds: hashes blobs, replays layers beside their snapshots, looks at
 * downloads and records. Reads only, decides nothing; what it finds are findings, what it learnt of each object is a state.
 * One pool of threads, one pass over each blob, but for small ones on which a snapshot stands, and layers that differ. */
#ifndef SURVEY_H
#define SURVEY_H

#include <signal.h>
#include <stdatomic.h>

#include "memory/journal.h"
#include "layer/layer.h"
#include "policy/problem.h"
#include "store/store.h"

enum blob_verdict {
	BLOB_NOT_CHECKED,
	BLOB_IS_GOOD,
	BLOB_IS_BAD,       /* wrong bytes, short, empty, or no regular file */
	BLOB_IS_UNREADABLE /* or beyond a limit: never damage */
};

struct blob_state {
	enum blob_verdict verdict;
	struct oci_doc *doc; /* a good index, manifest or config; else NULL */
	struct digest content; /* diff ID, if content_known */
	bool content_known;
	uint64_t content_size;
	bool trusted; /* not read in this run: the journal vouches for it */
	bool document; /* begins as JSON does, or could not be looked at */
	bool beyond_limits; /* a document that is too much for us: of interest if something says that it is a manifest or config */
	bool passed_over;       /* unreadable because the last checks ended at it */
	bool garbled;           /* it begins like a document, and is none to containerd */
	struct digest found; /* of bytes that are not those of its name, if found_known */
	bool found_known;
	bool file_is_bad;    /* the verdict is that of blob.spare; what lies under its name are other bytes, so many: */
	uint64_t file_size;
};

enum snapshot_verdict {
	SNAPSHOT_NOT_CHECKED, /* active, a view, or unknown to meta.db: nothing is promised */
	SNAPSHOT_IS_WHOLE,
	SNAPSHOT_IS_TORN,     /* damaged, and its layer is here and verified */
	SNAPSHOT_IS_LOST,     /* damage proved, and nothing here to put it back from */
	SNAPSHOT_IS_UNVERIFIED,
	SNAPSHOT_IS_UNREADABLE
};

struct snapshot_state {
	enum snapshot_verdict verdict;
	size_t proof;           /* blob it was, or can be, rebuilt from; STORE_NONE */
	enum layer_mode mode;
	const struct digest *diff_id; /* of proof; NULL: there is no comparison it comes from */
	uint8_t *damaged_bits;  /* as in struct layer_verdict; NULL with whole_tree */
	uint32_t node_count;
	uint64_t unreadable;    /* files that could not be read */
	bool whole_tree;        /* <id> or fs is not there */
	bool by_mount;          /* it was made by a container, not unpacked: see struct layer_target */
	const char *why;        /* it is unreadable, or stays though it is lost: the reason; NULL: files of it are */
	bool trusted;           /* not compared in this run: the journal vouches for it */
	enum emptiness content; /* of its directory, where that decides whose it is: see policy_backend */
	uint64_t rewrite_bytes, rewrite_inodes;
};

enum ingest_verdict {
	INGEST_IS_NOT_CHECKED,
	INGEST_IS_COMPLETE, /* its bytes are those of a blob that is named, and is not there, or not right */
	INGEST_IS_PARTIAL,
	INGEST_IS_POISONED, /* all its bytes, and wrong */
	INGEST_IS_DUPLICATE, /* the blob is in place and good */
	INGEST_HAS_NO_REF,
	INGEST_IS_UNREADABLE
};

struct ingest_state {
	enum ingest_verdict verdict;
	size_t blob; /* INGEST_IS_COMPLETE, INGEST_IS_DUPLICATE: whose bytes it has, or is for */
	uint64_t settled_bytes; /* INGEST_IS_PARTIAL: so many the journal vouches for, and they are as it says: a pull can go on there */
};

enum spare_verdict { SPARE_NOT_READ, SPARE_IS_READ, SPARE_IS_UNREADABLE };

struct spare_state {
	enum spare_verdict verdict;
	size_t blob;     /* whose bytes they are, if anything names it; STORE_NONE */
	bool moved;      /* there is no good copy under that name, and of those elsewhere this one goes there */
	unsigned search; /* in which that turned out, from 1; 0: none */
	bool held;       /* for all that could be looked at, it may be the only copy of what is named */
	bool document;   /* begins as JSON does */
	bool too_much;   /* of one that is of a second place: a document that is too much for us */
	int error;       /* SPARE_IS_UNREADABLE: errno, or 0, and then */
	union {
		const char *why;     /* a phrase */
		struct oci_doc *doc; /* of one that is of a second place, and no other */
	};
	unsigned known;  /* a bit for each kind of digest that was made of it */
};

/* A digest that something local names in a namespace, and that has no good blob of its own. */
struct want {
	const struct digest *digest;
	size_t ns; /* STORE_NONE: named by what no namespace has a record of */
	bool seen;
	bool needed; /* by a record or an image: see want */
};

struct progress {
	const char *what; /* "reading blobs": a phrase */
	uint64_t done_bytes, total_bytes;
};

/* Of a repair: where what a second place has is copied to, one after the other, before anything is made of it. Bytes that end get a name
 * that no blob has, and are durable: a cut leaves nothing, a leftover of ours, or a file with that name, and the next run finds them. */
struct survey_fetch {
	enum rc (*begin)(void *self, uint64_t size, struct err *e); /* RC_LIMIT: there is no room */
	enum rc (*add)(void *self, struct span piece, struct err *e);
	/* d: what the bytes are; NULL: they are not wanted. name: in store_blob_dir_path; lives as long as the store */
	enum rc (*end)(void *self, const struct digest *d, const char **name, struct err *e);
	void *self;
};

/* Beside a running containerd: a part of the store, and nothing else is read or judged. */
struct survey_choice {
	/* Whether a blob is read (s NULL), a committed snapshot compared with this blob, which is said to be its layer, or judged without
	 * one (b NULL). */
	bool (*takes)(void *self, const struct blob *b, const struct backend *s);
	void (*rest)(void *self); /* after each bit of work, in the thread that did it; may take its time */
	void *self;
	bool documents; /* all manifests and configs are read, so that it can be told what images need */
};

struct survey_options {
	unsigned threads;
	const struct journal *trust; /* what it vouches for is not read again; NULL: everything is */
	const struct journal *downloads; /* what it says of unfinished ones is compared with them; NULL: nothing is known */
	const struct journal *first; /* what it vouches for is read last; NULL: no order. Of interest with a deadline */
	uint64_t deadline_ns;        /* os_clock_ns: no new object is begun after it, and what is left is unchecked; 0: none */
	const struct journal *stuck; /* what is passed over: the last checks ended at it; NULL: nothing is */
	struct at *at;               /* is told what is worked on; NULL: nobody is */
	const struct survey_choice *choice; /* NULL: everything. All else is taken for right, of the blobs chosen the last in the order of
					     * their digests are begun last, and what there was no time for has no verdict */
	bool documents_only; /* read indexes, manifests and configs, judge nothing: for show */
	const volatile sig_atomic_t *stop; /* set: finish the piece in hand and return; may be NULL */
	void (*progress)(void *self, const struct progress *p); /* called a few times a second from the calling thread; may be NULL */
	/* Second places of blobs: a directory of them (an OCI layout, another root or content store, one flat directory), an archive (what
	 * ctr images export and docker save write, plain, gzip or zstd), a directory of archives. They are asked for what records and
	 * images need and the store has not, and only read; no link below one is followed. */
	const char *const *sources;
	size_t source_count;
	const struct survey_fetch *fetch; /* NULL: they are only looked at */
	void (*say)(void *self, const char *text); /* what is wrong with a source; with progress's self */
	void *self;
};

struct survey {
	struct finding *findings; /* at most LIMIT_LISTED_PER_CODE of each problem, in a fixed order */
	size_t finding_count;
	struct blob_state *blobs; /* by index of the store's arrays */
	struct snapshot_state *snapshots; /* by backend */
	struct ingest_state *ingests;
	struct spare_state *spares;
	struct want *wants;       /* by digest, then namespace */
	struct want *brought;     /* what was wanted, and a spare has; the same */
	struct want *unrecorded;  /* by digest: whole, without a record, and of all namespaces this one alone has an image that needs it */
	size_t want_count, brought_count, unrecorded_count;
	bool wants_unknown;       /* there may be more: a document that may name some could not be read */
	struct digest *unread;    /* digests that downloads are for which could not be read, in order */
	uint64_t *unread_sizes;   /* of those that do not say what they are for, in order */
	size_t unread_count, unread_size_count;
	struct cri_judgement *cri; /* NULL: not looked at */
	bool halted;              /* a database cannot be worked with: nothing after it was looked at */
	bool interrupted;
	bool out_of_time;         /* the deadline came: some objects are unchecked for no other reason */
	bool out_of_memory;       /* the same of some downloads */
	bool bytes_unseen;        /* a place that may hold bytes of a blob could not be looked at: nothing is known to be missing */
	bool some_unread;         /* a blob that may be a manifest could not be read: what none leads to may be led to by that */
	uint64_t blobs_trusted, snapshots_trusted;
	uint64_t bytes_read, entries_compared, blobs_checked, snapshots_checked;
	uint64_t peak_bytes;      /* of the workers' arenas */
	unsigned kept_count;
	struct survey_run *run;
	uint64_t total[P_COUNT];  /* all of them, listed or not */
	/* what workers kept lives in arenas of theirs */
	struct arena kept[LIMIT_THREADS];
};

/* Of a store that is open: begins to read small blobs and what may be documents, with threads of its own, beside which store_read is
 * to be called. Blobs whose bytes lie elsewhere are added to the store by survey_end. What is given lives until survey_close, but for
 * the options themselves. survey_close is due even if this fails. RC_NOMEM: no memory at all; of a thread that could not be had
 * survey_end tells. */
CHECKED enum rc survey_begin(struct survey *s, struct store *st, const struct survey_options *o, struct arena *keep,
	struct err *e);
/* Of one that is read: all the rest. The survey lives until survey_close. RC_NOMEM and RC_IO: could not be done at all. */
CHECKED enum rc survey_end(struct survey *s, struct err *e);
/* The file under a blob's own name, whatever the verdict, which may be of bytes that lie elsewhere: whether there is one, and whether
 * it is known not to be what its name says. */
bool survey_has_file(const struct survey *s, const struct store *st, size_t blob);
bool survey_file_is_bad(const struct survey *s, const struct store *st, size_t blob);
/* The namespace in whose images it has its place though nothing has a record of it; STORE_NONE. */
size_t survey_unrecorded_in(const struct survey *s, const struct digest *d);
/* Whether a blob that is missing may be in something that could not be read, so that nothing may be concluded from its absence; of
 * which the other is a part: in a file of its size, or in the download of it. A directory that could not be listed may hold anything.
 * size 0: unknown. */
bool survey_may_be_found(const struct survey *s, const struct digest *d, uint64_t size);
bool survey_may_be_in_file(const struct survey *s, const struct digest *d, uint64_t size);
/* Accepts a zeroed survey, and one that has only begun, whose threads it waits for. */
void survey_close(struct survey *s);

#endif
