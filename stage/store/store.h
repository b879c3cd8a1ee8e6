/* SPDX-License-Identifier: MIT */
/* A containerd root as plain records: meta.db (schemas 3 and 4), metadata.db of the overlayfs snapshotter, and the names in
 * blobs/, ingest/ and snapshots/ (containerd 1.6 to 2.3: metadata/buckets.go, snapshots/storage/bolt.go,
 * content/local/store.go; from 2.0 on below core/ and plugins/). Holds the lock that keeps containerd from
 * starting, for as long as the store is open. Reads only, judges nothing but what it cannot read. */
#ifndef STORE_H
#define STORE_H

#include "format/bolt.h"
#include "format/cri.h"
#include "policy/evidence.h"
#include "ground/names.h"
#include "format/oci.h"
#include "policy/policy.h"

#define STORE_SCHEMA_SANDBOXES 4 /* since then the bucket of a namespace has the bucket sandboxes in it */

struct label {
	struct span key, value;
};

/* All but where a blob came from (containerd.io/distribution.source.*), which every blob has and nobody here asks for; in the order of
 * their keys. */
struct labels {
	struct label *at;
	size_t count;
};
/* NULL: not there. */
const struct span *labels_get(const struct labels *l, const char *key);
/* The first whose key is not before this one; count: there is none. */
size_t labels_from(const struct labels *l, const char *key);

/* Schema of meta.db from which on containerd 2.x may have run on a store: it migrates what it opens (containerd 2.0:
 * core/metadata/migrations.go), and does not go back. */
#define STORE_SCHEMA_2 4

/* Records of one namespace are neighbours in each array, in key order: [first, first + count). */
struct range {
	size_t first, count;
};

struct namespace {
	struct span name;
	struct range images, contents, ingests, leases, containers, snapshots, foreign;
	struct span *writers; /* the snapshots that its containers write to, as often, sorted; NULL: not read yet */
	uint64_t overlay_sequence; /* of the bucket snapshots/overlayfs: the counter in backend keys */
	bool kubernetes;
	bool nerdctl; /* a container in it has its labels */
};

struct image {
	size_t ns;
	struct span name, media_type;
	struct digest target;
	bool target_known;
	struct labels labels;
};

struct content {
	size_t ns;
	struct span text; /* the key: "sha256:..." */
	struct digest digest;
	bool digest_known;
	bool has_source; /* a pull noted the registry it came from; an import has none to note */
	uint64_t size;
	int64_t created_ns; /* Unix time, 0 unknown */
	struct labels labels;
	size_t blob; /* index into blobs, SIZE_MAX: no such file */
};

struct ingest_record {
	size_t ns;
	struct span client_ref; /* the key */
	struct span ref;        /* backend ref, whose sha256 names the directory */
	struct span expected;   /* empty, or a digest: an adopted blob, no directory */
	size_t dir;             /* index into ingests, SIZE_MAX: no such directory */
};

struct keys {
	struct span *at;
	size_t count;
};

struct lease {
	size_t ns;
	struct span id;
	struct labels labels;
	bool expires; /* has a containerd.io/gc.expire at most LEASE_SECONDS_MAX after its creation */
	struct keys snapshots, ingests; /* what it holds: of the overlayfs snapshotter; client refs */
	bool flat;            /* for ever, and of nothing but what it names: as an entry of a cache of builds is */
	struct keys contents; /* of a flat one: digests */
};

struct container {
	size_t ns;
	struct span id, image, snapshotter, snapshot_key;
	struct span name, pod_ns; /* of its pod, which kubelet labels it with; or its own, by nerdctl; else empty */
	int64_t created_ns; /* Unix time, 0 unknown */
};

#define STORE_NONE SIZE_MAX

/* A snapshot as meta.db has it; only those of the overlayfs snapshotter. */
struct snapshot {
	size_t ns;
	struct span key, name, parent; /* name: backend key; parent: key in the same namespace, empty for a base */
	int64_t created_ns; /* Unix time, 0 unknown */
	struct labels labels;
	size_t backend; /* index, STORE_NONE: the other database does not know it */
	bool unleased;  /* docker has a container of this id, which writes to it, and no lease, without which it cannot use it */
};

/* A snapshot of another snapshotter, as meta.db has it: only those that are named by a chain ID, sorted by that. */
struct foreign {
	struct digest chain;
	struct span snapshotter;
};

enum snapshot_kind { SNAPSHOT_VIEW = 1, SNAPSHOT_ACTIVE = 2, SNAPSHOT_COMMITTED = 3 };

/* A snapshot as metadata.db has it. */
struct backend {
	struct span key, parent;  /* parent: backend key, empty for a base */
	struct span ns_name, user_key; /* key is <ns_name>/<number>/<user_key> */
	uint64_t number, id;
	uint64_t inodes;
	int64_t created_ns;       /* Unix time, 0 unknown */
	struct labels labels;
	size_t parent_index; /* STORE_NONE: none, or not in the database */
	size_t snapshot;     /* index, STORE_NONE: meta.db does not know it */
	uint32_t depth;      /* parents below it */
	uint32_t children;   /* records whose parent this is */
	uint64_t dir_inode;  /* of snapshots/<id>; 0 if it could not be asked */
	int64_t dir_ctime_ns;
	char dir[24];        /* id as text: the directory's name */
	enum snapshot_kind kind;
	bool dir_found, dir_is_directory;
	bool parents_entry;  /* the parents bucket has its entry */
	bool unusable;       /* another has its id, or it is above itself: a fault says so */
	bool interrupted;    /* a rebuild of ours was cut off: its directories' times may be wrong */
};

/* A file in blobs/, or, with spare, one that is not there, or is not right, and whose bytes lie elsewhere. */
struct blob {
	struct span text; /* "sha256:<hex>" */
	struct digest digest;
	uint64_t size, inode;
	int64_t ctime_ns;
	uint32_t mode;
	bool regular;
	bool sparse;    /* most of it is holes: no compressed layer is like that, and to read it takes as long as whoever made it wants */
	int unreadable; /* errno of a failed stat, ELOOP for a symbolic link; 0: none */
	size_t records; /* content records of all namespaces that name it */
	uint64_t recorded; /* what the first of them says of its size that says something; 0: none */
	size_t spare;   /* index of the file its bytes are in, STORE_NONE: they are its own */
	bool placed;    /* that was moved to the blob's own name since */
	struct range spares; /* files in it, if it is a directory; or it itself, see store_add_spare */
};

struct ingest {
	struct span name;     /* of the directory */
	struct span ref;      /* content of the file ref; empty if missing, unreadable or too long */
	struct span ns_name, client_ref; /* from ref, empty if it is not <ns>/<n>/<client ref> */
	const struct digest *expected; /* from the tail of the client ref; NULL: it does not say */
	size_t spare;         /* of data, STORE_NONE: none */
	struct range spares;  /* all files in it */
	int unreadable;       /* errno of a failed read of its small files; 0: none */
	bool is_directory, ref_fits; /* ref_fits: sha256(ref) is the name */
	bool has_data;
	uint64_t data_size, total; /* total 0: unknown */
	size_t record;        /* index, STORE_NONE */
};

/* A name that is none of the above. */
struct stray {
	const char *dir;  /* relative to the root */
	const char *name;
	enum stray_kind {
		STRAY_BLOB_NAME,      /* in blobs/<alg>: no digest of that algorithm */
		STRAY_SNAPSHOT_DIR,   /* in snapshots/: an id no record has */
		STRAY_SNAPSHOT_NEW,   /* in snapshots/: new-*, rm-*: half made, half removed */
		STRAY_SNAPSHOT_OTHER, /* in snapshots/: containerd removes it, we do not know it */
		STRAY_PROBE,          /* left by a feature probe */
		STRAY_TMPMOUNT,       /* tmpmounts/containerd-mount* */
		STRAY_OWN             /* containerd-fsck/staging*: a repair of ours was cut off */
	} kind;
	bool is_directory, empty;
	struct range spares; /* STRAY_BLOB_NAME: it, or the files in it */
	uint64_t id; /* STRAY_SNAPSHOT_DIR */
};

/* A file below the content directory, or taken out of it by us, that is no blob under its own name. Whatever it is called, its bytes
 * may be those of a blob that is missing: containerd syncs a download's data, and neither the ref beside it nor the rename into
 * blobs/. */
struct spare {
	const char *dir;    /* relative to the root */
	const char *name;
	uint64_t size;
	size_t ingest;      /* the download it is in, STORE_NONE: none */
	size_t blob;        /* the blob whose name it, or a directory above it, has; the same */
	const char *from;   /* the second place that it is of, or was copied from; NULL: it is the store's own */
	enum spare_place {
		SPARE_IN_CONTENT,
		SPARE_IN_STAGING, /* ours: its removal was cut off */
		SPARE_IN_ASIDE,   /* ours: an earlier run set it aside, or what it is in */
		SPARE_IN_SOURCE,  /* of a second place, dir, that is only looked at: name is its path below that */
		SPARE_IN_ARCHIVE  /* the same, and it cannot be opened: it is a member of an archive */
	} place;
	bool freed;         /* taken out of what was about to go */
};

/* A database that cannot be worked with, or a sign that one is not the database of this store. Anything here halts. */
struct store_fault {
	const char *path; /* relative to the root */
	enum store_fault_kind {
		STORE_DB_FAULT,   /* fault says what */
		STORE_DB_MISSING,
		STORE_DB_SCHEMA,  /* a version we do not know */
		STORE_DB_RECORD,  /* a record that does not decode */
		STORE_DB_ROLLED_BACK,
		STORE_DB_UNRELATED, /* not proved to be the database that meta.db goes with */
		STORE_DIR_UNUSABLE /* what the databases describe is not there at all */
	} kind;
	struct bolt_fault fault; /* page and text; for the other kinds only the text */
};

struct database {
	const char *path;    /* relative to the root */
	int dir, fd;         /* -1: not there */
	bool present, sound;
	struct src src;
	struct bolt bolt;
	struct bolt_stats stats;
};

struct state_file {
	const char *dir; /* relative to the root */
	const char *name;
	enum state_kind { STATE_UUID, STATE_CRI_STATUS, STATE_UNREADABLE } kind;
	size_t container; /* STATE_CRI_STATUS: index, STORE_NONE */
	const char *why;
};

/* What a configuration of containerd says of a root. */
struct store_known {
	const char *file;        /* that says so */
	const char *root, *state;
	const char *overlay;     /* root_path of the overlayfs snapshotter; NULL: it is in the root */
	const char *content;     /* proxy plugin that is a content store; NULL: none. Its blobs are wherever that has them */
	bool unknown;            /* not all of it could be read: any of them may be another */
};

/* How a store is read that is in use: from copies of its databases, made before anything else is looked at. What is only of interest at
 * rest is not read: downloads, strays, the boot; nor is it a fault that the databases do not agree. */
struct store_beside {
	/* *fd stays -1 for what is not there */
	enum rc (*copy)(void *self, int root, int dir, const char *name, int *fd, struct arena scratch, struct err *e);
	void *self;
};

/* What is known beside the root itself. */
struct store_hints {
	const char *sysroot;     /* put before every other place; "" for none */
	const struct store_known *known;
	size_t known_count;
	bool after_boot;         /* a person says that containerd has not run since the machine started */
	bool first_boot;         /* see struct boot_facts */
	int meta_lock;           /* a descriptor of meta.db that has its lock already; 0: none */
	const struct store_beside *beside; /* containerd may run: nothing is locked. NULL: it must not */
	bool mended;             /* a database was made again: what it lacks of the other proves nothing, */
	bool mended_overlay;     /* metadata.db, maybe with the other */
	bool journal_says;
	bool was_sealed;         /* the last stop: what the journal knows of the databases is the last that was in them */
	bool may_be_half;        /* whoever opens it ends a reset that was cut off */
	struct pace *pace;       /* asked as the store is read; NULL: never. Of the thread that reads it */
};

struct store {
	const char *path; /* as the person named it */
	const struct store_hints *hints;
	int dir;          /* the root */
	int blobs, ingest_dir, snapshots_dir; /* -1: not there */
	struct arena *keep;
	/* First those that most is asked of: what lies within 128 bytes of where a struct begins is reached by shorter code. */
	struct snapshot *snapshots;
	struct backend *backends;
	struct image *images;
	struct blob *blob_files;
	struct spare *spares;
	size_t snapshot_count, backend_count, image_count, blob_count, spare_count, namespace_count;
	struct namespace *namespaces;
	struct content *contents;
	struct ingest_record *ingest_records;
	struct lease *leases;
	struct container *containers;
	struct cri_record *cri; /* of namespace k8s.io, in the order that cri_judge asks for */
	struct foreign *foreign;
	struct ingest *ingests;
	struct stray *strays;
	struct state_file *state_files;
	struct store_fault *faults;
	size_t content_count, ingest_record_count, lease_count, container_count, cri_count, foreign_count, ingest_count, stray_count,
		state_file_count, fault_count;

	int blob_dirs[DIGEST_KINDS]; /* in blobs; -1: not there */
	bool intents_unseen;     /* a staging place of ours could not be looked at: any snapshot may be interrupted */
	const char *unseen_path; /* of what could not be looked at in the content store, and may hold bytes: the first; NULL: nothing */
	int unseen_errno;
	enum rc listed;   /* if not RC_OK, blobs or downloads could not be listed, and why_not is the reason: store_read tells */
	bool read_only;   /* the file system is */
	uint64_t schema;
	uint64_t overlay_sequence; /* last id handed out */
	bool meta_linked;          /* a link is where the database's directory should be: a fault, and nothing is locked */
	uint64_t other_snapshots;  /* records of snapshotters we leave alone, whatever their names */
	bool foreign_cut;          /* there are more of them than LIMIT_FOREIGN_SNAPSHOTS: what is not listed may be there */
	bool overlay_elsewhere;    /* meta.db has snapshots and the root has no overlayfs directory: configured with root_path */
	bool mounted;              /* an overlay mount uses snapshots of this store: containers run on it, or it cannot be seen */
	const char *overlay_path;  /* where the overlayfs snapshotter is, as its configuration says; NULL: in the root */
	size_t dockerd;            /* not 0: no store, but docker's data root with so many databases of its daemon's */
	bool beside_docker;        /* docker has images of its own, overlay2, beside this store */
	enum boot_proof proof;
	bool boot_proved_new;      /* containerd has not run since this boot: leases and half-done work are of an earlier one */
	/* That; or no overlay of this store is mounted, no state directory and no shim's socket is there, and nobody that could be looked
	 * at has the store open. Enough for what keeps containerd from starting and is set aside, not lost; leases and downloads may be
	 * of this boot still. */
	bool nothing_runs;
	const char *boot_evidence; /* a sentence: why it is proved new, or why not */
	char boot_id[37];
	struct database meta, overlay;
	struct err why_not;
};

enum store_refusal {
	STORE_OPENED,
	STORE_NOT_THERE, /* no such directory */
	STORE_NOT_A_ROOT, /* nothing of containerd in it */
	STORE_RUNNING    /* containerd holds the lock */
};

/* Opens, locks, and lists blobs and downloads. RC_OK with *refusal != STORE_OPENED: cannot be worked on, nothing is held. The
 * arena and the hints outlive the store; what the hints say of the boot may be set until store_read. */
CHECKED enum rc store_open(struct store *st, const char *path, const struct store_hints *hints, struct arena *keep,
	struct arena scratch, enum store_refusal *refusal, struct err *e);
/* Once: all the rest. Meanwhile other threads may look at blobs and downloads (but for their links: blob.records, ingest.record)
 * and at the directories' descriptors, at nothing else. Faults are not failures: they are in st->faults, and the records may then
 * be incomplete; they come before a failure to list. */
CHECKED enum rc store_read(struct store *st, struct arena scratch, struct err *e);
void store_close(struct store *st);
/* Whether a reset was cut off: what was moved aside by then is in containerd-fsck/reset. */
bool store_is_half(const struct store *st);

/* Of a store that is read: blobs that have no file, whose bytes are in these spares. at: digest, size and spare are set. Returns
 * where each blob of before is now; NULL: no memory, and nothing has changed. */
size_t *store_add_blobs(struct store *st, const struct blob *at, size_t count);
/* The file with a blob's name, which does not hold the blob's bytes. */
CHECKED bool store_add_spare(struct store *st, size_t blob);
/* Bytes of a second place, or a copy of them, for whoever sets the rest; that outlives the store. NULL: no memory. */
struct spare *store_add_bytes(struct store *st);
/* "io.containerd.content.v1.content/blobs/sha256". */
const char *store_blob_dir_path(enum digest_kind kind);
/* Whether a download's directory, which is named after its ref's SHA-256, is that of this ref. */
bool store_ref_fits(struct span ref, const char *name);
/* The digest that a download is for, from the tail of what a client calls it. */
bool store_digest_of_ref(struct span client_ref, struct digest *d);

/* "extract-<nanoseconds>-<random> <chain ID>": an unpacking under way (containerd 2.3: core/unpack/unpacker.go), and no
 * container's layer that happens to be called so. ns may be STORE_NONE. */
bool store_is_extract(const struct store *st, size_t ns, struct span key);
/* "<container>-init" of docker: what dockerd makes beneath a container's own layer, and would make again (layer/init.h). The same. */
bool store_is_init(const struct store *st, size_t ns, struct span key);

/* "<namespace>/<number>/<what a client calls it>", as containerd's metadata layer names what is in a store below it. false: it is not
 * so, and only *number may be set. */
bool store_split_key(struct span key, struct span *ns, uint64_t *number, struct span *rest);

/* Look-ups; STORE_NONE: not there. */
size_t store_find_blob(const struct store *st, const struct digest *d);
size_t store_find_content(const struct store *st, size_t ns, const struct digest *d);
size_t store_find_snapshot(const struct store *st, size_t ns, struct span key);
size_t store_find_foreign(const struct store *st, size_t ns, const struct digest *chain);
size_t store_find_backend(const struct store *st, struct span key);
size_t store_find_namespace(const struct store *st, struct span name);
/* What docker calls its container with this id; empty if that cannot be read. In *a. */
struct span store_docker_name(const struct store *st, struct span id, struct arena *a);
size_t store_find_image(const struct store *st, size_t ns, struct span name);

/* What policy asks about them. ns may be STORE_NONE. */
struct snapshot_facts store_snapshot_facts(const struct store *st, size_t ns, struct span key, bool committed);
struct backend_facts store_backend_facts(const struct store *st, const struct backend *b); /* lost, content: not known here */
struct lease_facts store_lease_facts(const struct store *st, const struct lease *l);

/* "sha256:<hex>": CRI's own name of an image by its config, by which nothing can be pulled. */
bool image_is_named_by_config(const struct image *image);

/* Our own lease's id. */
#define STORE_OWN_LEASE "containerd-fsck"

/* Whether these first bytes of a blob are those of JSON: an index, manifest or config, or what may be one. */
#define STORE_HEAD_BYTES 64
bool store_may_be_document(struct span head);
/* "io.containerd.content.v1.content/blobs/sha256/<hex>", in the arena. */
const char *store_blob_path(const struct digest *d, struct arena *a);
/* Opens a blob's bytes, wherever they are now. RC_END: not there; RC_CORRUPT: no regular file; RC_STOPPED: they are in an archive. */
CHECKED enum rc store_open_blob(const struct store *st, size_t blob, int *fd, struct err *e);
/* A file of several components below dir. As os_open_file. */
CHECKED enum rc store_open_below(int dir, const char *path, int *fd, struct err *e);
/* A directory of several components below the root. RC_END: not there, or no directory. */
CHECKED enum rc store_open_path(const struct store *st, const char *path, int *fd, struct err *e);
CHECKED enum rc store_open_spare(const struct store *st, size_t spare, int *fd, struct err *e);
/* In containerd-fsck/staging* as long as a snapshot is being rebuilt; its directory's name follows. */
#define STORE_INTENT "intent-"
bool store_is_intent(const char *name);

/* Opens blobs/<algorithm>; RC_END: not there. */
CHECKED enum rc store_open_blob_dir(const struct store *st, enum digest_kind kind, int *fd, struct err *e);

/* The well-known roots (this_boot.c) that exist under sysroot ("" for none); NULL-terminated array in the arena. */
CHECKED enum rc store_well_known(const char *sysroot, struct arena *a, const char ***roots, struct err *e);

#endif
