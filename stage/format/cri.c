/* SPDX-License-Identifier: MIT */
#include "format/cri.h"

#include <string.h>

#include "format/oci.h"

enum cri_kind cri_kind_of(struct span label)
{
	return span_is(label, "container") ? CRI_CONTAINER : span_is(label, "sandbox") ? CRI_SANDBOX : CRI_OTHER;
}

/* ---- the bytes ---- */

/* google.protobuf.Any:  1  string  type_url,  2  bytes  value;  each field is a tag (number << 3 | wire type) and a value, the last of
 * a number counts, and unknown numbers are stepped over. */
static bool read_any(struct span any, struct span *type, struct span *value)
{
	*type = *value = (struct span){0};
	while (any.left && !any.bad) {
		const uint64_t tag = span_uvarint(&any);
		struct span bytes = {0};
		switch (tag & 7) {
		case 0:
			(void)span_uvarint(&any);
			break;
		case 1:
			(void)span_take(&any, 8);
			break;
		case 2: {
			const uint64_t n = span_uvarint(&any);
			if (any.bad || n > any.left)
				return false;
			bytes = span_sub(&any, (size_t)n);
			break;
		}
		case 5:
			(void)span_take(&any, 4);
			break;
		default:
			return false;
		}
		if (tag == (1 << 3 | 2))
			*type = bytes;
		else if (tag == (2 << 3 | 2))
			*value = bytes;
	}
	return !any.bad;
}

/* A member that containerd needs: not there is as empty as it would find it. */
static enum rc member(struct span json, const char *name, struct arena *a, struct span *value)
{
	const enum rc rc = oci_member(json, name, a, value);

	if (rc == RC_END)
		*value = (struct span){0};
	return rc == RC_END ? RC_OK : value->bad ? RC_NOMEM : rc;
}

static enum rc read_json(struct span json, enum cri_kind kind, struct arena *keep, struct arena scratch, struct cri_metadata *out)
{
	struct span version = {0}, inner = {0}, name = {0}, sandbox = {0};
	enum rc rc;

	if ((rc = member(json, "Version", &scratch, &version)))
		return rc;
	if (!span_is(version, "v1")) { /* containerd 1.1 and later write v1 */
		out->reading = version.left ? CRI_UNKNOWN : CRI_BROKEN;
		return RC_OK;
	}
	if ((rc = member(json, "Metadata", &scratch, &inner)) || !inner.left)
		return rc ? rc : RC_CORRUPT;
	if ((rc = member(inner, "Name", &scratch, &name)) ||
		(kind == CRI_CONTAINER && (rc = member(inner, "SandboxID", &scratch, &sandbox))))
		return rc;
	out->reading = name.left ? CRI_READS : CRI_BROKEN;
	out->name = arena_copy(keep, name);
	out->sandbox = arena_copy(keep, sandbox);
	return out->name.bad || out->sandbox.bad ? RC_NOMEM : RC_OK;
}

enum rc cri_read_metadata(struct span any, enum cri_kind kind, struct arena *keep, struct arena scratch, struct cri_metadata *out)
{
	const char *const want = kind == CRI_CONTAINER ? "github.com/containerd/cri/pkg/store/container/Metadata"
						       : "github.com/containerd/cri/pkg/store/sandbox/Metadata";
	struct span type = {0}, value = {0};

	*out = (struct cri_metadata){.reading = CRI_BROKEN};
	if (!read_any(any, &type, &value))
		return RC_OK;
	if (!span_is(type, want)) {
		out->reading = type.left ? CRI_UNKNOWN : CRI_BROKEN;
		return RC_OK;
	}
	const enum rc rc = read_json(value, kind, keep, scratch, out);
	if (rc == RC_OK || rc == RC_NOMEM)
		return rc;
	*out = (struct cri_metadata){.reading = rc == RC_LIMIT ? CRI_UNKNOWN : CRI_BROKEN};
	return RC_OK;
}

/* ---- what is to become of them ---- */

struct judge {
	const struct cri_record *records;
	struct cri_judgement *out;
	size_t count, first_stored;
};

static size_t find(const struct judge *j, size_t low, size_t high, struct span id)
{
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const int order = span_compare(j->records[middle].id, id);
		if (order == 0)
			return middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return SIZE_MAX;
}

static bool stays(const struct judge *j, size_t i)
{
	return i != SIZE_MAX && j->out[i].verdict != CRI_HAS_NO_METADATA && j->out[i].verdict != CRI_HAS_NO_DIRECTORY &&
	       j->out[i].verdict != CRI_HAS_NO_SANDBOX && j->out[i].verdict != CRI_NAME_IS_TAKEN &&
	       j->out[i].verdict != CRI_GOES_WITH;
}

static bool is_unreadable(const struct cri_record *r)
{
	return r->metadata.reading == CRI_ABSENT || r->metadata.reading == CRI_BROKEN;
}

static bool holds_name(const struct judge *j, size_t i, enum cri_kind kind)
{
	return j->records[i].kind == kind && j->records[i].metadata.reading == CRI_READS && stays(j, i);
}

struct named {
	const struct cri_record *record;
	size_t index;
};

static int compare_named(const void *a, const void *b)
{
	const struct named *const x = a, *const y = b;
	const int names = span_compare(x->record->metadata.name, y->record->metadata.name);
	return names ? names : (x->index > y->index) - (x->index < y->index);
}

/* Of two that have one name the one made last stays: kubelet made it because it could not see the other, and knows it. After a boot
 * neither runs, and kubelet makes both kinds anew, so a wrong choice costs a container that was dead. Numbers of snapshots tell the
 * order; a clock, which may have been wrong in a boot, is asked only where one of the two has no number. */
static bool is_later(const struct cri_record *a, const struct cri_record *b)
{
	if (a->made && b->made && a->made != b->made)
		return a->made > b->made;
	if (a->created_ns != b->created_ns)
		return a->created_ns > b->created_ns;
	return span_compare(a->id, b->id) > 0;
}

static void judge_same_name(const struct judge *j, const struct named *same, size_t count)
{
	size_t last = same[0].index;
	bool unknown = false;

	for (size_t i = 0; i < count; i++) {
		unknown |= same[i].record->kind == CRI_CONTAINER && same[i].record->directory == CRI_DIR_UNKNOWN;
		if (is_later(same[i].record, &j->records[last]))
			last = same[i].index;
	}
	for (size_t i = 0; i < count; i++)
		if (unknown)
			j->out[same[i].index] = (struct cri_judgement){CRI_IS_UNCHECKED, same[i ? 0 : 1].index};
		else if (same[i].index != last)
			j->out[same[i].index] = (struct cri_judgement){CRI_NAME_IS_TAKEN, last};
}

static enum rc judge_names(const struct judge *j, enum cri_kind kind, struct arena scratch)
{
	struct named *const all = arena_array(&scratch, j->count + 1, sizeof(*all));
	size_t n = 0;

	if (!all)
		return RC_NOMEM;
	for (size_t i = 0; i < j->first_stored; i++)
		if (holds_name(j, i, kind))
			all[n++] = (struct named){&j->records[i], i};
	if (n > 1)
		sort(all, n, sizeof(*all), compare_named);
	for (size_t i = 0, next; i < n; i = next) {
		for (next = i + 1; next < n && span_equal(all[next].record->metadata.name, all[i].record->metadata.name);)
			next++;
		if (next - i > 1)
			judge_same_name(j, all + i, next - i);
	}
	return RC_OK;
}

/* containerd 2.x takes from the bucket sandboxes only what no container record has told it of: there, metadata that is missing
 * ends the CRI plugin (2.0.0 to 2.0.3), or the record (later). */
static void judge_stored(const struct judge *j)
{
	for (size_t i = j->first_stored; i < j->count; i++) {
		const size_t twin = find(j, 0, j->first_stored, j->records[i].id);
		const bool loaded = twin != SIZE_MAX && j->records[twin].kind == CRI_SANDBOX &&
				    j->records[twin].metadata.reading != CRI_ABSENT &&
				    j->records[twin].metadata.reading != CRI_BROKEN;
		if (loaded && !stays(j, twin))
			j->out[i].verdict = CRI_GOES_WITH;
		else if (!loaded && is_unreadable(&j->records[i]))
			j->out[i].verdict = CRI_HAS_NO_METADATA;
	}
}

/* What cannot be loaded holds no name, so it goes first; then sandboxes, because containers go with theirs. */
enum rc cri_judge(const struct cri_record *records, size_t count, struct arena scratch, struct cri_judgement *out)
{
	struct judge judge = {records, out, count, 0};
	const struct judge *const j = &judge;
	enum rc rc;

	while (judge.first_stored < count && records[judge.first_stored].kind != CRI_STORED)
		judge.first_stored++;
	for (size_t i = 0; i < count; i++)
		out[i] = (struct cri_judgement){CRI_STAYS, SIZE_MAX};
	for (size_t i = 0; i < judge.first_stored; i++) {
		const struct cri_record *const r = &records[i];
		if (r->kind != CRI_OTHER && is_unreadable(r))
			out[i].verdict = CRI_HAS_NO_METADATA;
		else if (r->kind == CRI_CONTAINER && r->directory == CRI_DIR_GONE)
			out[i].verdict = CRI_HAS_NO_DIRECTORY;
	}
	if ((rc = judge_names(j, CRI_SANDBOX, scratch)))
		return rc;
	judge_stored(j);
	for (size_t i = 0; i < judge.first_stored; i++) {
		const struct cri_record *const r = &records[i];
		if (!holds_name(j, i, CRI_CONTAINER) || !r->metadata.sandbox.left)
			continue;
		const size_t own = find(j, 0, judge.first_stored, r->metadata.sandbox);
		const size_t stored = find(j, judge.first_stored, count, r->metadata.sandbox);
		if (!(own != SIZE_MAX && records[own].kind == CRI_SANDBOX && stays(j, own)) && !stays(j, stored))
			out[i] = (struct cri_judgement){CRI_HAS_NO_SANDBOX, own != SIZE_MAX ? own : stored};
	}
	return judge_names(j, CRI_CONTAINER, scratch);
}
