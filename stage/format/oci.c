/* SPDX-License-Identifier: MIT */
#include "format/oci.h"

#include <string.h>

#include "format/json.h"

/* Longer than any media type that is known, and than any digest. */
#define TEXT_BYTES 256

/* The members of an object that are asked for, by name; of several of one name the last, as in Go. */
struct member {
	const char *name;
	struct json_value value;
};

static enum rc read_members(struct json_walk *w, struct member *wanted, size_t count)
{
	struct json_value name, value;
	enum rc rc;

	while ((rc = json_next(w, &name, &value)) == RC_OK)
		for (size_t i = 0; i < count; i++)
			if (json_is_called(&name, wanted[i].name))
				wanted[i].value = value;
	return rc == RC_END ? RC_OK : rc;
}

/* Of a value that is no object it has none. */
static enum rc read_members_of(
	const struct json_value *v, uint64_t *steps, struct member *wanted, size_t count)
{
	struct json_walk w;

	if (v->type != JSON_OBJECT || json_enter(&w, v, steps))
		return RC_OK;
	return read_members(&w, wanted, count);
}

static bool is_text(const struct json_value *v, const char *want)
{
	uint8_t room[TEXT_BYTES];
	const struct span text = json_text(v, room, sizeof(room));

	return !text.bad && span_is(text, want);
}

static bool read_digest(const struct json_value *v, struct digest *d)
{
	uint8_t room[TEXT_BYTES];
	const struct span text = json_text(v, room, sizeof(room));

	return !text.bad && digest_parse(text, d) == RC_OK;
}

static bool is_layer_type(struct span t)
{
	static const char docker[][58] = {"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"};

	if (span_starts(t, "application/vnd.oci.image.layer."))
		return true;
	const uint8_t *const plus = t.left ? memchr(t.at, '+', t.left) : NULL;
	const struct span base = plus ? span_of(t.at, (size_t)(plus - t.at)) : t;
	for (size_t i = 0; i < sizeof(docker) / sizeof(docker[0]); i++)
		if (span_is(base, docker[i]))
			return true;
	return false;
}

static bool is_encrypted_type(struct span t)
{
	static const char tail[] = "+encrypted";
	return t.left >= sizeof(tail) - 1 && memcmp(t.at + t.left - (sizeof(tail) - 1), tail, sizeof(tail) - 1) == 0;
}

static enum oci_type type_of(struct span t)
{
	if (t.bad)
		return OCI_TYPE_OTHER;
	if (span_is(t, "application/vnd.oci.image.index.v1+json") ||
		span_is(t, "application/vnd.docker.distribution.manifest.list.v2+json"))
		return OCI_TYPE_INDEX;
	if (span_is(t, "application/vnd.oci.image.manifest.v1+json") ||
		span_is(t, "application/vnd.docker.distribution.manifest.v2+json"))
		return OCI_TYPE_MANIFEST;
	if (span_is(t, "application/vnd.oci.image.config.v1+json") ||
		span_is(t, "application/vnd.docker.container.image.v1+json"))
		return OCI_TYPE_CONFIG;
	return !is_layer_type(t) ? OCI_TYPE_OTHER : is_encrypted_type(t) ? OCI_TYPE_ENCRYPTED_LAYER : OCI_TYPE_LAYER;
}

static enum rc read_descriptor(const struct json_value *v, uint64_t *steps, struct oci_descriptor *d)
{
	enum { TYPE, DIGEST, SIZE, PLATFORM, MEMBERS };
	enum { SYSTEM, MACHINE, PARTS };
	struct member at[MEMBERS] = {{.name = "mediaType"}, {.name = "digest"}, {.name = "size"}, {.name = "platform"}};
	struct member of[PARTS] = {{.name = "os"}, {.name = "architecture"}};
	uint8_t room[TEXT_BYTES];
	enum rc rc;

	if ((rc = read_members_of(v, steps, at, MEMBERS)) || (rc = read_members_of(&at[PLATFORM].value, steps, of, PARTS)))
		return rc;
	d->type = type_of(json_text(&at[TYPE].value, room, sizeof(room)));
	d->digest_known = read_digest(&at[DIGEST].value, &d->digest);
	if (parse_decimal(at[SIZE].value.raw, &d->size))
		d->size = 0; /* containerd takes a missing size as unknown */
	d->attestation = is_text(&of[SYSTEM].value, "unknown") && is_text(&of[MACHINE].value, "unknown");
	return RC_OK;
}

/* How many elements an array has. RC_LIMIT: more than most. */
static enum rc count_elements(const struct json_value *array, uint64_t *steps, size_t most, size_t *count)
{
	struct json_walk w;
	struct json_value v;
	size_t n = 0;
	enum rc rc = json_enter(&w, array, steps);

	while (rc == RC_OK && (rc = json_next(&w, NULL, &v)) == RC_OK)
		if (n++ == most)
			return RC_LIMIT;
	*count = n;
	return rc == RC_END ? RC_OK : rc;
}

static enum rc read_descriptors(
	const struct json_value *array, uint64_t *steps, struct arena *a, struct oci_doc *d)
{
	struct json_walk w;
	struct json_value v;
	size_t count = 0;
	enum rc rc;

	if (array->type != JSON_ARRAY)
		return RC_CORRUPT;
	if ((rc = count_elements(array, steps, LIMIT_DESCRIPTORS, &count)))
		return rc;
	d->children = arena_array(a, count, sizeof(*d->children));
	if (!d->children)
		return RC_NOMEM;
	rc = json_enter(&w, array, steps);
	while (rc == RC_OK && d->child_count < count && (rc = json_next(&w, NULL, &v)) == RC_OK)
		rc = read_descriptor(&v, steps, &d->children[d->child_count++]);
	return rc;
}

static enum rc read_config(const struct json_value *rootfs, uint64_t *steps, struct arena *a, struct oci_doc *d)
{
	enum { TYPE, DIFF_IDS, MEMBERS };
	struct member at[MEMBERS] = {{.name = "type"}, {.name = "diff_ids"}};
	const struct json_value *const type = &at[TYPE].value;
	struct json_walk w;
	struct json_value v;
	size_t count = 0;
	enum rc rc = read_members_of(rootfs, steps, at, MEMBERS);

	if (rc)
		return rc;
	d->unpackable = !type->type || is_text(type, "layers") || is_text(type, "");
	if (at[DIFF_IDS].value.type != JSON_ARRAY)
		return RC_OK;
	if ((rc = count_elements(&at[DIFF_IDS].value, steps, LIMIT_LAYERS, &count)))
		return rc;
	d->diff_ids = arena_array(a, count, sizeof(*d->diff_ids));
	if (!d->diff_ids)
		return RC_NOMEM;
	rc = json_enter(&w, &at[DIFF_IDS].value, steps);
	while (rc == RC_OK && d->diff_id_count < count && (rc = json_next(&w, NULL, &v)) == RC_OK) {
		struct digest *const id = &d->diff_ids[d->diff_id_count++];
		if (!read_digest(&v, id) || id->kind != DIGEST_SHA256)
			d->unpackable = false;
	}
	return rc;
}

static enum rc parse(struct span json, struct arena *a, struct oci_doc *d, uint64_t *steps)
{
	enum { MANIFESTS, CONFIG, LAYERS, ROOTFS, FS_LAYERS, MEMBERS };
	struct member at[MEMBERS] = {
		{.name = "manifests"}, {.name = "config"}, {.name = "layers"}, {.name = "rootfs"}, {.name = "fsLayers"}};
	struct json_walk w;
	enum rc rc;

	if (json.left > LIMIT_JSON_BYTES)
		return RC_LIMIT;
	if ((rc = json_open(&w, json, steps)) || (rc = read_members(&w, at, MEMBERS)))
		return rc;
	const struct json_value *const manifests = &at[MANIFESTS].value, *const config = &at[CONFIG].value;
	const struct json_value *const layers = &at[LAYERS].value, *const rootfs = &at[ROOTFS].value;
	if (at[FS_LAYERS].value.type || (manifests->type && (config->type || layers->type))) {
		d->kind = OCI_OTHER;
	} else if (manifests->type) {
		d->kind = OCI_INDEX;
		rc = read_descriptors(manifests, steps, a, d);
	} else if (layers->type && config->type == JSON_OBJECT) {
		d->kind = OCI_MANIFEST;
		if ((rc = read_descriptor(config, steps, &d->config)) == RC_OK)
			rc = read_descriptors(layers, steps, a, d);
	} else if (rootfs->type == JSON_OBJECT) {
		d->kind = OCI_CONFIG;
		rc = read_config(rootfs, steps, a, d);
	}
	return rc;
}

enum rc oci_parse(struct span json, struct arena *a, struct oci_doc *out, uint64_t *steps)
{
	const struct arena mark = *a;
	struct oci_doc d = {0};
	uint64_t taken = 0;
	const enum rc rc = parse(json, a, &d, &taken);

	if (steps)
		*steps += taken;
	if (rc == RC_OK)
		*out = d;
	else
		*a = mark;
	return rc;
}

bool oci_is_layer(const struct oci_descriptor *d)
{
	return d->type == OCI_TYPE_LAYER || d->type == OCI_TYPE_ENCRYPTED_LAYER;
}

void oci_chain_id(const struct digest *parent, const struct digest *diff_id, struct digest *chain)
{
	char text[DIGEST_TEXT_BYTES];
	struct hash h;

	if (!parent) {
		*chain = *diff_id;
		return;
	}
	hash_begin(&h, DIGEST_SHA256);
	digest_format(parent, text);
	hash_add(&h, text, strlen(text));
	hash_add(&h, " ", 1);
	digest_format(diff_id, text);
	hash_add(&h, text, strlen(text));
	hash_end(&h, chain);
}

void oci_top_chain(const struct oci_doc *config, struct digest *chain)
{
	for (size_t i = 0; i < config->diff_id_count; i++)
		oci_chain_id(i ? chain : NULL, &config->diff_ids[i], chain);
}

enum rc oci_member(struct span json, const char *member, struct arena *a, struct span *value)
{
	struct member at = {.name = member};
	struct json_walk w;
	uint64_t steps = 0;
	enum rc rc;

	if (json.left > LIMIT_JSON_BYTES)
		return RC_LIMIT;
	if ((rc = json_open(&w, json, &steps)) || (rc = read_members(&w, &at, 1)))
		return rc;
	if (!at.value.type)
		return RC_END;
	*value = at.value.raw;
	if (at.value.type != JSON_STRING || !value->left || !memchr(value->at, '\\', value->left))
		return RC_OK;
	uint8_t *const room = arena_get(a, value->left);
	*value = room ? json_text(&at.value, room, value->left) : (struct span){NULL, 0, true};
	return RC_OK;
}
