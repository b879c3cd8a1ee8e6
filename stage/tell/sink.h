/* SPDX-License-Identifier: MIT */
/* What the files of tell/ share: where text goes, and words. Nobody else includes it. */
#ifndef SINK_H
#define SINK_H

#include "tell/report.h"

struct sink {
	int out;      /* a console, or: */
	int fd;       /* a file of ours */
	uint64_t off;
	size_t used;
	struct err *e;
	enum rc rc;
	enum report_log log;
	int priority;
	bool listing;     /* each line becomes a string of an array of JSON */
	unsigned lines;   /* of the log, or the array, so far */
	bool in_line;
	size_t line_used;
	char line[400];   /* of the kernel's log, or a word that is folded, so far */
	unsigned width;   /* of a terminal; 0: it is none */
	bool folds;       /* on a terminal lines of words are, and those with something to type are not: to be set where a line begins */
	size_t column;    /* in a line that is folded */
	char buf[4096];
};

struct size_text {
	char text[24];
};

struct proved {
	uint64_t blobs, all_blobs, snapshots, all_snapshots, images, all_images; /* proved, and how many there are */
	uint64_t containers; /* snapshots that containers write to, and views: nothing is promised of them */
};

/* report.c */
bool can_be_made_again(const struct salvage *s);
struct size_text size_text(uint64_t bytes);
const char *plural(uint64_t n, const char *one, const char *many);
/* What happens to it, or, of a repair that was carried out, what did. */
const char *fate_word(const struct outcome *o, const struct finding *f);
/* Why it stays; NULL: it does not, or nobody knows. */
const char *why_left(const struct outcome *o, const struct finding *f);
const char *outcome_name(enum action_outcome o);
/* The name of an image is dropped only where somebody pulls by itself. A pull takes as it is whatever is unpacked already, and need not
 * fetch its layers (containerd 2: core/unpack/unpacker.go; CRI's pull in each release): it heals an image if all that is was proved. */
const char *image_word(const struct image_state *state, bool repair);
const char *fate_name(enum fate f);
/* Nothing is healed before it was. */
const char *verdict_name(const struct outcome *o, enum image_verdict v);
/* missing.c */
struct missing {
	struct digest digest;
	uint64_t size; /* as whoever names it says; 0: nobody does */
	size_t image;  /* one that needs it */
};
struct missing_list {
	struct missing *at; /* by digest, each once */
	size_t count;
	bool no_memory; /* it is not whole */
};
/* Nothing where no images were judged. */
struct missing_list missing_find(const struct outcome *o, struct arena *a);
struct holder {
	struct span name, whole; /* as the console calls the image, and its name */
	bool shared;             /* with other images */
};
/* Whole digests fill a line twice: on the console twelve digits are enough to tell them apart, and a snapshot is called by the image
 * that stands on it, if there is one. */
void put_message(struct sink *s, const struct finding *f, const struct holder *holder, bool whole);

/* sink.c */
void sink_flush(struct sink *s);
void put(struct sink *s, const char *text, size_t n);
void puts_to(struct sink *s, const char *text);
void putf(struct sink *s, const char *format, ...) PRINTF_LIKE(2, 3);
/* What came from disk, safe for a console. */
void put_escaped(struct sink *s, struct span raw);
/* A sentence of ours, in which there may be such names. */
void put_sentence(struct sink *s, const char *sentence);
/* A name as a word to be typed. */
void put_word(struct sink *s, struct span raw);
void put_json_text(struct sink *s, const char *text);
/* JSON wants other escapes than a console: \u00XX, and a byte that is no UTF-8 has no JSON form but U+FFFD; the console's
 * \xNN inside the string keeps it readable and unambiguous, because a backslash is escaped as well. */
void put_json_string(struct sink *s, struct span raw);
void put_json_sentence(struct sink *s, const char *sentence);

/* json.c */
/* A file in a directory of ours: after a power cut at any point all of the old one, or all that put_all puts. */
CHECKED enum rc keep_in(int dir, const char *name, void (*put_all)(struct sink *s, const void *what), const void *what, struct err *e);
/* /run/containerd-fsck/, and what is called there after a root. make: if it is not there. RC_END: it is not. */
CHECKED enum rc open_run(const char *root, bool make, const char *suffix, char name[LIMIT_NAME_BYTES + 1], int *dir, struct err *e);

/* runs.c */
const char *run_verb_word(const uint64_t *numbers);

/* images.c */
/* What the images of a store are called, and what is theirs. */
struct roll {
	struct called *called; /* by image; NULL: there was no memory, each is told by its whole name, and nothing is known of the rest */
	size_t *owners;        /* by snapshot of meta.db: an image and 1; 0: none stands on it */
	bool *shared;          /* others do, too */
	/* Of an image the first container on it, of a container the next on the same image, each and 1; 0: none. NULL as above. */
	size_t *user, *next_user;
	struct arena rest;     /* behind them */
};
/* In what is left of keep, which whoever tells has no more use for. */
struct roll roll_make(const struct outcome *o);
/* Of the names of one target the first by which it can be fetched. */
bool roll_is_first(const struct roll *r, size_t image);
struct holder roll_holder(const struct roll *r, const struct outcome *o, const struct finding *f);
/* The containers on an image; json: as members of an array, else as a line. */
void put_users(struct sink *s, const struct outcome *o, const struct roll *roll, size_t image, bool json);
void put_images(struct sink *s, const struct outcome *o, const struct roll *roll, const struct report_options *options);

/* console.c */
void put_findings(struct sink *s, const struct outcome *o, const struct roll *roll, const struct report_options *options);
/* What brings back what is lost, with every release: a layer whose snapshot is here is fetched by "content fetch", or comes with an
 * import, but a pull may take it for fetched. */
void put_pulls(struct sink *s, const struct outcome *o, const struct roll *roll, const struct report_options *options);
uint64_t count_harm(const struct plan *p, enum harm h);
void put_trusted(struct sink *s, const struct survey *survey);
/* A path below the root. */
void put_place(struct sink *s, const struct outcome *o, const char *what, const char *dir,
	const char *name);
size_t count_left(const struct apply_result *applied);
/* What this run read and compared, or the journal vouches for since somebody did. */
struct proved count_proved(const struct outcome *o);
/* A store is called clean only if all of it was proved. */
void put_proved(struct sink *s, const struct outcome *o);
/* Of a directory that is not in its place no database is to blame, and no copy of one helps. */
void put_halt(struct sink *s, const struct plan *p, bool wrote);

#endif
