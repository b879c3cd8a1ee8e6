/* SPDX-License-Identifier: MIT */
#include "session/boot.h"

#include <stdio.h>
#include <string.h>

#include "memory/identity.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"

#define FORCE_FILE "force"

/* ---- the kernel's command line ---- */

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* The next word; double quotes keep blanks and vanish (Linux: lib/cmdline.c, next_arg). NULL: no memory, or no more. */
static char *next_word(struct span *line, struct arena *a)
{
	while (line->left && is_blank(*line->at))
		(void)span_take(line, 1);
	char *const word = line->left ? arena_get(a, line->left + 1) : NULL;
	bool quoted = false;
	size_t n = 0;

	while (word && line->left && (quoted || !is_blank(*line->at))) {
		const uint8_t c = span_u8(line);
		if (c == '"')
			quoted = !quoted;
		else
			word[n++] = (char)c;
	}
	return word;
}

static const char *value_of(const char *word, const char *name)
{
	const size_t n = strlen(name);
	return strncmp(word, name, n) == 0 ? word + n : NULL;
}

static bool mode_of(const char *value, bool ours, enum boot_mode *mode)
{
	static const char words[][6] = {[BOOT_AUTO] = "auto", [BOOT_CHECK] = "check", [BOOT_FORCE] = "force", [BOOT_SKIP] = "skip"};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(value, words[i]) == 0 && (ours || i != BOOT_CHECK)) {
			*mode = (enum boot_mode)i;
			return true;
		}
	return false;
}

enum rc boot_parse_wish(struct boot_wish *w, struct span line, struct arena *a, struct err *e)
{
	enum boot_mode ours = BOOT_AUTO, common = BOOT_AUTO;
	bool ours_given = false, repair = true;
	char *word;

	*w = (struct boot_wish){0};
	while ((word = next_word(&line, a))) {
		const char *const mode = value_of(word, "containerd.fsck="), *const root = value_of(word, "containerd.fsck.root=");
		const char *const theirs = value_of(word, "fsck.mode="), *const fix = value_of(word, "fsck.repair=");
		if (root && *root && w->root_count < BOOT_ROOTS_MAX)
			w->roots[w->root_count++] = root;
		else if (root)
			w->unknown = word;
		if (mode && mode_of(mode, true, &ours))
			ours_given = true;
		else if (mode || (theirs && !mode_of(theirs, false, &common)))
			w->unknown = word;
		if (fix && (strcmp(fix, "no") == 0 || strcmp(fix, "yes") == 0 || strcmp(fix, "preen") == 0))
			repair = *fix != 'n';
		else if (fix)
			w->unknown = word;
	}
	if (line.left)
		return no_memory(e);
	w->mode = ours_given ? ours : common == BOOT_SKIP || repair ? common : BOOT_CHECK;
	w->force = w->mode == BOOT_FORCE || (!ours_given && common == BOOT_FORCE);
	return RC_OK;
}

enum rc boot_read_wish(struct boot_wish *w, struct arena *a, struct err *e)
{
	struct span line = {0};
	struct err ignored = {0};

	if (os_read_proc("/proc/cmdline", a, &line, &ignored))
		line = (struct span){0};
	return boot_parse_wish(w, line, a, e);
}

bool boot_is_kdump(void)
{
	return os_exists("/proc/vmcore");
}

/* ---- shadows ---- */

/* Whether place is the directory at path or one above it; "/" is of no interest. */
static bool leads_to(const char *place, size_t length, const char *path)
{
	while (length > 1 && place[length - 1] == '/')
		length--;
	return length > 1 && strncmp(place, path, length) == 0 && (path[length] == 0 || path[length] == '/');
}

/* What stands behind the next c; NULL: nothing does, or there was nothing. */
static const char *behind(const char *at, char c)
{
	const char *const found = at ? strchr(at, c) : NULL;

	return found ? found + 1 : NULL;
}

/* The fifth field of a line of mountinfo; blanks in it are written \040, which no root of ours has. */
static bool is_mount_point(const char *mountinfo, const char *path)
{
	const size_t n = strlen(path);

	for (const char *line = mountinfo; line && *line; line = behind(line, '\n')) {
		const char *at = line;
		for (unsigned field = 0; at && field < 4; field++)
			at = behind(at, ' ');
		if (at && strncmp(at, path, n) == 0 && at[n] == ' ')
			return true;
	}
	return false;
}

struct shadow {
	const char *sysroot, *inside, *mountinfo; /* inside: the root without sysroot */
	struct arena *a;
	const char *why;
};

static void judge_mount_point(struct shadow *s, const char *at, size_t length, const char *source)
{
	if (s->why || !leads_to(at, length, s->inside))
		return;
	while (at[length - 1] == '/')
		length--;
	const char *const place = arena_printf(s->a, "%s%.*s", s->sysroot, (int)length, at);
	if (!place || is_mount_point(s->mountinfo, place))
		return;
	s->why = arena_printf(s->a, "%.*s is mounted later (%s)", (int)length, at, source);
}

static void judge_fstab(struct shadow *s, const char *text)
{
	for (const char *line = text; line && *line; line = behind(line, '\n')) {
		line += strspn(line, " \t");
		if (*line == '#' || *line == '\n')
			continue;
		const char *at = line + strcspn(line, " \t\n");
		at += strspn(at, " \t");
		judge_mount_point(s, at, strcspn(at, " \t\n"), "fstab");
	}
}

/* Unit names are paths with '-' for '/' and \x2d for '-' (systemd.unit(5)); other escapes do not occur in a root's path. */
static void judge_units(struct shadow *s)
{
	static const char places[][24] = {"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system", "run/systemd/system"};
	char name[LIMIT_PATH_BYTES];
	size_t n = 0;

	for (const char *at = s->inside + (*s->inside == '/'); n + 16 < sizeof(name); at++) {
		if (*at && *at != '/') {
			n += (size_t)print_to(name + n, sizeof(name) - n, *at == '-' ? "\\x2d" : "%c", *at);
			continue;
		}
		for (size_t i = 0; n && i < sizeof(places) / sizeof(places[0]); i++) {
			const char *const unit = arena_printf(s->a, "%s/%s/%.*s.mount", s->sysroot, places[i], (int)n, name);
			if (unit && os_exists(unit))
				judge_mount_point(s, s->inside, (size_t)(at - s->inside), "a mount unit");
		}
		if (!*at || !at[1])
			break;
		name[n++] = '-';
	}
}

/* systemd.mount-extra=WHAT:WHERE[:TYPE[:OPTIONS]] */
static void judge_extra(struct shadow *s, struct span line)
{
	char *word;

	while ((word = next_word(&line, s->a))) {
		const char *const value = value_of(word, "systemd.mount-extra=");
		const char *const colon = value ? strchr(value, ':') : NULL;
		if (colon)
			judge_mount_point(s, colon + 1, strcspn(colon + 1, ":"), "systemd.mount-extra=");
	}
}

enum rc boot_find_shadow(const char *sysroot, const char *root, struct arena *a, const char **why, struct err *e)
{
	struct span mountinfo = {0}, line = {0}, fstab = {0};
	struct err ignored = {0};
	auto_fd etc = -1;
	const size_t n = strlen(sysroot);
	struct shadow s = {.sysroot = sysroot, .inside = root + n, .a = a};

	*why = NULL;
	if (strncmp(root, sysroot, n) != 0 || root[n] != '/')
		return fail(e, RC_IO, "%s is not inside %s", root, sysroot);
	enum rc rc = os_read_proc("/proc/self/mountinfo", a, &mountinfo, e);
	if (rc)
		return rc;
	s.mountinfo = (const char *)mountinfo.at;
	const char *const etc_path = arena_printf(a, "%s/etc", sysroot);
	if (!etc_path)
		return no_memory(e);
	if (os_open_root(etc_path, &etc, &ignored) == RC_OK &&
		os_read_small(etc, "fstab", (size_t)1 << 20, a, &fstab, &ignored) == RC_OK)
		judge_fstab(&s, (const char *)fstab.at);
	judge_units(&s);
	if (os_read_proc("/proc/cmdline", a, &line, &ignored) == RC_OK)
		judge_extra(&s, line);
	*why = s.why;
	return RC_OK;
}

/* ---- the decision ---- */

static bool was_before(const struct journal *j, const char *boot_id)
{
	return j->present && *boot_id && *j->last_boot && strcmp(j->last_boot, "-") != 0 && strcmp(j->last_boot, boot_id) != 0;
}

bool boot_is_another(const struct journal *j, int root, struct arena scratch)
{
	struct journal_identity now;
	char boot_id[37] = "";
	struct err ignored = {0}; /* what cannot be read proves nothing */

	return j && os_boot_id(boot_id, &ignored) == RC_OK && was_before(j, boot_id) &&
	       identity_read(&now, root, scratch, &ignored) == RC_OK && journal_same_store(&j->identity, &now) &&
	       journal_same_databases(&j->identity, &now);
}

static bool went_back(const struct journal_identity *then, const struct journal_identity *now)
{
	for (size_t i = 0; i < then->database_count; i++)
		for (size_t k = 0; k < now->database_count; k++)
			if (strcmp(then->databases[i].path, now->databases[k].path) == 0 &&
				now->databases[k].txid < then->databases[i].txid)
				return true;
	return false;
}

/* RC_END: somebody holds it. */
static enum rc lock_store(int root, int *lock, struct err *e)
{
	auto_fd dir = -1;
	enum rc rc = os_open_dir(root, STORE_META_DIR, &dir, e);

	if (rc == RC_OK)
		rc = os_open_file(dir, "meta.db", lock, e);
	if (rc == RC_END || rc == RC_CORRUPT)
		return RC_OK; /* nothing to hold: whoever opens the store says what is wrong with it */
	return rc ? rc : os_lock(*lock, e);
}

/* Which of what the last check was at is to be passed over: what the one before was at as well, or, if it was at none of these, `all`
 * or none. They are put in front. Nothing can be done without the databases, and what is passed over already did not end it. */
static size_t choose_stuck(const struct journal *j, struct at_name *last, size_t count, bool all)
{
	size_t again = 0, n = 0;

	for (size_t i = 0; i < count; i++)
		if (at_listed(j->ended, j->ended_count, &last[i])) {
			const struct at_name moved = last[again];
			last[again++] = last[i];
			last[i] = moved;
		}
	for (size_t i = 0; i < (again || !all ? again : count); i++)
		if (last[i].kind != AT_STORE && !at_listed(j->stuck, j->stuck_count, &last[i])) {
			const struct at_name moved = last[n];
			last[n++] = last[i];
			last[i] = moved;
		}
	return n;
}

void boot_decide(struct boot *b, const struct boot_options *o, const char *boot_id, const struct journal_identity *identity)
{
	const struct journal *const j = &b->journal;
	const bool ours = j->present && journal_same_store(&j->identity, identity);
	const bool same = ours && journal_same_databases(&j->identity, identity);
	const bool again = ours && *boot_id && strcmp(j->boot_id, boot_id) == 0;
	b->status = 0;
	b->first = ours && was_before(j, boot_id);
	b->forced = o->full || o->force || b->flag || (ours && j->mode == JOURNAL_FORCED && !j->done);
	/* of earlier boots */
	const unsigned attempts = !ours ? 0 : j->unfinished - (again && !j->done && j->unfinished);
	b->attempts = attempts;
	b->new_stuck = attempts >= BOOT_ATTEMPTS_TELLING ? choose_stuck(j, b->last, b->last_count, attempts >= BOOT_ATTEMPTS_MAX) : 0;
	const unsigned most = b->new_stuck ? BOOT_ATTEMPTS_NAMED_MAX : BOOT_ATTEMPTS_MAX;

	if (again && j->done && j->status != 32 && !o->full) {
		b->verdict = BOOT_HANDLED;
		b->status = j->status == 1 ? 0 : j->status;
		b->why = "was looked at in this boot already";
	} else if (ours && j->clean && same && !b->forced) {
		b->verdict = BOOT_IS_CLEAN;
		b->why = "the last stop was clean, nothing to do";
	} else if (attempts >= most && !o->full) {
		b->verdict = BOOT_STEP_ASIDE;
		b->status = 4;
		b->why = "the check began in the last boots and never ended, it is left out: run containerd-fsck repair by hand while "
			 "containerd is stopped";
	} else if (o->mode == BOOT_SKIP) {
		b->verdict = BOOT_SKIPPED;
		b->why = "the kernel's command line says to skip the check; the next boot makes it";
	} else if (b->forced) {
		b->verdict = BOOT_CHECK_ALL;
		b->why = "checking everything, as told";
	} else if (!ours || went_back(&j->identity, identity)) {
		b->verdict = BOOT_CHECK_ALL;
		b->why = !j->present ? j->absent
			 : !ours     ? "the journal is of another file system or directory: checking everything"
				     : "a database is older than the journal: checking everything";
	} else {
		b->verdict = BOOT_CHECK_CHANGED;
		b->why = j->clean      ? "the databases changed after the last stop: checking what changed"
			 : !*j->boot_id ? "the last stop left something to look at: checking what changed, and that"
					: "the last stop was not clean: checking what changed since the last one that was";
	}
}

/* The record that a boot began; it uses the marker up. RC_END: see journal_give_way. */
static enum rc note(struct boot *b, const char *boot_id, const struct journal_identity *identity, struct arena scratch,
	struct err *e)
{
	const enum journal_mode mode = b->verdict == BOOT_IS_CLEAN				       ? JOURNAL_CLEAN
				       : b->verdict == BOOT_SKIPPED || b->verdict == BOOT_STEP_ASIDE ? JOURNAL_SKIPPED
				       : b->forced						       ? JOURNAL_FORCED
												       : JOURNAL_CHECKED;
	struct journal_writer out;
	enum rc rc;

	if (b->journal.present && journal_same_store(&b->journal.identity, identity)) {
		rc = mode == JOURNAL_CHECKED || mode == JOURNAL_FORCED
			     ? journal_append_attempt(&b->journal, b->own, b->last, b->last_count, b->new_stuck, boot_id, mode, scratch, e)
			     : journal_append_boot(&b->journal, b->own, boot_id, mode, b->status, scratch, e);
	} else if (!(rc = own_open_dir(b->root, STORE_OWN_DIR, &b->own, e))) {
		journal_begin(&out, identity, &scratch);
		journal_put_boot(&out, boot_id, mode, b->status);
		rc = journal_commit(&out, b->own, e);
	}
	return journal_give_way(rc, b->own, e);
}

/* An empty root: all that this session puts into it is new, and seal may vouch for it. Should the true root be mounted over it
 * later, it hides the note. A cut leaves the directory of ours without a journal, or with the whole. */
static enum rc note_empty(struct boot *b, struct arena scratch, struct err *e)
{
	struct journal_identity identity;
	struct journal_writer out;
	struct os_name *names = NULL;
	char boot_id[37] = "";
	size_t count = 0;
	enum rc rc;

	if ((rc = os_list(b->root, &scratch, &names, &count, e)) || os_is_read_only(b->root))
		return rc;
	if (count > 1 || (count == 1 && strcmp(names[0].name, STORE_OWN_DIR) != 0))
		return RC_OK;
	if ((rc = os_boot_id(boot_id, e)))
		return rc == RC_END ? RC_OK : rc;
	if ((rc = identity_read(&identity, b->root, scratch, e)) || (rc = own_open_dir(b->root, STORE_OWN_DIR, &b->own, e)))
		return rc;
	journal_begin(&out, &identity, &scratch);
	journal_put_boot(&out, boot_id, JOURNAL_CHECKED, 0);
	journal_put_done(&out, 0);
	return journal_commit(&out, b->own, e);
}

/* What the check of the last boot record was at when it ended. */
static enum rc read_last(struct boot *b, struct arena *keep, struct arena scratch, struct err *e)
{
	b->last = arena_array(keep, AT_NAMES_MAX, sizeof(*b->last));
	return b->last ? at_read(b->own, b->journal.boot_id, b->last, &b->last_count, scratch, e)
		       : no_memory(e);
}

/* As the journal says by now. */
static enum rc pass_over(struct boot *b, struct arena *keep, struct err *e)
{
	struct journal *const j = &b->journal;

	for (size_t i = 0; i < b->new_stuck && j->stuck_count < JOURNAL_STUCK_MAX; i++) {
		struct at_name *const one = arena_push(keep, (void **)&j->stuck, &j->stuck_count, sizeof(*one));
		if (!one)
			return no_memory(e);
		*one = b->last[i];
	}
	return RC_OK;
}

static enum rc begin(struct boot *b, const char *path, const struct boot_options *o, struct arena *keep, struct arena scratch,
	struct err *e)
{
	struct journal_identity identity;
	auto_fd lock = -1;
	char boot_id[37] = "";
	enum rc rc = os_open_root(path, &b->root, e);

	if (rc == RC_OK) {
		const char *const parts[] = {STORE_META_DIR, STORE_CONTENT_DIR, STORE_OVERLAY_DIR};
		struct stat st = {0};
		if (os_open_dir(b->root, STORE_OWN_DIR, &b->own, e) == RC_IO)
			return RC_IO;
		rc = RC_END;
		for (size_t i = 0; rc == RC_END && i < sizeof(parts) / sizeof(parts[0]); i++)
			rc = os_stat(b->root, parts[i], &st, e);
	}
	if (rc == RC_END) {
		b->verdict = BOOT_NOTHING;
		b->why = "no store yet, nothing to do";
		return b->root < 0 || o->inside ? RC_OK : note_empty(b, scratch, e);
	}
	if (rc)
		return rc;
	/* held until the decision is on the disk */
	const enum rc locked = lock_store(b->root, &lock, e);
	if (locked && locked != RC_END)
		return locked;
	if ((rc = identity_read(&identity, b->root, scratch, e)))
		return rc;
	b->journal.absent = "there is no journal yet: checking everything";
	if ((rc = os_boot_id(boot_id, e)) && rc != RC_END)
		return rc;
	struct err ignored = {0};
	struct stat flag = {0};
	b->flag = b->own >= 0 && os_stat(b->own, FORCE_FILE, &flag, &ignored) == RC_OK && S_ISREG(flag.st_mode);
	/* a clean boot looks at no more than this */
	rc = b->own < 0 ? RC_END : journal_read_marker(&b->journal, b->own, scratch, e);
	if (rc == RC_OK)
		rc = journal_add_doubts(&b->journal, b->own, &scratch, e);
	if (rc == RC_OK)
		boot_decide(b, o, boot_id, &identity);
	if (rc && rc != RC_END)
		return rc;
	if ((rc == RC_END || b->verdict != BOOT_IS_CLEAN) && b->own >= 0 &&
		((rc = journal_read(&b->journal, b->own, keep, e)) || (rc = journal_add_doubts(&b->journal, b->own, keep, e))))
		return rc;
	if (b->journal.present && b->journal.unfinished && (rc = read_last(b, keep, scratch, e)))
		return rc;
	boot_decide(b, o, boot_id, &identity);
	if (b->verdict == BOOT_HANDLED)
		return RC_OK;
	if (locked == RC_END) {
		b->verdict = BOOT_RUNNING;
		b->why = "containerd is running (it holds the lock of meta.db): stop it first";
		return RC_OK;
	}
	if (os_is_read_only(b->root)) {
		if (b->verdict == BOOT_IS_CLEAN || !o->remount) {
			b->why = b->verdict == BOOT_IS_CLEAN ? "the last stop was clean, nothing to do (read-only)"
				 : o->inside		     ? "the file system is read-only: left to whoever mounts it writable"
							     : "the file system is read-only, nothing was checked: remount it, or name "
							       "the root in ReadWritePaths= of the unit";
			/* in an initramfs somebody comes after us */
			b->status = b->verdict == BOOT_IS_CLEAN || o->inside ? 0 : 8;
			b->verdict = BOOT_LATER;
			return RC_OK;
		}
		if ((rc = os_remount(b->root, true, &b->whole, e)))
			return rc;
		b->remounted = true;
	}
	(void)print_to(b->boot_id, sizeof(b->boot_id), "%s", *boot_id ? boot_id : "-"); /* fits */
	rc = note(b, b->boot_id, &identity, scratch, e);
	b->unnoted = rc == RC_END;
	if (rc == RC_OK && (rc = pass_over(b, keep, e)))
		return rc;
	return rc == RC_END ? RC_OK : rc;
}

enum rc boot_begin(struct boot *out, const char *path, const struct boot_options *o, struct arena *keep, struct arena scratch,
	struct err *e)
{
	struct boot b = {.root = -1, .own = -1};
	const enum rc rc = begin(&b, path, o, keep, scratch, e);

	if (rc)
		boot_end(&b);
	else
		*out = b;
	return rc;
}

enum rc boot_give_up(struct boot *b, unsigned status, struct arena scratch, struct err *e)
{
	/* the journal may have been made anew since */
	struct journal j = {0};
	const enum rc rc = b->own < 0 ? RC_END : journal_read(&j, b->own, &scratch, e);

	if (rc || !j.present)
		return rc == RC_END ? RC_OK : rc;
	const enum rc told = journal_give_way(journal_append_done(&j, b->own, status, scratch, e), b->own, e);
	return told == RC_END ? RC_OK : told;
}

enum rc boot_done(struct boot *b, struct err *e)
{
	const enum rc rc = b->flag ? os_unlink(b->own, FORCE_FILE, e) : RC_END;

	return rc == RC_OK ? os_fsync(b->own, e) : rc == RC_END ? RC_OK : rc;
}

void boot_end(struct boot *b)
{
	struct err ignored = {0};

	if (b->remounted && os_remount(b->root, false, &b->whole, &ignored))
		ignored.rc = RC_OK; /* then it stays writable, as the system makes it anyway */
	b->remounted = false;
	os_close(&b->own);
	os_close(&b->root);
}
