/* SPDX-License-Identifier: MIT */
#include "opts.h"

#include <string.h>

/* seconds; a month */
#define SECONDS_MAX 2678400
/* bytes a second */
#define RATE_MAX ((uint64_t)1 << 40)

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
	"  -C                 show progress even if standard error is no terminal; a number behind it means nothing\n"
	"  -T, -M             fsck(8)'s, and mean nothing; -v is --verbose\n"
	"      --sysroot DIR  put before every root and before the state directories\n"
	"      --after-boot   containerd has not run since the machine started, whatever can be proved: leftovers are removed\n"
	"      --config FILE  containerd's configuration, instead of those in their usual places\n"
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
	"      --rate BYTES   scrub: read so much a second at most\n"
	"      --image NAME   scrub: this image alone\n"
	"      --slice N/OF   scrub: the Nth part alone, as 1/4\n"
	"      --threads N    workers; the default is one for each processor\n"
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

struct parser {
	struct opts *o;
	int argc, at;
	char *const *argv;
	struct err *e;
	bool verb_given, mode_given;
	enum verb mode; /* of -n, -p, -a, -y */
};

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

static enum rc take_long(struct parser *p)
{
	const char *const arg = p->argv[p->at];
	const char *text = NULL;
	bool matched = false;
	enum rc rc;
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {{"--keep", &p->o->keep},
		{"--last", &p->o->last},
		{"--undo", &p->o->undo},
		{"--full", &p->o->full},
		{"--quiet", &p->o->quiet},
		{"--verbose", &p->o->verbose},
		{"--after-boot", &p->o->after_boot},
		{"--remount", &p->o->remount},
		{"--reset", &p->o->reset}};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(arg, flags[i].name) == 0) {
			*flags[i].flag = true;
			return RC_OK;
		}
	if (strcmp(arg, "--help") == 0 || strcmp(arg, "--version") == 0) {
		p->o->verb = arg[2] == 'h' ? VERB_HELP : VERB_VERSION;
		p->verb_given = p->mode_given = true;
		p->at = p->argc; /* nothing after it matters */
		return RC_OK;
	}
	const struct {
		const char *name, **value;
	} texts[] = {{"--sysroot", &p->o->sysroot},
		{"--config", &p->o->config},
		{"--json", &p->o->json},
		{"--metrics", &p->o->metrics},
		{"--image", &p->o->image}};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if ((rc = take_value(p, texts[i].name, texts[i].value, &matched)) || matched)
			return rc;
	if ((rc = take_value(p, "--source", &text, &matched)))
		return rc;
	if (matched && p->o->source_count == OPTS_ROOTS_MAX)
		return fail(p->e, RC_CORRUPT, "more than %d sources", OPTS_ROOTS_MAX);
	if (matched) {
		p->o->sources[p->o->source_count++] = text;
		return RC_OK;
	}
	if ((rc = take_value(p, "--slice", &text, &matched)) || matched)
		return rc ? rc : take_slice(p, text);
	const struct {
		const char *name;
		uint64_t *value, most;
	} numbers[] = {{"--budget", &p->o->budget_s, SECONDS_MAX},
		{"--interval", &p->o->interval_s, SECONDS_MAX},
		{"--distance", &p->o->distance_s, SECONDS_MAX},
		{"--rate", &p->o->rate, RATE_MAX},
		{"--threads", &p->o->threads, LIMIT_THREADS}};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if ((rc = take_value(p, numbers[i].name, &text, &matched)))
			return rc;
		if (matched)
			return parse_decimal(span_of_string(text), numbers[i].value) || *numbers[i].value < 1 ||
					       *numbers[i].value > numbers[i].most
				       ? fail(p->e, RC_CORRUPT, "%s wants a number from 1 to %llu", numbers[i].name,
						 (unsigned long long)numbers[i].most)
				       : RC_OK;
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
			p->o->verb = VERB_VERSION;
			p->verb_given = p->mode_given = true;
			p->at = p->argc;
			return RC_OK;
		case 'h':
			p->o->verb = VERB_HELP;
			p->verb_given = p->mode_given = true;
			p->at = p->argc;
			return RC_OK;
		default:
			return fail(p->e, RC_CORRUPT, "unknown option -%c", *c);
		}
	}
	return RC_OK;
}

/* What is given of these is for these commands alone. */
static const struct {
	uint16_t verbs;
	char name[14];
} bound[] = {{1 << VERB_BOOT, "--remount"}, {1 << VERB_CHECK | 1 << VERB_REPAIR | 1 << VERB_BOOT, "--source"},
	{1 << VERB_REPAIR, "--reset"},
	{1 << VERB_RECORD | 1 << VERB_SCRUB, "--interval"}, {1 << VERB_RECORD, "--distance"}, {1 << VERB_SHOW, "--last"},
	{1 << VERB_ACK, "--undo"},
	{1 << VERB_CHECK | 1 << VERB_REPAIR | 1 << VERB_BOOT | 1 << VERB_SCRUB, "--metrics"}, {1 << VERB_SCRUB, "--rate"},
	{1 << VERB_SCRUB, "--slice"}, {1 << VERB_SCRUB, "--image"},
	{1 << VERB_CHECK | 1 << VERB_REPAIR | 1 << VERB_BOOT | 1 << VERB_SHOW, "--after-boot"}};
#define BOUND_COUNT (sizeof(bound) / sizeof(bound[0]))

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
	const bool given[BOUND_COUNT] = {o->remount, o->source_count != 0, o->reset, o->interval_s != 0, o->distance_s != 0, o->last,
		o->undo, o->metrics != NULL, o->rate != 0, o->slices != 0, o->image != NULL, o->after_boot};
	for (size_t i = 0; i < BOUND_COUNT; i++)
		if (given[i] && !(bound[i].verbs >> o->verb & 1))
			return is_for(bound[i].name, bound[i].verbs, e);
	if (o->reset && o->root_count != 1)
		return fail(e, RC_CORRUPT, "--reset wants the root that is meant, and no other");
	if (o->json && (o->verb == VERB_ACK || (o->verb == VERB_SHOW && !o->last)))
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
