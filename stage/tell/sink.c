/* SPDX-License-Identifier: MIT */
/* Where text goes: a stream, the kernel's log or systemd's, escaped. */
#include <stdarg.h>
#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "tell/sink.h"

/* ---- where text goes ---- */

void sink_flush(struct sink *s)
{
	if (s->rc == RC_OK && s->used && !s->out) {
		s->rc = os_write(s->fd, s->off, s->buf, s->used, s->e);
		s->off += s->used;
	} else if (s->rc == RC_OK && s->used && !os_put(s->out, s->buf, s->used)) {
		s->rc = fail(s->e, RC_IO, "write the report");
	}
	s->used = 0;
}

static void put_raw(struct sink *s, const char *text, size_t n)
{
	while (n) {
		const size_t room = sizeof(s->buf) - s->used;
		const size_t step = n < room ? n : room;
		memcpy(s->buf + s->used, text, step);
		s->used += step;
		text += step;
		n -= step;
		if (s->used == sizeof(s->buf))
			sink_flush(s);
	}
}

static void end_log_line(struct sink *s)
{
	s->line[s->line_used] = 0;
	if (s->lines < REPORT_LOG_LINES)
		os_kernel_log(s->priority, s->line);
	else if (s->lines == REPORT_LOG_LINES)
		os_kernel_log(s->priority, "and more: see " STORE_OWN_DIR "/report.json");
	s->lines++;
	s->line_used = 0;
}

/* One line of n bytes, its newline included if it has one. */
static void log_line(struct sink *s, const char *text, size_t n)
{
	const bool ends = text[n - 1] == '\n';

	if (s->log == REPORT_JOURNAL && !s->in_line) {
		const char prefix[] = {'<', (char)('0' + s->priority), '>'};
		put_raw(s, prefix, sizeof(prefix));
	}
	s->in_line = !ends;
	if (s->log != REPORT_KERNEL_LOG)
		return;
	const size_t room = sizeof(s->line) - 1 - s->line_used, step = n - ends < room ? n - ends : room;
	memcpy(s->line + s->line_used, text, step);
	s->line_used += step;
	if (ends)
		end_log_line(s);
}

static void put_listed(struct sink *s, char c)
{
	if (!s->in_line && s->lines++)
		put_raw(s, ",", 1);
	if (!s->in_line)
		put_raw(s, "\"", 1);
	s->in_line = c != '\n';
	if (c == '"' || c == '\\')
		put_raw(s, "\\", 1);
	put_raw(s, c == '\n' ? "\"" : &c, 1);
}

#define FOLD_INDENT 8

/* A word and the spaces before it, in this line or at the beginning of the next. */
static void put_folded_word(struct sink *s)
{
	size_t blanks = 0, cells = 0;

	while (blanks < s->line_used && s->line[blanks] == ' ')
		blanks++;
	for (size_t i = blanks; i < s->line_used; i++)
		cells += ((unsigned char)s->line[i] & 0xc0) != 0x80; /* UTF-8 */
	if (s->column > FOLD_INDENT && s->column + blanks + cells > s->width) {
		put_raw(s, "\n        ", FOLD_INDENT + 1);
		s->column = FOLD_INDENT;
	} else {
		put_raw(s, s->line, blanks);
		s->column += blanks;
	}
	put_raw(s, s->line + blanks, s->line_used - blanks);
	s->column += cells;
	s->line_used = 0;
}

static void put_folded(struct sink *s, char c)
{
	const bool ends = s->line_used && (c == '\n' || (c == ' ' && s->line[s->line_used - 1] != ' '));

	if (ends || s->line_used == sizeof(s->line))
		put_folded_word(s);
	if (c != '\n') {
		s->line[s->line_used++] = c;
		return;
	}
	put_raw(s, &c, 1);
	s->column = 0;
}

void put(struct sink *s, const char *text, size_t n)
{
	for (; n && s->folds && s->width; n--)
		put_folded(s, *text++);
	for (; n && s->listing; n--)
		put_listed(s, *text++);
	while (n && s->log != REPORT_NO_LOG) {
		const char *const end = memchr(text, '\n', n);
		const size_t one = end ? (size_t)(end - text) + 1 : n;
		log_line(s, text, one);
		put_raw(s, text, one);
		text += one;
		n -= one;
	}
	put_raw(s, text, n);
}

void puts_to(struct sink *s, const char *text)
{
	put(s, text, strlen(text));
}

void putf(struct sink *s, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	va_start(arguments, format);
	const int n = print_to_v(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (n > 0)
		put(s, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

/* The text made safe for a console by escape or its like; one that is cut to most - 1 bytes is still one. */
static void put_safe(struct sink *s, size_t (*make_safe)(char *, size_t, struct span), struct span raw, size_t most,
	void (*put_text)(struct sink *, const char *))
{
	char text[4096];

	(void)make_safe(text, most < sizeof(text) ? most : sizeof(text), raw); /* cut, see above */
	put_text(s, text);
}

void put_escaped(struct sink *s, struct span raw)
{
	put_safe(s, escape, raw, 1024, puts_to);
}

void put_sentence(struct sink *s, const char *sentence)
{
	put_safe(s, escape_sentence, span_of_string(sentence), SIZE_MAX, puts_to);
}

void put_word(struct sink *s, struct span raw)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@+,=";
	char text[1024];

	(void)escape(text, sizeof(text), raw); /* a cut name is still a name */
	if (*text && *text != '-' && text[strspn(text, plain)] == 0) {
		puts_to(s, text);
		return;
	}
	put(s, "'", 1);
	for (const char *c = text; *c; c++)
		put(s, *c == '\'' ? "'\\''" : c, *c == '\'' ? 4 : 1);
	put(s, "'", 1);
}

void put_json_text(struct sink *s, const char *text)
{
	put(s, "\"", 1);
	for (const char *c = text; *c; c++) {
		if (*c == '\\' || *c == '"')
			put(s, "\\", 1);
		put(s, c, 1);
	}
	put(s, "\"", 1);
}

void put_json_string(struct sink *s, struct span raw)
{
	put_safe(s, escape, raw, SIZE_MAX, put_json_text);
}

void put_json_sentence(struct sink *s, const char *sentence)
{
	put_safe(s, escape_sentence, span_of_string(sentence), SIZE_MAX, put_json_text);
}
