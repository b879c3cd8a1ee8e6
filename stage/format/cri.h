/* SPDX-License-Identifier: MIT */
/* What containerd's CRI plugin keeps of its containers and sandboxes in meta.db, and which of these records it cannot start with,
 * or never gets rid of. At its start it loads all of them (containerd 1.6, 1.7: pkg/cri/server/restart.go; 2.x: internal/cri/server/
 * restart.go): a container is loaded if its metadata decodes and its status can be written to its directory; a name that two loaded
 * ones have is fatal; what is not loaded is logged, and no client hears of it again. Bytes in, records out: no input, no output. */
#ifndef CRI_H
#define CRI_H

#include "ground/base.h"

#define CRI_KIND_LABEL "io.cri-containerd.kind"
#define CRI_CONTAINER_EXTENSION "io.cri-containerd.container.metadata"
#define CRI_SANDBOX_EXTENSION "io.cri-containerd.sandbox.metadata"
#define CRI_STORED_EXTENSION "metadata" /* of a record in the bucket sandboxes (containerd 2.x: internal/cri/server/podsandbox) */

enum cri_kind {
	CRI_OTHER,     /* another client's: never judged */
	CRI_CONTAINER,
	CRI_SANDBOX,   /* a container record that is a pod's sandbox */
	CRI_STORED     /* a record in the bucket sandboxes: containerd 2.x has one beside the container record, or instead of it */
};

enum cri_reading {
	CRI_READS,
	CRI_ABSENT,  /* no such extension */
	CRI_BROKEN,  /* containerd cannot decode it, or it has no name */
	CRI_UNKNOWN  /* of a version we do not know, or past a limit: nothing is said of it */
};

struct cri_metadata {
	enum cri_reading reading;
	struct span name, sandbox; /* CRI_READS; sandbox: of a container, else empty */
};

enum cri_directory {
	CRI_DIR_THERE,
	CRI_DIR_GONE,   /* or no directory */
	CRI_DIR_UNKNOWN /* it could not be looked at, or what it would be in is not there */
};

struct cri_record {
	enum cri_kind kind;
	struct span id;
	struct cri_metadata metadata;
	enum cri_directory directory; /* CRI_CONTAINER; a sandbox is loaded without its own */
	uint64_t made;                /* a number that grows with each container made, whatever the clock says; 0: unknown */
	int64_t created_ns;           /* Unix time, 0 unknown */
	size_t container;             /* index into the store's array, of CRI_CONTAINER and CRI_SANDBOX */
};

enum cri_verdict {
	CRI_STAYS,
	CRI_HAS_NO_METADATA,
	CRI_HAS_NO_DIRECTORY,
	CRI_HAS_NO_SANDBOX,   /* or one that goes */
	CRI_NAME_IS_TAKEN,    /* and the other one stays */
	CRI_GOES_WITH,        /* CRI_STORED: the sandbox's other record goes */
	CRI_IS_UNCHECKED      /* its name is another one's too, and whether both can be loaded could not be found out */
};

struct cri_judgement {
	enum cri_verdict verdict;
	size_t other; /* CRI_NAME_IS_TAKEN, CRI_IS_UNCHECKED: index of one that has the name; CRI_HAS_NO_SANDBOX: of the sandbox that
	               * goes; else SIZE_MAX */
};

/* "container" or "sandbox" for a value of the label, else CRI_OTHER. */
enum cri_kind cri_kind_of(struct span label);

/* The bytes of an extension: a google.protobuf.Any whose value is JSON of {"Version": "v1", "Metadata": {...}}. What it finds is in
 * keep. RC_NOMEM only. */
CHECKED enum rc cri_read_metadata(struct span any, enum cri_kind kind, struct arena *keep, struct arena scratch,
	struct cri_metadata *out);

/* records: containers and sandboxes first, then CRI_STORED, each part sorted by id; out has count elements. RC_NOMEM only. */
CHECKED enum rc cri_judge(const struct cri_record *records, size_t count, struct arena scratch, struct cri_judgement *out);

#endif
