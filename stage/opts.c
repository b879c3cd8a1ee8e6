/* SPDX-License-Identifier: MIT */
#include "opts.h"

#include <stddef.h>
#include <string.h>

/* seconds; a month */
#define SECONDS_MAX 2678400
/* bytes a second */
#define RATE_MAX UINT32_MAX

const char opts_help[] =
	"usage: containerd-fsck [COMMAND] [OPTION...] [ROOT...]\n"
	"       containerd-fsck ack [--undo] [ID] [ROOT...]\n"
	"       fsck.containerd [-n | -p | -a | -y] [OPTION...] [ROOT...]\n"
	"\n"
	"Checks and repairs containerd's store while containerd is stopped, from local data, without the network.\n"
	"ROOT is containerd's root directory; without one, every well-known root that exists is taken.\n"
	"\n"
	"  check              look, change nothing; what is done without a command\n"
	"  repair             check and repair\n"
	"  show               the store as a tree\n"
	"  fetch-list         check, and list what must be fetched: digest, bytes, namespace, image\n"
	"  status             a line for monitors: the last run\n"
	"  ack                what is left is known: it fails no run any more\n"
	"  boot               at boot: check and repair what changed since the last clean stop\n"
	"  seal               at shutdown: note that the stop was clean\n"
	"  record             beside containerd: note what is durable, so that a cut costs seconds\n"
	"  scrub              beside containerd: look at everything, gently\n"
	"\n"
	"  -n                 check, as without a command\n"
	"  -p, -a, -y         repair\n"
	"  -f, --full         check everything, whatever is known of the last stop\n"
	"  -C                 show progress even if standard error is no terminal; a number behind it is ignored\n"
	"  -T, -M             fsck(8)'s, and mean nothing; -v is --verbose\n"
	"      --sysroot DIR  put before every root and before the state directories\n"
	"      --after-boot   containerd has not run since the machine started, whatever can be proved: leftovers are removed\n"
	"      --config FILE  containerd's configuration, instead of the usual files\n"
	"      --json FILE    write the report as JSON; - is standard output\n"
	"      --source PLACE take missing or damaged blobs from there: a root, an OCI layout, an archive, a directory of these\n"
	"      --metrics FILE write metrics for Prometheus' node exporter\n"
	"      --last         show: the last runs\n"
	"      --undo         ack: takes it back; ID: a path, digest or name as reports print it\n"
	"      --keep         set damaged blobs aside instead of removing them\n"
	"      --budget SECONDS\n"
	"                     begin nothing new after that long; the rest is unchecked, and the next run begins there\n"
	"      --remount      boot: a read-only file system is made writable for a repair, and read-only again\n"
	"      --reset        repair ROOT: begin anew: databases and snapshots are set aside, blobs stay, everything is pulled again\n"
	"      --interval SECONDS, --distance SECONDS\n"
	"                     record: from the first change to the sync, 2; from one sync to the next, at least, 5\n"
	"                     scrub: from its end to the next; without it there is none\n"
	"      --rate BYTES   scrub: at most so much a second\n"
	"      --image NAME   scrub: this image alone\n"
	"      --slice N/OF   scrub: the Nth part alone, as 1/4\n"
	"      --threads N    workers; by default one for each processor\n"
	"      --quiet        say only what is wrong\n"
	"      --verbose      list every finding, and notes\n"
	"  -V, --version      print the version\n"
	"      --help         print this\n"
	"\n"
	"Exit status: 0 nothing wrong, 1 repaired, 4 problems left, 8 could not run, 16 usage, 32 interrupted.\n";

static const struct {
	char word[12];
	enum verb verb;
} verbs[] = {{"check", VERB_CHECK}, {"repair", VERB_REPAIR}, {"boot", VERB_BOOT}, {"show", VERB_SHOW}, {"seal", VERB_SEAL},
	{"record", VERB_RECORD}, {"scrub", VERB_SCRUB}, {"status", VERB_STATUS}, {"ack", VERB_ACK}, {"fetch-list", VERB_FETCH_LIST}};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static bool verb_of(const char *word, enum verb *verb)
{
	for (size_t i = 0; i < VERB_COUNT; i++)
		if (strcmp(word, verbs[i].word) == 0) {
			*verb = verbs[i].verb;
			return true;
		}
	return false;
}

#define WORD_MOST 16

/* Letters to add, leave out, change, or turn with their neighbour, from one word to the other. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m)
{
	uint8_t d[WORD_MOST + 1][WORD_MOST + 1];

	for (size_t i = 0; i <= n; i++)
		for (size_t j = 0; j <= m; j++) {
			if (!i || !j) {
				d[i][j] = (uint8_t)(i + j);
				continue;
			}
			const unsigned other = a[i - 1] != b[j - 1];
			uint64_t least = min_u64(min_u64(d[i - 1][j], d[i][j - 1]) + 1u, d[i - 1][j - 1] + other);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				least = min_u64(least, d[i - 2][j - 2] + 1u);
			d[i][j] = (uint8_t)least;
		}
	return d[n][m];
}

/* What comes nearest to a word that is none of ours, of those that the help has behind this; length 0: nothing is near. */
static struct span nearest(const char *word, const char *behind)
{
	const size_t length = strcspn(word, "=");
	struct span best = {0};
	unsigned least = 3;

	for (const char *at = opts_help; length <= WORD_MOST && (at = text_find(at, behind));) {
		at += strlen(behind);
		const size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyz-");
		const unsigned far = n <= WORD_MOST ? distance(word, length, at, n) : least;
		if (far < least && far * 2 < length) {
			least = far;
			best = span_of(at, n);
		}
	}
	return best;
}

static enum rc unknown(struct err *e, const char *word)
{
	const bool option = *word == '-';
	const struct span near = nearest(word + strspn(word, "-"), option ? "--" : "\n  ");

	if (near.left)
		return fail(e, RC_CORRUPT, "unknown %s %s: did you mean %s%.*s?", option ? "option" : "command", word, option ? "--" : "",
			(int)near.left, (const char *)near.at);
	return option ? fail(e, RC_CORRUPT, "unknown option %s", word)
		      /* a relative directory would be taken for a misspelt command, and the other way round */
		      : fail(e, RC_CORRUPT, "unknown command %s (a root is given with a slash: ./%s)", word, word);
}

enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_NUMBER, OPTION_SOURCE, OPTION_SLICE, OPTION_HELP, OPTION_VERSION };

#define ALL 0xffff
#define ONE(verb) (1 << VERB_##verb)
#define AT(member) offsetof(struct opts, member)
static const struct option {
	char name[13];
	uint8_t kind;
	uint16_t verbs; /* it is for these alone */
	uint16_t at;    /* in struct opts */
	uint32_t most;  /* of a number */
} options[] = {{"--keep", OPTION_FLAG, ALL, AT(keep), 0},
	{"--last", OPTION_FLAG, ONE(SHOW), AT(last), 0},
	{"--undo", OPTION_FLAG, ONE(ACK), AT(undo), 0},
	{"--full", OPTION_FLAG, ALL, AT(full), 0},
	{"--quiet", OPTION_FLAG, ALL, AT(quiet), 0},
	{"--verbose", OPTION_FLAG, ALL, AT(verbose), 0},
	{"--after-boot", OPTION_FLAG, ONE(CHECK) | ONE(REPAIR) | ONE(BOOT) | ONE(SHOW), AT(after_boot), 0},
	{"--remount", OPTION_FLAG, ONE(BOOT), AT(remount), 0},
	{"--reset", OPTION_FLAG, ONE(REPAIR), AT(reset), 0},
	{"--sysroot", OPTION_TEXT, ALL, AT(sysroot), 0},
	{"--config", OPTION_TEXT, ALL, AT(config), 0},
	{"--json", OPTION_TEXT, ONE(CHECK) | ONE(REPAIR) | ONE(BOOT) | ONE(SCRUB) | ONE(STATUS) | ONE(SHOW), AT(json), 0},
	{"--metrics", OPTION_TEXT, ONE(CHECK) | ONE(REPAIR) | ONE(BOOT) | ONE(SCRUB), AT(metrics), 0},
	{"--image", OPTION_TEXT, ONE(SCRUB), AT(image), 0},
	{"--source", OPTION_SOURCE, ONE(CHECK) | ONE(REPAIR) | ONE(BOOT), 0, 0},
	{"--slice", OPTION_SLICE, ONE(SCRUB), 0, 0},
	{"--budget", OPTION_NUMBER, ALL, AT(budget_s), SECONDS_MAX},
	{"--interval", OPTION_NUMBER, ONE(RECORD) | ONE(SCRUB), AT(interval_s), SECONDS_MAX},
	{"--distance", OPTION_NUMBER, ONE(RECORD), AT(distance_s), SECONDS_MAX},
	{"--rate", OPTION_NUMBER, ONE(SCRUB), AT(rate), RATE_MAX},
	{"--threads", OPTION_NUMBER, ALL, AT(threads), LIMIT_THREADS},
	{"--help", OPTION_HELP, ALL, 0, 0},
	{"--version", OPTION_VERSION, ALL, 0, 0}};
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

struct parser {
	struct opts *o;
	int argc, at;
	char *const *argv;
	struct err *e;
	bool verb_given, mode_given;
	enum verb mode; /* of -n, -p, -a, -y */
	bool given[OPTION_COUNT];
};

/* Nothing after it matters. */
static void take_last(struct parser *p, enum verb verb)
{
	p->o->verb = verb;
	p->verb_given = p->mode_given = true;
	p->at = p->argc;
}

/* "--name value" or "--name=value" */
static enum rc take_value(struct parser *p, const char *name, const char **value, bool *matched)
{
	const char *const arg = p->argv[p->at];
	const size_t n = strlen(name);

	*matched = strncmp(arg, name, n) == 0 && (arg[n] == 0 || arg[n] == '=');
	if (!*matched)
		return RC_OK;
	if (arg[n] == '=')
		*value = arg + n + 1;
	else if (p->at + 1 < p->argc)
		*value = p->argv[++p->at];
	else
		return fail(p->e, RC_CORRUPT, "%s wants a value", name);
	return **value ? RC_OK : fail(p->e, RC_CORRUPT, "%s wants a value", name);
}

static enum rc take_slice(struct parser *p, const char *text)
{
	const size_t n = strcspn(text, "/");

	if (!text[n] || parse_decimal(span_of(text, n), &p->o->slice) || parse_decimal(span_of_string(text + n + 1), &p->o->slices) ||
		p->o->slice < 1 || p->o->slice > p->o->slices || p->o->slices > OPTS_SLICES_MAX)
		return fail(p->e, RC_CORRUPT, "--slice wants N/OF, as 1/4, with numbers up to %d", OPTS_SLICES_MAX);
	return RC_OK;
}

static enum rc take_number(struct parser *p, const struct option *option, const char *text, uint64_t *value)
{
	return parse_decimal(span_of_string(text), value) || *value < 1 || *value > option->most
		       ? fail(p->e, RC_CORRUPT, "%s wants a number from 1 to %llu", option->name, (unsigned long long)option->most)
		       : RC_OK;
}

static enum rc take_option(struct parser *p, const struct option *option, const char *text)
{
	void *const at = (char *)p->o + option->at;

	switch ((enum option_kind)option->kind) {
	case OPTION_FLAG:
		*(bool *)at = true;
		return RC_OK;
	case OPTION_TEXT:
		*(const char **)at = text;
		return RC_OK;
	case OPTION_NUMBER:
		return take_number(p, option, text, at);
	case OPTION_SLICE:
		return take_slice(p, text);
	case OPTION_SOURCE:
		if (p->o->source_count == OPTS_ROOTS_MAX)
			return fail(p->e, RC_CORRUPT, "more than %d sources", OPTS_ROOTS_MAX);
		p->o->sources[p->o->source_count++] = text;
		return RC_OK;
	case OPTION_HELP:
	case OPTION_VERSION:
		take_last(p, option->kind == OPTION_HELP ? VERB_HELP : VERB_VERSION);
	}
	return RC_OK;
}

static enum rc take_long(struct parser *p)
{
	const char *const arg = p->argv[p->at], *text = NULL;

	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const uint8_t kind = options[i].kind;
		bool matched = strcmp(arg, options[i].name) == 0;
		if (kind == OPTION_TEXT || kind == OPTION_NUMBER || kind == OPTION_SOURCE || kind == OPTION_SLICE) {
			const enum rc rc = take_value(p, options[i].name, &text, &matched);
			if (rc)
				return rc;
		}
		if (matched) {
			p->given[i] = true;
			return take_option(p, &options[i], text);
		}
	}
	return unknown(p->e, arg);
}

static bool is_number(const char *word)
{
	return *word && !word[strspn(word, "0123456789")];
}

static enum rc take_short(struct parser *p)
{
	const char *const arg = p->argv[p->at];

	for (const char *c = arg + 1; *c; c++) {
		switch (*c) {
		case 'n':
		case 'p':
		case 'a':
		case 'y': {
			const enum verb mode = *c == 'n' ? VERB_CHECK : VERB_REPAIR;
			if (p->mode_given && mode != p->mode)
				return fail(p->e, RC_CORRUPT, "-n and -%c contradict each other", *c == 'n' ? 'p' : *c);
			p->mode = mode;
			p->mode_given = true;
			break;
		}
		case 'f':
			p->o->full = true;
			break;
		case 'C':
			p->o->progress = true;
			while (c[1] >= '0' && c[1] <= '9') /* fsck(8) names a descriptor for a bar of its own */
				c++;
			if (!c[1] && p->at + 1 < p->argc && is_number(p->argv[p->at + 1]))
				p->at++;
			break;
		case 'v':
			p->o->verbose = true;
			break;
		case 'T': /* no title, and not what is mounted: fsck(8)'s own, which people type all the same */
		case 'M':
			break;
		case 'V':
		case 'h':
			take_last(p, *c == 'V' ? VERB_VERSION : VERB_HELP);
			return RC_OK;
		default:
			return fail(p->e, RC_CORRUPT, "unknown option -%c", *c);
		}
	}
	return RC_OK;
}

/* An option that other commands have. */
static enum rc is_for(const char *option, unsigned of, struct err *e)
{
	char words[80];
	size_t n = 0;

	for (size_t i = 0; i < VERB_COUNT; i++)
		if (of >> verbs[i].verb & 1)
			n += (size_t)print_to(words + n, sizeof(words) - n, n ? ", %s" : "%s", verbs[i].word);
	return fail(e, RC_CORRUPT, "%s is for %s", option, words);
}

enum rc opts_parse(struct opts *o, int argc, char *const *argv, struct err *e)
{
	struct parser p = {.o = o, .argc = argc, .at = 1, .argv = argv, .e = e};
	bool only_roots = false;
	enum rc rc = RC_OK;

	*o = (struct opts){.verb = VERB_CHECK, .sysroot = ""};
	for (; rc == RC_OK && p.at < argc; p.at++) {
		const char *const arg = argv[p.at];
		if (!only_roots && strcmp(arg, "--") == 0) {
			only_roots = true;
		} else if (!only_roots && arg[0] == '-' && arg[1] == '-') {
			rc = take_long(&p);
		} else if (!only_roots && arg[0] == '-' && arg[1]) {
			rc = take_short(&p);
		} else if (!only_roots && !p.verb_given && o->root_count == 0 && verb_of(arg, &o->verb)) {
			p.verb_given = true;
			o->fetch_list = o->verb == VERB_FETCH_LIST;
			o->verb = o->fetch_list ? VERB_CHECK : o->verb;
		} else if (!*arg) {
			rc = fail(e, RC_CORRUPT, "a root is the empty text");
		} else if (!only_roots && !p.verb_given && o->root_count == 0 && !strchr(arg, '/')) {
			rc = unknown(e, arg);
		} else if (o->verb == VERB_ACK && !o->id && (only_roots || !strchr("/.", *arg))) {
			o->id = arg;
		} else if (o->root_count == OPTS_ROOTS_MAX) {
			rc = fail(e, RC_CORRUPT, "more than %d roots", OPTS_ROOTS_MAX);
		} else {
			o->roots[o->root_count++] = arg;
		}
	}
	if (rc)
		return rc;
	if (o->verb == VERB_HELP || o->verb == VERB_VERSION)
		return RC_OK;
	if (p.mode_given) {
		if (p.verb_given && o->verb != p.mode)
			return fail(e, RC_CORRUPT, "the command and -n, -p, -a or -y contradict each other");
		o->verb = p.mode;
	}
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (p.given[i] && !(options[i].verbs >> o->verb & 1))
			return is_for(options[i].name, options[i].verbs, e);
	if (o->reset && o->root_count != 1)
		return fail(e, RC_CORRUPT, "--reset wants the root that is meant, and no other");
	if (o->json && o->verb == VERB_SHOW && !o->last)
		return fail(e, RC_CORRUPT, "--json goes with show --last");
	if (o->undo && !o->id)
		return fail(e, RC_CORRUPT, "ack --undo wants what is meant");
	if (o->image && o->slices)
		return fail(e, RC_CORRUPT, "--image and --slice contradict each other");
	o->interval_s += o->interval_s || o->verb != VERB_RECORD ? 0 : 2;
	o->distance_s += o->distance_s ? 0 : 5;
	if (o->quiet && o->verbose)
		return fail(e, RC_CORRUPT, "--quiet and --verbose contradict each other");
	return RC_OK;
}
