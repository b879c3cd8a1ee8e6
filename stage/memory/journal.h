/* SPDX-License-Identifier: MIT */
/* <root>/containerd-fsck/journal: was the last stop clean, and which objects were durable and right at some instant that is
 * known. Text, a record a line, described for people in containerd-fsck-journal(5):
 *
 *   <number> <type> <field>... <checksum>      numbers count from 1; the checksum is FNV-1a (64 bit, 16 hexadecimal digits) of
 *                                              all before the blank in front of it
 *
 * A tail that is not whole was being written when the power went: it is ignored. Whatever else is wrong means that there is no
 * journal. What a journal says is trusted only by comparison: of the store it names (struct journal_identity), and of each
 * object's inode, size and change time. Times are compared for equality only; no clock is asked.
 *
 * Cuts: journal_commit leaves all of the old journal or all of the new. journal_append leaves the old one, with or without
 * whole new records. */
#ifndef JOURNAL_H
#define JOURNAL_H

#include "memory/at.h"
#include "format/stream.h"

#define JOURNAL_NAME "journal"
#define JOURNAL_DATABASES_MAX 24
#define JOURNAL_STUCK_MAX 256 /* what is passed over; of more nothing is known */
#define JOURNAL_FS_BYTES 40 /* "uuid:" and 32 digits, or "fsid:" and 16; with the NUL */

/* The store it is of. */
struct journal_database { /* or, with size and txid 0, a directory that only containerd changes */
	char path[128]; /* relative to the root */
	uint64_t inode, size, txid;
	int64_t ctime_ns;
};
struct journal_identity {
	uint64_t root_inode;
	char fs[JOURNAL_FS_BYTES]; /* "-": this file system tells none */
	struct journal_database databases[JOURNAL_DATABASES_MAX];
	size_t database_count;
};
/* The same directory of the same file system: what the journal says of its objects may be compared with them. */
bool journal_same_store(const struct journal_identity *a, const struct journal_identity *b);
/* And nobody has changed a database since. */
bool journal_same_databases(const struct journal_identity *a, const struct journal_identity *b);

/* What tells whether a file or directory is still the one that was meant. */
struct journal_stamp {
	uint64_t inode, size; /* size 0 for a directory */
	int64_t ctime_ns;
};

struct journal_blob {
	struct digest digest;
	struct journal_stamp stamp;
	bool document; /* it is an index, manifest or config, or may be one */
	bool recorded; /* behind the last inventory: it has come since */
};
struct journal_snapshot {
	uint64_t id;
	struct span key; /* in metadata.db */
	struct journal_stamp stamp; /* of snapshots/<id> */
	/* Durable, but there was nothing to compare it with; or, if it was no committed one, nothing is promised of it. Stays so, whatever
	 * becomes of it, until a check has compared it. */
	bool unverified;
};
/* The first size bytes of a download were durable, and this is their wide_sum: containerd starts some over in the same file, so
 * that neither its inode nor its size would tell whether they still are. */
struct journal_ingest {
	struct span name; /* of the directory in ingest/: the SHA-256 of ref */
	struct span ref;  /* what the file ref says, with the digest that is expected in its tail; "" if not known, or too long: then no
			   * bytes are vouched for */
	uint64_t size, sum;
	bool held; /* what was behind them when the last check ended is doubtful, and stays so: it may not be vouched for later */
};

/* What meta.db said, for the day it cannot be read: an image, a container, or a lease that does not expire. */
struct journal_name {
	enum journal_name_kind { JOURNAL_IMAGE, JOURNAL_CONTAINER, JOURNAL_LEASE } kind;
	struct span ns, name;
	/* of an image; of a container the snapshotter, the snapshot and the image as meta.db names them */
	struct span digest, media_type;
	uint64_t size;
	struct span snapshotter, key, image;
	uint64_t number; /* of the record: of several with one name the last counts */
	bool gone;	 /* to be written: it is no more */
};

/* What the last boot record since the last seal says. */
enum journal_mode {
	JOURNAL_NOT_BEGUN,
	JOURNAL_CLEAN,   /* the marker was good: nothing was looked at */
	JOURNAL_CHECKED, /* looked at, and perhaps repaired: all that was doubtful then is in doubts */
	JOURNAL_FORCED,  /* the same of all there is, as told: should it be cut off, the next boot looks at all as well */
	JOURNAL_SKIPPED, /* told not to look */
	JOURNAL_MODES
};

struct journal {
	bool present;       /* there is one, and it is whole but for its tail */
	const char *absent; /* else: why not, a phrase */
	/* Vouched for: durable, and right as far as could be told. Sorted: by digest, id, name. */
	struct journal_blob *blobs;
	struct journal_snapshot *snapshots;
	struct journal_ingest *ingests; /* of each name the last record, in the order of the names */
	size_t blob_count, snapshot_count, ingest_count;
	/* Objects that were there when the last check ended and were not right, or could not be looked at. */
	struct journal_blob *blob_doubts;
	struct journal_snapshot *snapshot_doubts;
	size_t blob_doubt_count, snapshot_doubt_count;
	struct journal_name *names; /* that are still there: sorted by kind, namespace, name */
	size_t name_count;

	/* What checks are to pass over: those that began ended there (boot.h). */
	struct at_name *stuck;
	size_t stuck_count;
	/* What the check before the one of the last boot record was at when it ended, and what has been noted since. */
	struct at_name *ended;
	size_t ended_count, ended_before; /* ended_before: noted in front of that record */

	bool clean;         /* the last record is the marker */
	const struct journal *scrub; /* see journal_add_doubts; NULL: no scrub doubts anything */
	char boot_id[37];   /* of the last boot record; "" if there is none since the last seal */
	char last_boot[37]; /* of the last record that names one, a seal included; "" if there is none */
	enum journal_mode mode;
	bool done;          /* it ended */
	unsigned status;    /* with this exit status */
	unsigned unfinished; /* boots in a row that began and did not end, that of boot_id included */
	uint64_t records, valid_bytes; /* whole records, and where they end */
	uint64_t file_bytes;           /* with a torn tail */
	/* While it is read: objects behind the inventory count once a settled record stands behind them. */
	bool inventory_read;
	size_t settled_blobs, settled_snapshots, settled_ingests;
	struct journal_identity identity;
};

/* The quick look of a clean boot: header, the sum of the whole, and the marker, which must be the very last. Only present, clean,
 * identity, records and valid_bytes are set then. RC_END: no marker stands there, or not all is as it was written; journal_read
 * says what there is. */
CHECKED enum rc journal_read_marker(struct journal *j, int own, struct arena scratch, struct err *e);
/* RC_NOMEM, or RC_OK: see absent. own: containerd-fsck/ below the root. */
CHECKED enum rc journal_read(struct journal *j, int own, struct arena *a, struct err *e);

/* What a scrub found beside a running containerd, in a file of the same form that nobody else writes: doubts, and as what is stuck
 * the place where it stopped. */
#define JOURNAL_SCRUB "scrub"
CHECKED enum rc journal_read_file(struct journal *j, int own, const char *name, struct arena *a, struct err *e);
/* Its doubts count as the journal's own: what it doubts the journal does not vouch for any more, nor for a clean stop. */
CHECKED enum rc journal_add_doubts(struct journal *j, int own, struct arena *a, struct err *e);

/* Looks the object up; NULL if the journal does not vouch for one with this very stamp. Of a blob that stands there twice the one
 * that is not recorded. */
const struct journal_blob *journal_find_blob(const struct journal *j, const struct digest *d, const struct journal_stamp *s);
const struct journal_snapshot *journal_find_snapshot(
	const struct journal *j, uint64_t id, struct span key, const struct journal_stamp *s);
/* Whether one with this id stands there as unverified, whatever its directory is now. */
bool journal_leaves_open(const struct journal *j, uint64_t id);
/* Whether one with this id and key stands there, but its directory is not as it was: somebody else than containerd touched it. */
bool journal_saw_other(const struct journal *j, uint64_t id, struct span key, const struct journal_stamp *s);
/* The same of a blob: it is the file that was meant, and was written to or touched. */
bool journal_saw_other_blob(const struct journal *j, const struct digest *d, const struct journal_stamp *s);
/* A doubt is about whatever has the inode (a blob) or the id (a snapshot): rather one too many. */
bool journal_doubts_blob(const struct journal *j, const struct digest *d, uint64_t inode);
bool journal_doubts_snapshot(const struct journal *j, uint64_t id);
bool journal_is_stuck(const struct journal *j, enum at_kind kind, struct span name);
bool journal_is_stuck_number(const struct journal *j, enum at_kind kind, uint64_t name);
/* The last that is said of this download; NULL: nothing is. Only the sum tells whether it still holds. */
const struct journal_ingest *journal_find_ingest(const struct journal *j, struct span name);

/* ---- writing ---- */

/* A boot begins: durable when this returns, and the marker, if there was one, is used up. With a mode that looks at nothing it
 * ends as well, with this status. */
CHECKED enum rc journal_append_boot(struct journal *j, int own, const char *boot_id, enum journal_mode mode, unsigned status,
	struct arena scratch, struct err *e);
/* The same, and in front of it what the check before was at: of these the first stuck ones are passed over from now on. A cut leaves
 * some of them without the boot, which is what the next boot finds anyway. */
CHECKED enum rc journal_append_attempt(struct journal *j, int own, const struct at_name *names, size_t count, size_t stuck,
	const char *boot_id, enum journal_mode mode, struct arena scratch, struct err *e);
/* These alone, none of them stuck: the file that says so is about to be written anew. */
CHECKED enum rc journal_append_ended(
	struct journal *j, int own, const struct at_name *names, size_t count, struct arena scratch, struct err *e);
CHECKED enum rc journal_append_done(struct journal *j, int own, unsigned status, struct arena scratch, struct err *e);
/* For what the functions of a boot's records came to: where there was no room, the journal goes, durably, and it is RC_END. That
 * uses a marker up as well, and a full file system is no reason to leave a store unchecked; the next boot checks everything.
 * own: -1 if there is no such directory. */
CHECKED enum rc journal_give_way(enum rc rc, int own, struct err *e);

/* A sync failed: what was written in this boot may be lost though it still reads well, and the next sync will not tell again. Notes
 * that nothing more of this boot can be vouched for, until a boot has checked; without room for that, the journal goes. */
CHECKED enum rc journal_distrust(struct journal *j, int own, struct arena scratch, struct err *e);
struct journal_writer;
/* The records of a recorder: what w holds, about objects that were durable before they were put, and a settled record behind them.
 * Durable when this returns. A cut leaves all of it, or nothing that counts. RC_END: the journal is not as *j says, somebody else
 * has written it. w began with journal_continue. */
CHECKED enum rc journal_append_settled(struct journal *j, int own, struct journal_writer *w, struct err *e);

/* A new journal, built in memory. What has too long a name to be listed is left out: nobody vouches for it. */
struct journal_writer {
	struct arena *a;
	char *at;
	size_t used, cap;
	uint64_t number;
	uint64_t blob_count, snapshot_count, ingest_count; /* vouched for */
	bool full; /* no memory: told by journal_commit */
};
void journal_begin(struct journal_writer *w, const struct journal_identity *identity, struct arena *a);
void journal_continue(struct journal_writer *w, const struct journal *j, struct arena *a);
void journal_put_blob(struct journal_writer *w, const struct journal_blob *b, bool doubt);
void journal_put_snapshot(struct journal_writer *w, const struct journal_snapshot *s, bool doubt);
/* The sum of a file's first n bytes; RC_END: it is shorter. */
CHECKED enum rc journal_sum(int fd, uint64_t n, uint64_t *sum, struct arena scratch, struct err *e);
void journal_put_ingest(struct journal_writer *w, const struct journal_ingest *in);
void journal_put_stuck(struct journal_writer *w, const struct at_name *one);
/* What has an empty or too long name is left out. */
void journal_put_name(struct journal_writer *w, const struct journal_name *n);
/* The order of the names. */
int journal_compare_names(const struct journal_name *a, const struct journal_name *b);
/* As journal_append_boot. */
void journal_put_boot(struct journal_writer *w, const char *boot_id, enum journal_mode mode, unsigned status);
void journal_put_done(struct journal_writer *w, unsigned status);
/* The marker; nothing may follow. Everything before it must be durable. */
void journal_put_clean(struct journal_writer *w, const char *boot_id);
/* Writes nothing if the journal there says the same already. */
CHECKED enum rc journal_commit(struct journal_writer *w, int own, struct err *e);
CHECKED enum rc journal_commit_file(struct journal_writer *w, int own, const char *name, struct err *e);

#endif
