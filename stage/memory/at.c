/* SPDX-License-Identifier: MIT */
#include "memory/at.h"

#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"

#define VERSION "1"
#define CHECKSUM_DIGITS 16
/* names are of letters, digits and a few signs: no quoting, and no line of it breaks another */
#define NAME_SIGNS ":-_.+"
/* syncs may take that long, and from there on a quarter of the time */
#define SYNCS_FREE_NS ((uint64_t)10 * 1000000000u)

static const char words[AT_KINDS][12] = {
	[AT_BLOB] = "blob", [AT_SNAPSHOT] = "snapshot", [AT_INGEST] = "ingest", [AT_STORE] = "store"};

bool at_equal(const struct at_name *a, const struct at_name *b)
{
	return a->kind == b->kind && strcmp(a->name, b->name) == 0;
}

bool at_listed(const struct at_name *names, size_t count, const struct at_name *one)
{
	for (size_t i = 0; i < count; i++)
		if (at_equal(&names[i], one))
			return true;
	return false;
}

bool at_make(struct at_name *out, enum at_kind kind, struct span name)
{
	if (!name.left || name.left >= sizeof(out->name))
		return false;
	for (size_t i = 0; i < name.left; i++) {
		const uint8_t c = name.at[i];
		const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (!plain && !(c && strchr(NAME_SIGNS, c)))
			return false;
	}
	out->kind = kind;
	memcpy(out->name, name.at, name.left);
	out->name[name.left] = 0;
	return true;
}

bool at_make_number(struct at_name *out, enum at_kind kind, uint64_t name)
{
	char text[24];

	(void)print_to(text, sizeof(text), "%llu", (unsigned long long)name); /* fits */
	return at_make(out, kind, span_of_string(text));
}

const char *at_kind_word(enum at_kind kind)
{
	return words[kind];
}

bool at_parse(struct at_name *out, struct span kind, struct span name)
{
	for (unsigned i = 0; i < AT_KINDS; i++)
		if (span_is(kind, words[i]))
			return at_make(out, (enum at_kind)i, name);
	return false;
}

/* ---- reading ---- */

/* A slot's words, without the checksum, which must be right. */
static bool open_slot(const uint8_t *slot, struct span *text)
{
	char sum[CHECKSUM_DIGITS + 2];
	const uint8_t *const end = memchr(slot, '\n', AT_SLOT_BYTES);
	const size_t n = end ? (size_t)(end - slot) : 0;

	if (n < CHECKSUM_DIGITS)
		return false;
	(void)print_to(sum, sizeof(sum), "%016llx", (unsigned long long)fnv1a(slot, n - CHECKSUM_DIGITS)); /* fits */
	*text = span_of(slot, n - CHECKSUM_DIGITS);
	return memcmp(sum, slot + n - CHECKSUM_DIGITS, CHECKSUM_DIGITS) == 0;
}

/* The next word, each of which has a blank behind it. */
static bool next_word(struct span *text, struct span *word)
{
	const uint8_t *const blank = text->left ? memchr(text->at, ' ', text->left) : NULL;

	if (!blank)
		return false;
	*word = span_sub(text, (size_t)(blank - text->at));
	(void)span_take(text, 1);
	return true;
}

static bool is_of(struct span text, const char *boot_id)
{
	struct span what, version, id;

	return next_word(&text, &what) && next_word(&text, &version) && next_word(&text, &id) && !text.left && span_is(what, AT_NAME) &&
	       span_is(version, VERSION) && span_is(id, boot_id);
}

enum rc at_read(int own, const char *boot_id, struct at_name *names, size_t *count, struct arena scratch, struct err *e)
{
	struct span bytes = {0}, text = {0}, kind, name;
	struct err why = {0};
	/* longer: bytes of somebody else */
	const enum rc rc = own < 0 ? RC_END : os_read_small(own, AT_NAME, (AT_SLOTS + 1) * AT_SLOT_BYTES, &scratch, &bytes, &why);

	*count = 0;
	if (rc == RC_NOMEM)
		return fail(e, rc, "no memory for what the last check was at");
	if (rc || bytes.left < AT_SLOT_BYTES || !open_slot(bytes.at, &text) || !is_of(text, boot_id))
		return RC_OK;
	for (size_t at = AT_SLOT_BYTES; at + AT_SLOT_BYTES <= bytes.left; at += AT_SLOT_BYTES) {
		if (!open_slot(bytes.at + at, &text))
			continue;
		for (unsigned i = 0; i < AT_PER_SLOT && next_word(&text, &kind) && next_word(&text, &name); i++)
			if (at_parse(&names[*count], kind, name) && !at_listed(names, *count, &names[*count]))
				(*count)++; /* at most AT_NAMES_MAX: that many slots were read */
	}
	return RC_OK;
}

/* ---- writing ---- */

/* Overwrites the line alone: what is behind it counts for nothing. */
static void put_slot(struct at *a, unsigned slot, char *line, size_t n)
{
	n += (size_t)print_to(line + n, AT_SLOT_BYTES - n, "%016llx\n", (unsigned long long)fnv1a(line, n)); /* fits */
	os_note(a->fd, (uint64_t)slot * AT_SLOT_BYTES, line, n);
	if (!a->synced)
		return;
	const uint64_t now = os_clock_ns();
	if (a->syncing_ns > SYNCS_FREE_NS && a->syncing_ns > (now - a->began_ns) / 4)
		return;
	os_note_sync(a->fd);
	a->syncing_ns += os_clock_ns() - now;
}

void at_begin(struct at *a, int own, const char *boot_id, bool synced)
{
	static const uint8_t nothing[AT_SLOT_BYTES];
	char line[AT_SLOT_BYTES];

	*a = (struct at){.fd = os_note_begin(own, AT_NAME), .synced = synced};
	if (a->fd < 0)
		return;
	a->began_ns = os_clock_ns();
	os_note(a->fd, (uint64_t)AT_SLOTS * AT_SLOT_BYTES, nothing, sizeof(nothing)); /* its size stays: a sync is of bytes alone */
	put_slot(a, 0, line, (size_t)print_to(line, sizeof(line), AT_NAME " " VERSION " %s ", boot_id)); /* fits */
	if (synced)
		os_note_sync(own); /* its name */
}

void at_put(struct at *a, unsigned slot, const struct at_name *names, unsigned count)
{
	char line[AT_SLOT_BYTES];
	size_t n = 0;

	if (!a || a->fd < 0 || slot >= AT_SLOTS)
		return;
	for (unsigned i = 0; i < count && i < AT_PER_SLOT; i++)
		n += (size_t)print_to(line + n, sizeof(line) - n, "%s %s ", words[names[i].kind], names[i].name); /* two fit */
	put_slot(a, slot + 1, line, n);
}

void at_nothing(struct at *a, unsigned slot)
{
	at_put(a, slot, NULL, 0);
}

void at_one(struct at *a, unsigned slot, enum at_kind kind, struct span name)
{
	struct at_name one;

	if (a)
		at_put(a, slot, &one, at_make(&one, kind, name));
}

void at_number(struct at *a, unsigned slot, enum at_kind kind, uint64_t name)
{
	struct at_name one;

	if (a)
		at_put(a, slot, &one, at_make_number(&one, kind, name));
}

void at_end(struct at *a, int own)
{
	if (a->fd < 0)
		return;
	os_close(&a->fd);
	os_note_end(own, AT_NAME);
}
