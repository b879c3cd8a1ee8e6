/* SPDX-License-Identifier: MIT */
/* How far a run is: a line on a terminal, and a word to systemd. */
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "ground/os.h"
#include "tell/sink.h"

/* ---- progress ---- */

/* ns; systemd is told a few times in each window, which is long enough for a machine that stalls */
#define NOTIFY_PAUSE_NS 1000000000u
#define NOTIFY_WINDOW "120000000" /* us */

static void notify(struct progress_state *s, const struct progress *p, uint64_t now)
{
	char text[200];

	if (now - s->notified_ns < NOTIFY_PAUSE_NS)
		return;
	/* more time is asked for only while there is progress */
	const bool moved = s->notified_what != p->what || s->notified_bytes != p->done_bytes || !s->notified_ns;
	s->notified_ns = now;
	s->notified_what = p->what;
	s->notified_bytes = p->done_bytes;
	(void)print_to(text, sizeof(text), "STATUS=%s: %s of %s\n%s", p->what, size_text(p->done_bytes).text,
		size_text(p->total_bytes > p->done_bytes ? p->total_bytes : p->done_bytes).text,
		moved ? "EXTEND_TIMEOUT_USEC=" NOTIFY_WINDOW "\n" : ""); /* fits */
	os_notify(text);
}

void report_progress(void *self, const struct progress *p)
{
	struct progress_state *const s = self;
	const uint64_t now = os_clock_ns();
	const uint64_t pause = s->terminal ? 200000000u : 5000000000u;

	notify(s, p, now);

	if (s->options->quiet || (!s->terminal && !s->options->progress))
		return;
	if (s->what != p->what) {
		s->what = p->what;
		s->began_ns = now;
		s->last_ns = now;
		return; /* a pass that ends at once shows nothing */
	}
	if (now - s->last_ns < pause)
		return;
	s->last_ns = now;
	const uint64_t total = p->total_bytes > p->done_bytes ? p->total_bytes : p->done_bytes;
	const uint64_t elapsed_ms = (now - s->began_ns) / 1000000;
	const uint64_t rate = elapsed_ms ? p->done_bytes / elapsed_ms * 1000 : 0;
	const unsigned percent = (unsigned)(p->done_bytes / (total / 100 + 1)); /* what takes so long has many bytes */
	char text[160], left[48] = "";
	if (rate)
		(void)print_to(left, sizeof(left), ", %s/s, %llu s left", size_text(rate).text,
			(unsigned long long)((total - p->done_bytes) / rate)); /* fits */
	(void)print_to(text, sizeof(text), "%s%s: %u%%, %s of %s%s%s", s->terminal ? "\r\033[K" : "", p->what, percent,
		size_text(p->done_bytes).text, size_text(total).text, left, s->terminal ? "" : "\n"); /* fits */
	(void)os_put(STDERR_FILENO, text, strlen(text)); /* a console that is gone cannot be told so */
	s->shown = true;
}

void report_progress_end(struct progress_state *s)
{
	if (s->shown && s->terminal)
		(void)os_put(STDERR_FILENO, "\r\033[K", 4);
	s->shown = false;
}
