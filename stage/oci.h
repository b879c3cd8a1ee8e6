/* SPDX-License-Identifier: MIT */
/* The few fields of index, manifest and config JSON that lead from an image name to snapshots (image-spec 1.1:
 * image-index.md, manifest.md, config.md; containerd 2.3: core/images/image.go, mediatypes.go). The kind is told by the
 * document's own members, as containerd refuses documents whose members contradict their media type. */
#ifndef OCI_H
#define OCI_H

#include "stream.h"

enum oci_kind {
	OCI_OTHER, /* valid JSON of another kind, or members of two kinds: never unpacked */
	OCI_INDEX,
	OCI_MANIFEST,
	OCI_CONFIG
};

struct oci_descriptor {
	struct span media_type;
	struct digest digest;
	bool digest_known; /* false: not there, garbled, or an algorithm we do not know */
	bool attestation;  /* platform unknown/unknown: in-toto statements, never unpacked */
	uint64_t size;
};

/* Spans and arrays belong to the arena. */
struct oci_doc {
	enum oci_kind kind;
	struct oci_descriptor config;    /* OCI_MANIFEST */
	struct oci_descriptor *children; /* OCI_INDEX: manifests; OCI_MANIFEST: layers, in order */
	size_t child_count;
	struct digest *diff_ids;         /* OCI_CONFIG */
	size_t diff_id_count;
	bool unpackable;                 /* OCI_CONFIG: rootfs.type absent or "layers", every diff ID a sha256 */
};

/* The text is not needed after it. RC_CORRUPT: no JSON object; RC_LIMIT: larger or deeper than limits.h allows; RC_NOMEM. */
CHECKED enum rc oci_parse(struct span json, struct arena *a, struct arena scratch, struct oci_doc *d);

bool oci_is_index_type(struct span media_type);
bool oci_is_manifest_type(struct span media_type);
/* A config containerd would unpack layers for. */
bool oci_is_config_type(struct span media_type);
bool oci_is_layer_type(struct span media_type);
bool oci_is_encrypted_type(struct span media_type);

/* chain(0) = diff ID; chain(i) = sha256("<chain(i-1)> <diff ID(i)>"). parent NULL for the first. */
void oci_chain_id(const struct digest *parent, const struct digest *diff_id, struct digest *chain);

/* The string value of a member of a flat JSON object: what the report needs of other people's JSON. RC_END: not there. */
CHECKED enum rc oci_member(struct span json, const char *member, struct arena *a, struct span *value);

#endif
