/* SPDX-License-Identifier: MIT */
#include "format/mend.h"

#include <string.h>

/* A bucket on the way. */
struct level {
	struct arena mark; /* before this bucket took of it */
	struct bolt_sieve *first;   /* NULL: all is the second's */
	struct bolt_cursor *second; /* NULL: there is none, or no more of it */
	struct bolt_piece piece;    /* of the first, if have_piece */
	struct bolt_item item;      /* of the second, if have_item */
	bool have_piece, have_item;
	bool suspect;               /* what stood before the next piece was no bucket, as it should have been */
	bool in_gap;                /* what the second has up to gap_to is taken, from gap_from on */
	struct span gap_from, gap_to, last; /* last: key written last, bad before the first */
	size_t last_cap;
	uint64_t sequence;
};

struct mender {
	struct bolt *first, *second;
	const struct mend_hooks *hooks;
	struct bolt_writer *w;
	struct bolt_fault *fault;
	uint8_t *seen;
	struct arena *arena;
	struct mend_path path;
	struct level level[LIMIT_BUCKET_DEPTH];
	unsigned depth;
	struct err *e;
};

/* Begins with a bucket that either has, or both. */
static enum rc level_open(struct mender *m, const struct bolt_bucket *of_first, const struct bolt_bucket *of_second)
{
	struct level *const l = &m->level[m->depth];
	enum rc rc = RC_OK;

	*l = (struct level){.mark = *m->arena, .last.bad = true};
	if (of_first) {
		l->sequence = of_first->sequence;
		rc = bolt_sieve_open(m->first, of_first, m->seen, m->fault, m->arena, &l->first, m->e);
	}
	if (rc == RC_OK && of_second) {
		l->sequence = of_second->sequence > l->sequence ? of_second->sequence : l->sequence;
		rc = bolt_cursor_open(m->second, of_second, m->arena, &l->second, m->e);
	}
	m->depth++;
	return rc;
}

static enum rc fill_item(struct mender *m, struct level *l)
{
	if (l->have_item || !l->second)
		return RC_OK;
	const enum rc rc = bolt_cursor_next(l->second, &l->item, m->e);
	l->have_item = rc == RC_OK;
	if (rc == RC_END)
		l->second = NULL;
	return rc == RC_END ? RC_OK : rc;
}

static enum rc note_last(struct mender *m, struct level *l, struct span key)
{
	if (key.left > l->last_cap) {
		uint8_t *const at = arena_get(m->arena, 2 * key.left);
		if (!at)
			return no_memory(m->e);
		l->last.at = at;
		l->last_cap = 2 * key.left;
	}
	memcpy((uint8_t *)(uintptr_t)l->last.at, key.at, key.left);
	l->last = span_of(l->last.at, key.left);
	return RC_OK;
}

/* Writes an element, or steps into a bucket of it. first or second: NULL if that does not have the bucket. */
static enum rc put(struct mender *m, struct level *l, const struct bolt_item *item, const struct bolt_bucket *first,
	const struct bolt_bucket *second)
{
	enum rc rc = note_last(m, l, item->key);

	if (rc)
		return rc;
	if (!item->is_bucket)
		return bolt_write_put(m->w, item->key, item->value, m->e);
	if (m->depth == LIMIT_BUCKET_DEPTH)
		return fail(m->e, RC_LIMIT, "buckets nested more than %d deep", LIMIT_BUCKET_DEPTH);
	m->path.part[m->path.count++] = l->last; /* stays there while what is in it is walked */
	if ((m->hooks->bucket && (rc = m->hooks->bucket(m->hooks->self, &m->path, !first, m->e))) ||
		(rc = bolt_write_bucket(m->w, item->key, m->e)))
		return rc;
	return level_open(m, first, second);
}

/* The range of a gap is the second's. */
static enum rc begin_gap(struct mender *m, struct level *l, struct span from, struct span to, bool told)
{
	enum rc rc = RC_OK;

	l->gap_from = from.bad ? from : arena_copy(m->arena, from);
	l->gap_to = to.bad ? to : arena_copy(m->arena, to);
	if ((!from.bad && l->gap_from.bad) || (!to.bad && l->gap_to.bad))
		return no_memory(m->e);
	if (told && m->hooks->gap)
		rc = m->hooks->gap(m->hooks->self, &m->path, l->gap_from, l->gap_to, m->e);
	l->in_gap = true;
	return rc;
}

/* What the second has of a gap, one element; when there is no more, the gap is over. */
static enum rc step_gap(struct mender *m, struct level *l)
{
	struct bolt_bucket bucket = {0};
	enum rc rc = fill_item(m, l);

	if (rc)
		return rc;
	if (!l->have_item || (!l->gap_to.bad && span_compare(l->item.key, l->gap_to) >= 0)) {
		l->in_gap = false;
		return RC_OK;
	}
	l->have_item = false;
	if ((!l->gap_from.bad && span_compare(l->item.key, l->gap_from) < 0) || (!l->last.bad && span_compare(l->item.key, l->last) <= 0))
		return RC_OK;
	if (l->item.is_bucket && bolt_bucket_of(&l->item, &bucket))
		return fail(m->e, RC_CORRUPT, "a malformed bucket");
	return put(m, l, &l->item, NULL, l->item.is_bucket ? &bucket : NULL);
}

/* An element of the first, which the second may have as well. */
static enum rc step_piece(struct mender *m, struct level *l)
{
	struct bolt_bucket first = {0}, second = {0};
	const struct bolt_item *const item = &l->piece.item;
	bool of_both = false;
	enum rc rc;

	l->have_piece = false;
	/* the root holds buckets only */
	bool good = item->is_bucket ? bolt_bucket_of(item, &first) == RC_OK : m->depth > 1;
	if (item->is_bucket && good) {
		rc = bolt_bucket_begins(m->first, &first, m->seen, m->e);
		if (rc && rc != RC_CORRUPT)
			return rc;
		good = rc == RC_OK;
	}
	if (good && m->hooks->is_good) {
		m->path.part[m->path.count++] = item->key;
		good = m->hooks->is_good(m->hooks->self, &m->path, m->first, item->is_bucket ? &first : NULL);
		m->path.count--;
	}
	if (!good) { /* its name may be as wrong as what it holds: the gap is all between its neighbours */
		l->suspect = true;
		m->path.part[m->path.count++] = item->key;
		rc = m->hooks->gone ? m->hooks->gone(m->hooks->self, &m->path, m->e) : RC_OK;
		m->path.count--;
		return rc;
	}
	while (!(rc = fill_item(m, l)) && l->have_item) {
		const int order = span_compare(l->item.key, item->key);
		of_both = order == 0;
		if (order > 0)
			break;
		l->have_item = false; /* removed since, or the same */
		if (of_both)
			break;
	}
	if (rc)
		return rc;
	if (!item->is_bucket)
		return put(m, l, item, NULL, NULL);
	const bool other = of_both && l->item.is_bucket && bolt_bucket_of(&l->item, &second) == RC_OK;
	return put(m, l, item, &first, other ? &second : NULL);
}

static enum rc step(struct mender *m)
{
	struct level *const l = &m->level[m->depth - 1];
	struct bolt_bucket bucket = {0};
	enum rc rc;

	if (l->in_gap)
		return step_gap(m, l);
	if (l->first && !l->have_piece) {
		const struct span none = {.bad = true};
		rc = bolt_sieve_next(l->first, &l->piece, m->e);
		if (rc && rc != RC_END)
			return rc;
		l->have_piece = rc == RC_OK && !l->piece.is_gap;
		if (l->suspect) {
			l->suspect = false;
			return begin_gap(
				m, l, l->last, rc == RC_END ? none : l->piece.is_gap ? l->piece.to : l->piece.item.key, false);
		}
		return rc == RC_OK && l->piece.is_gap ? begin_gap(m, l, l->piece.from, l->piece.to, true) : rc;
	}
	if (l->first)
		return step_piece(m, l);
	if ((rc = fill_item(m, l)) || !l->have_item)
		return rc ? rc : RC_END;
	l->have_item = false;
	if (l->item.is_bucket && bolt_bucket_of(&l->item, &bucket))
		return fail(m->e, RC_CORRUPT, "a malformed bucket");
	return put(m, l, &l->item, NULL, l->item.is_bucket ? &bucket : NULL);
}

enum rc mend_write(struct bolt *first, struct bolt *second, const struct mend_hooks *hooks, struct bolt_writer *w,
	struct bolt_fault *fault, uint64_t *root_sequence, struct arena scratch, struct err *e)
{
	struct mender *const m = arena_get(&scratch, sizeof(*m));
	const struct bolt_bucket of_first = first ? bolt_root(first) : (struct bolt_bucket){0};
	const struct bolt_bucket of_second = second ? bolt_root(second) : (struct bolt_bucket){0};
	enum rc rc;

	*fault = (struct bolt_fault){.kind = BOLT_SOUND};
	if (!m || (first && !(m->seen = bolt_sieve_seen(first, &scratch))))
		return no_memory(e);
	m->first = first;
	m->second = second;
	m->hooks = hooks;
	m->w = w;
	m->fault = fault;
	m->arena = &scratch;
	m->e = e;
	rc = level_open(m, first ? &of_first : NULL, second ? &of_second : NULL);
	*root_sequence = m->level[0].sequence;
	while (rc == RC_OK && m->depth) {
		rc = step(m);
		if (rc != RC_END)
			continue;
		rc = RC_OK;
		m->depth--;
		*m->arena = m->level[m->depth].mark;
		if (m->depth == 0)
			break;
		m->path.count--;
		rc = bolt_write_bucket_end(w, m->level[m->depth].sequence, e);
	}
	return rc;
}
