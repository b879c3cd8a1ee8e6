/* SPDX-License-Identifier: MIT */
/* The few fields of index, manifest and config JSON that lead from an image name to snapshots (image-spec 1.1:
 * image-index.md, manifest.md, config.md; containerd 2.3: core/images/image.go, mediatypes.go). The kind is told by the
 * document's own members, as containerd refuses documents whose members contradict their media type. */
#ifndef OCI_H
#define OCI_H

#include "format/stream.h"

enum oci_kind {
	OCI_OTHER, /* valid JSON of another kind, or members of two kinds: never unpacked */
	OCI_INDEX,
	OCI_MANIFEST,
	OCI_CONFIG
};

enum oci_type {
	OCI_TYPE_OTHER,
	OCI_TYPE_INDEX,
	OCI_TYPE_MANIFEST,
	OCI_TYPE_CONFIG, /* one containerd would unpack layers for */
	OCI_TYPE_LAYER,
	OCI_TYPE_ENCRYPTED_LAYER
};

/* What a store has of them stays in memory: 80 bytes each. */
struct oci_descriptor {
	uint64_t size;
	struct digest digest;
	enum oci_type type : 8;
	bool digest_known; /* false: not there, garbled, or an algorithm we do not know */
	bool attestation;  /* platform unknown/unknown: in-toto statements, never unpacked */
};

/* Arrays belong to the arena. */
struct oci_doc {
	enum oci_kind kind;
	struct oci_descriptor config;    /* OCI_MANIFEST */
	struct oci_descriptor *children; /* OCI_INDEX: manifests; OCI_MANIFEST: layers, in order */
	size_t child_count;
	struct digest *diff_ids;         /* OCI_CONFIG */
	size_t diff_id_count;
	bool unpackable;                 /* OCI_CONFIG: rootfs.type absent or "layers", every diff ID a sha256 */
};

/* The text is not needed after it. RC_CORRUPT: no JSON object that containerd could read; RC_LIMIT: larger than limits.h allows, or with
 * more descriptors or diff IDs; RC_NOMEM. On failure nothing of the arena is taken. steps, unless NULL, grows by the bytes that were
 * looked at, each as often as it was: at most OCI_STEPS_PER_BYTE for each byte of json, whatever is in it. */
#define OCI_STEPS_PER_BYTE 6
CHECKED enum rc oci_parse(struct span json, struct arena *a, struct oci_doc *d, uint64_t *steps);

/* Encrypted or not. */
bool oci_is_layer(const struct oci_descriptor *d);

/* chain(0) = diff ID; chain(i) = sha256("<chain(i-1)> <diff ID(i)>"). parent NULL for the first. */
void oci_chain_id(const struct digest *parent, const struct digest *diff_id, struct digest *chain);

/* That of all diff IDs of a config; with none of them, nothing. */
void oci_top_chain(const struct oci_doc *config, struct digest *chain);

/* The value of a member of a JSON object, of a string what it says: what is needed of other people's JSON. RC_END: not there. value is
 * bad if there was no memory. */
CHECKED enum rc oci_member(struct span json, const char *member, struct arena *a, struct span *value);

#endif
