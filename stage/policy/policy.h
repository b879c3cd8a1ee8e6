/* SPDX-License-Identifier: MIT */
/* Whose something is, whether it may go, and what a run may do: every rule of that kind, and nothing else. Tables over facts: no
 * input, no output, no clock, no look at a store. Whoever finds something fills in the facts and is told the row of the problem
 * table that tells of it and what is done about it, so that what is said and what is done cannot differ.
 *
 * What is not known is set as what keeps the thing: a fact that is false must never let something go that a true one would keep. */
#ifndef POLICY_H
#define POLICY_H

#include "policy/problem.h"

enum mode { MODE_LOOK, MODE_REPAIR, MODE_BOOT, MODE_KINDS };

/* Whether a run in this mode does what the table's action column says about a problem of this harm. No mode acts on a note, on what
 * could not be looked at, or on anything beside a database that could not be understood. */
bool policy_applies(enum mode mode, enum harm harm);
/* Whether it does so about any. */
bool policy_writes(enum mode mode);

/* What is said of something, and done about it. */
struct ruling {
	enum problem_id problem; /* P_COUNT: it is in order, nothing is said */
	enum fate fate;
	const char *why;         /* FATE_LEFT: a sentence; static, or one of the facts */
};

/* ---- snapshots ---- */

struct snapshot_facts {
	bool committed;  /* else one that can be written to, or a view */
	bool chain;      /* its key is a digest, as containerd names the layers of images by */
	bool extract;    /* its key is that of an unpacking, and it is no container's */
	bool kubernetes; /* it is of namespace k8s.io */
	bool after_boot; /* containerd has not run since the machine started */
};

enum owner {
	OWNER_IMAGE,     /* an image's layer: a pull makes it again */
	OWNER_UNPACKING, /* a pull's that is under way, or was */
	OWNER_KUBELET,   /* a pod's of an earlier boot: kubelet makes it again */
	OWNER_USER       /* a container's, or what a person committed: nobody makes it again */
};
enum owner policy_owner(const struct snapshot_facts *f);

enum emptiness { IS_EMPTY, IS_NOT_EMPTY, MAY_BE_EMPTY };

/* One that metadata.db has. */
struct backend_facts {
	struct snapshot_facts it;
	bool foreign;          /* its key was not made by containerd's metadata layer */
	bool in_meta;          /* meta.db has it too */
	enum emptiness content; /* of its directory, if meta.db does not have it */
	bool parent_gone;      /* its parent is in no record */
	bool lost;             /* files of it are proved lost, and cannot be put back; told by whoever proved it */
	bool no_directory;
};
struct ruling policy_backend(const struct backend_facts *f);

/* One that only meta.db has. */
struct ruling policy_meta_only(const struct snapshot_facts *f, bool users_stands_on_it);

/* ---- leases and downloads ---- */

struct lease_facts {
	bool expires;    /* it was made with an end, which a client renews as long as it is at work */
	bool ours;
	bool after_boot; /* containerd has not run since the machine started */
	bool holds_snapshots;
	bool some_unread; /* not all manifests and configs could be read: it may be all that holds a chain */
};
struct ruling policy_lease(const struct lease_facts *f);

/* An unfinished download. settled: bytes that the journal vouches for, 0 for none; size: all that are there. */
struct ruling policy_partial(bool after_boot, uint64_t settled, uint64_t size);

/* A download's record without its directory. */
struct ruling policy_download_record(bool after_boot);

/* Bytes that are about to be removed with what they lie in. */
struct bytes_facts {
	bool stuck;       /* they are to become a blob, and could not be moved */
	bool held;        /* as far as could be looked, they may be the only copy of what is named */
	bool read;        /* they were read */
	bool wants_unknown; /* not all that may name them could be read */
};
/* Why they stay; NULL: they may go. */
const char *policy_holds(const struct bytes_facts *f);

/* ---- containers ---- */

/* containerd's CRI plugin cannot load it. nothing_runs: no container of this machine does. */
const char *policy_cri_stays(bool nothing_runs);

/* containerd's note of how a container ended, which cannot be read. */
struct ruling policy_cri_status(bool after_boot);

/* ---- names of images ---- */

struct name_facts {
	bool kubernetes;      /* in k8s.io a name tells kubelet that it need not pull */
	bool by_config;       /* sha256:<hex>, CRI's own: nothing can be pulled by it */
	bool damaged;         /* something of the image was found wrong in this run; else it lacks what may never have been here */
	bool only_layers;     /* it lacks layers alone, and another snapshotter than overlayfs is in use */
	bool records_stay;    /* of files that are lost: a pull would say done */
	bool pinned;          /* somebody relies on it being here always */
	bool imported;        /* no pull noted a registry */
	bool unseen;          /* what it lacks may lie where nobody could look */
	const char *may_be_at_work; /* a sentence: somebody may be pulling it; NULL: containerd has not run since the machine started */
};
/* Of an image that must be pulled. FATE_DROP in k8s.io: its name goes; elsewhere names always stay. */
struct ruling policy_name(const struct name_facts *f);

#endif
