/* SPDX-License-Identifier: MIT */
#include "oci.h"

#include <string.h>

#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wswitch-enum"
#pragma GCC diagnostic ignored "-Wunused-function"
#include <jsmn.h>
#pragma GCC diagnostic pop

/* The tokens of one document. Index 0 is the whole; next[i] would be the token after i's subtree: found by walking, each
 * subtree at most once per level, so the whole is linear in the depth we look at (4). */
struct json {
	struct span text;
	jsmntok_t *tokens;
	int count;
};

static enum rc json_read(struct span text, struct arena *a, struct json *j)
{
	if (text.left > LIMIT_JSON_BYTES)
		return RC_LIMIT;
	jsmn_parser parser;
	jsmn_init(&parser);
	const int need = jsmn_parse(&parser, (const char *)text.at, text.left, NULL, 0);
	if (need < 1)
		return RC_CORRUPT;
	if ((unsigned)need > LIMIT_JSON_TOKENS)
		return RC_LIMIT;
	jsmntok_t *const tokens = arena_array(a, (size_t)need, sizeof(*tokens));
	if (!tokens)
		return RC_NOMEM;
	jsmn_init(&parser);
	const int got = jsmn_parse(&parser, (const char *)text.at, text.left, tokens, (unsigned)need);
	if (got != need || tokens[0].type != JSMN_OBJECT)
		return RC_CORRUPT;
	*j = (struct json){text, tokens, got};
	return RC_OK;
}

/* The token after the subtree of i. */
static int json_after(const struct json *j, int i)
{
	const int end = j->tokens[i].end;
	int next = i + 1;

	while (next < j->count && j->tokens[next].start < end)
		next++;
	return next;
}

static struct span json_raw(const struct json *j, int i)
{
	return span_of(j->text.at + j->tokens[i].start, (size_t)(j->tokens[i].end - j->tokens[i].start));
}

/* The value of a member of the object at i; 0: not there. A name that occurs twice: the last one, as in Go. */
static int json_member(const struct json *j, int object, const char *name)
{
	int found = 0;

	if (j->tokens[object].type != JSMN_OBJECT)
		return 0;
	const int end = json_after(j, object);
	for (int i = object + 1; i + 1 < end; i = json_after(j, i + 1))
		if (j->tokens[i].type == JSMN_STRING && span_is(json_raw(j, i), name))
			found = i + 1;
	return found;
}

static int hex_value(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A string with its escapes resolved. What is not ASCII behind \u keeps its escape: nothing we compare has any. */
static struct span json_string(const struct json *j, int i, struct arena *a)
{
	static const char escapes[] = "\"\\/bfnrt";
	static const char meant[] = "\"\\/\b\f\n\r\t";
	const struct span raw = json_raw(j, i);

	if (!i || j->tokens[i].type != JSMN_STRING)
		return (struct span){NULL, 0, false};
	if (!raw.left || !memchr(raw.at, '\\', raw.left))
		return raw;
	uint8_t *const out = arena_get(a, raw.left);
	size_t n = 0;
	if (!out)
		return (struct span){NULL, 0, true};
	for (size_t k = 0; k < raw.left; k++) {
		const uint8_t c = raw.at[k];
		const uint8_t follows = c == '\\' && k + 1 < raw.left ? raw.at[k + 1] : 0;
		const char *const simple = follows ? strchr(escapes, follows) : NULL;
		if (simple) {
			out[n++] = (uint8_t)meant[simple - escapes];
			k++;
		} else if (follows == 'u' && k + 5 < raw.left && raw.at[k + 2] == '0' && raw.at[k + 3] == '0' &&
			hex_value(raw.at[k + 4]) >= 0 && hex_value(raw.at[k + 4]) < 8 && hex_value(raw.at[k + 5]) >= 0) {
			out[n++] = (uint8_t)(hex_value(raw.at[k + 4]) * 16 + hex_value(raw.at[k + 5]));
			k += 5;
		} else {
			out[n++] = c;
		}
	}
	return span_of(out, n);
}

static void read_digest(const struct json *j, int i, struct arena *a, struct digest *d, bool *known)
{
	*known = i && digest_parse(json_string(j, i, a), d) == RC_OK;
}

/* before: a descriptor whose type is probably the same, and then shared. */
static void read_descriptor(const struct json *j, int object, struct arena *a, struct arena scratch, const struct oci_descriptor *before,
	struct oci_descriptor *d)
{
	const int size = json_member(j, object, "size");
	const int platform = json_member(j, object, "platform");
	const struct span type = json_string(j, json_member(j, object, "mediaType"), &scratch);

	d->media_type = type.bad ? type : span_equal(type, before->media_type) ? before->media_type : arena_copy(a, type);
	read_digest(j, json_member(j, object, "digest"), &scratch, &d->digest, &d->digest_known);
	if (!size || parse_decimal(json_raw(j, size), &d->size))
		d->size = 0; /* containerd takes a missing size as unknown */
	if (platform)
		d->attestation = span_is(json_string(j, json_member(j, platform, "os"), &scratch), "unknown") &&
				 span_is(json_string(j, json_member(j, platform, "architecture"), &scratch), "unknown");
}

static enum rc read_descriptors(const struct json *j, int array, struct arena *a, struct arena scratch, struct oci_doc *d)
{
	const int end = json_after(j, array);
	const struct oci_descriptor *before = &d->config;

	if (j->tokens[array].type != JSMN_ARRAY)
		return RC_CORRUPT;
	const size_t count = (size_t)j->tokens[array].size;
	d->children = arena_array(a, count + 1, sizeof(*d->children));
	if (!d->children)
		return RC_NOMEM;
	for (int i = array + 1; i < end && d->child_count < count; i = json_after(j, i)) {
		struct oci_descriptor *const child = &d->children[d->child_count++];
		read_descriptor(j, i, a, scratch, before, child);
		before = child;
		if (child->media_type.bad)
			return RC_NOMEM;
	}
	return RC_OK;
}

static enum rc read_config(const struct json *j, int rootfs, struct arena *a, struct arena scratch, struct oci_doc *d)
{
	const int type = json_member(j, rootfs, "type");
	const int array = json_member(j, rootfs, "diff_ids");

	d->unpackable = !type || span_is(json_string(j, type, &scratch), "layers") || json_raw(j, type).left == 0;
	if (!array || j->tokens[array].type != JSMN_ARRAY)
		return RC_OK;
	const int end = json_after(j, array);
	const size_t count = (size_t)j->tokens[array].size;
	if (count > LIMIT_LAYERS)
		return RC_LIMIT;
	d->diff_ids = arena_array(a, count + 1, sizeof(*d->diff_ids));
	if (!d->diff_ids)
		return RC_NOMEM;
	for (int i = array + 1; i < end && d->diff_id_count < count; i = json_after(j, i)) {
		bool known = false;
		struct digest *const id = &d->diff_ids[d->diff_id_count++];
		read_digest(j, i, &scratch, id, &known);
		if (!known || id->kind != DIGEST_SHA256)
			d->unpackable = false;
	}
	return RC_OK;
}

enum rc oci_parse(struct span json, struct arena *a, struct arena scratch, struct oci_doc *out)
{
	struct json j = {0};
	struct oci_doc d = {0};
	enum rc rc = json_read(json, &scratch, &j);

	if (rc)
		return rc;
	const int manifests = json_member(&j, 0, "manifests");
	const int config = json_member(&j, 0, "config");
	const int layers = json_member(&j, 0, "layers");
	const int rootfs = json_member(&j, 0, "rootfs");
	if (json_member(&j, 0, "fsLayers") || (manifests && (config || layers))) {
		d.kind = OCI_OTHER;
	} else if (manifests) {
		d.kind = OCI_INDEX;
		rc = read_descriptors(&j, manifests, a, scratch, &d);
	} else if (layers && config && j.tokens[config].type == JSMN_OBJECT) {
		d.kind = OCI_MANIFEST;
		read_descriptor(&j, config, a, scratch, &d.config, &d.config);
		rc = d.config.media_type.bad ? RC_NOMEM : read_descriptors(&j, layers, a, scratch, &d);
	} else if (rootfs && j.tokens[rootfs].type == JSMN_OBJECT) {
		d.kind = OCI_CONFIG;
		rc = read_config(&j, rootfs, a, scratch, &d);
	}
	if (rc == RC_OK)
		*out = d;
	return rc;
}

bool oci_is_index_type(struct span t)
{
	return span_is(t, "application/vnd.oci.image.index.v1+json") ||
	       span_is(t, "application/vnd.docker.distribution.manifest.list.v2+json");
}

bool oci_is_manifest_type(struct span t)
{
	return span_is(t, "application/vnd.oci.image.manifest.v1+json") ||
	       span_is(t, "application/vnd.docker.distribution.manifest.v2+json");
}

bool oci_is_config_type(struct span t)
{
	return span_is(t, "application/vnd.oci.image.config.v1+json") ||
	       span_is(t, "application/vnd.docker.container.image.v1+json");
}

bool oci_is_layer_type(struct span t)
{
	static const char *const docker[] = {"application/vnd.docker.image.rootfs.diff.tar",
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

bool oci_is_encrypted_type(struct span t)
{
	static const char tail[] = "+encrypted";
	return t.left >= sizeof(tail) - 1 && memcmp(t.at + t.left - (sizeof(tail) - 1), tail, sizeof(tail) - 1) == 0;
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

enum rc oci_member(struct span json, const char *member, struct arena *a, struct span *value)
{
	struct json j = {0};
	const enum rc rc = json_read(json, a, &j);

	if (rc)
		return rc;
	const int at = json_member(&j, 0, member);
	if (!at)
		return RC_END;
	*value = j.tokens[at].type == JSMN_STRING ? json_string(&j, at, a) : json_raw(&j, at);
	return RC_OK;
}
