/* SPDX-License-Identifier: MIT */
/* The images of a report for a person: a table, by image, worst first. */
#include <string.h>

#include "ground/os.h"
#include "tell/sink.h"

#define SCREEN 80    /* columns */
#define NAME_MOST 40 /* of a column; what is longer moves the rest of its line */

/* What is equal is told once: CRI gives each image three names. */
struct called {
	size_t first, more; /* the first of those with its target and verdict, and how many more there are */
	size_t fetched_by;  /* the first of its target, whatever the verdict, that is no name by a config */
	struct span name;   /* without its registry, if that says which it is */
};

struct item {
	struct span name;
	const struct image *image;
	enum image_verdict verdict;
	size_t index;
};

/* What has a dot, a port, or is called so is a registry (distribution/reference v0.6.0: normalize.go: splitDockerDomain). */
static struct span without_registry(struct span name)
{
	const uint8_t *const slash = name.left ? memchr(name.at, '/', name.left) : NULL;
	const size_t length = slash ? (size_t)(slash - name.at) : 0;

	if (length && (memchr(name.at, '.', length) || memchr(name.at, ':', length) || span_is(span_of(name.at, length), "localhost")))
		return span_of(slash + 1, name.left - length - 1);
	return name;
}

static int by_name(const void *a, const void *b)
{
	const struct item *const x = a, *const y = b;
	const int order = span_compare(x->name, y->name);
	return order ? order : span_compare(x->image->name, y->image->name);
}

static int order_numbers(size_t a, size_t b)
{
	return (a > b) - (a < b);
}

static int compare_targets(const struct item *x, const struct item *y)
{
	int order = order_numbers(x->image->ns, y->image->ns);

	order = order ? order : order_numbers(x->image->target_known, y->image->target_known);
	return order || !x->image->target_known ? order : digest_compare(&x->image->target, &y->image->target);
}

static int by_target(const void *a, const void *b)
{
	const struct item *const x = a, *const y = b;
	int order = compare_targets(x, y);

	order = order ? order : order_numbers(x->verdict, y->verdict);
	return order ? order : order_numbers(x->index, y->index);
}

static void find_names(struct called *called, struct item *items, size_t count)
{
	size_t next;

	sort(items, count, sizeof(*items), by_name);
	for (size_t i = 0; i < count; i = next) {
		for (next = i + 1; next < count && span_equal(items[next].name, items[i].name);)
			next++;
		const bool one = span_equal(items[i].image->name, items[next - 1].image->name);
		for (; i < next; i++)
			called[items[i].index].name = one ? items[i].name : items[i].image->name;
	}
	sort(items, count, sizeof(*items), by_target);
	for (size_t i = 0, first = 0; i < count; i = next) {
		size_t fetched_by = STORE_NONE;
		for (next = i; next < count; next++) {
			if (next > i && (!items[i].image->target_known || compare_targets(&items[i], &items[next])))
				break;
			if (items[next].index < fetched_by && !image_is_named_by_config(items[next].image))
				fetched_by = items[next].index;
		}
		for (first = i; i < next; i++) {
			first = items[i].verdict == items[first].verdict ? first : i;
			called[items[i].index].first = items[first].index;
			called[items[i].index].fetched_by = fetched_by;
			called[items[first].index].more += i != first;
		}
	}
}

static size_t parent_of(const struct store *st, size_t at)
{
	const struct snapshot *const one = &st->snapshots[at];
	return one->parent.left ? store_find_snapshot(st, one->ns, one->parent) : STORE_NONE;
}

/* Each snapshot is passed twice at most. */
static void find_owners(struct roll *r, const struct store *st, size_t image, size_t top)
{
	for (size_t at = top; at != STORE_NONE && !r->shared[at]; at = parent_of(st, at)) {
		const struct image *const owner = r->owners[at] ? &st->images[r->owners[at] - 1] : NULL;
		if (owner && digest_equal(&owner->target, &st->images[image].target))
			return;
		r->shared[at] = owner;
		r->owners[at] = owner ? r->owners[at] : image + 1;
	}
}

/* Of a roll's users: a container, or, behind those, the snapshot of one of docker's, which has a record only while it runs. */
static struct container user_at(const struct store *st, size_t at)
{
	if (at < st->container_count)
		return st->containers[at];
	const struct snapshot *const s = &st->snapshots[at - st->container_count];
	return (struct container){.ns = s->ns, .id = s->key, .snapshot_key = s->key};
}

static bool is_docker(const struct store *st, size_t ns)
{
	return span_is(st->namespaces[ns].name, "moby");
}

static bool is_user(const struct store *st, size_t at)
{
	struct digest d;

	if (at < st->container_count)
		return !is_docker(st, st->containers[at].ns);
	const struct snapshot *const s = &st->snapshots[at - st->container_count];
	return is_docker(st, s->ns) && digest_parse_hex(DIGEST_SHA256, s->key, &d) == RC_OK;
}

static void find_users(struct roll *r, const struct store *st, const struct plan *p, size_t *by_top)
{
	for (size_t i = st->image_count; i-- > 0;)
		if (p->images[i].top < st->snapshot_count)
			by_top[p->images[i].top] = i + 1;
	for (size_t i = st->container_count + st->snapshot_count; i-- > 0;) {
		if (!is_user(st, i))
			continue;
		/* by the snapshot that it writes to, which docker puts on one more; else by a name, which may be another's by now */
		const struct container c = user_at(st, i);
		size_t image = STORE_NONE;
		size_t at = store_find_snapshot(st, c.ns, c.snapshot_key);
		for (unsigned k = 0; image == STORE_NONE && at != STORE_NONE && k < 3; k++) {
			image = by_top[at] - 1;
			at = parent_of(st, at);
		}
		if (image == STORE_NONE && c.image.left)
			image = store_find_image(st, c.ns, c.image);
		if (image == STORE_NONE)
			continue;
		size_t *const first = &r->user[r->called[image].first];
		r->next_user[i] = *first;
		*first = i + 1;
	}
}

struct roll roll_make(const struct outcome *o)
{
	const struct store *const st = o->store;
	if (!st->keep || o->survey->halted || o->survey->interrupted) /* then nothing is known of images */
		return (struct roll){0};
	struct arena a = *st->keep;
	struct roll r = {.called = arena_array(&a, st->image_count + 1, sizeof(*r.called)),
		.owners = arena_array(&a, st->snapshot_count + 1, sizeof(*r.owners)),
		.shared = arena_array(&a, st->snapshot_count + 1, sizeof(bool)),
		.user = arena_array(&a, st->image_count + 1, sizeof(*r.user)),
		.next_user = arena_array(&a, st->container_count + st->snapshot_count + 1, sizeof(*r.next_user))};
	struct item *const items = arena_array(&a, st->image_count + 1, sizeof(*items));
	size_t *const by_top = arena_array(&a, st->snapshot_count + 1, sizeof(*by_top));

	if (!r.called || !r.owners || !r.shared || !r.user || !r.next_user || !items || !by_top)
		return (struct roll){0};
	for (size_t i = 0; i < st->image_count; i++) {
		const struct image *const image = &st->images[i];
		const size_t top = o->plan->images[i].top;
		items[i] = (struct item){without_registry(image->name), image, o->plan->images[i].verdict, i};
		if (top < st->snapshot_count)
			find_owners(&r, st, i, top);
	}
	find_names(r.called, items, st->image_count);
	find_users(&r, st, o->plan, by_top);
	r.rest = a;
	return r;
}

bool roll_is_first(const struct roll *r, size_t image)
{
	return !r->called || r->called[image].fetched_by == image;
}

struct holder roll_holder(const struct roll *r, const struct outcome *o, const struct finding *f)
{
	const struct store *const st = o->store;
	const size_t at = f->subject == SUBJECT_SNAPSHOT  ? f->index
			  : f->subject == SUBJECT_BACKEND ? st->backends[f->index].snapshot
							  : STORE_NONE;

	return r->owners && at < st->snapshot_count && r->owners[at]
		       ? (struct holder){r->called[r->owners[at] - 1].name, st->images[r->owners[at] - 1].name, r->shared[at]}
		       : (struct holder){0};
}

/* ---- the table ---- */

struct row {
	char cells[3][200]; /* image, namespace, lost */
};

static void fill(struct row *row, const struct outcome *o, const struct roll *r, size_t i)
{
	const struct store *const st = o->store;
	const struct image_state *const state = &o->plan->images[i];

	(void)escape(row->cells[0], sizeof(row->cells[0]), r->called ? r->called[i].name : st->images[i].name); /* cut, still a name */
	(void)escape(row->cells[1], sizeof(row->cells[1]), st->namespaces[st->images[i].ns].name);
	(void)print_to(row->cells[2], sizeof(row->cells[2]), state->lost_entries ? "%llu %s, %s" : "-",
		(unsigned long long)state->lost_entries, plural(state->lost_entries, "entry", "entries"),
		size_text(state->lost_bytes).text); /* fits */
}

/* Returns its columns. */
static size_t put_row(struct sink *s, const struct row *row, const size_t *widths)
{
	size_t used = 2;

	puts_to(s, "  ");
	for (unsigned i = 0; i < 3; i++) {
		size_t n = strlen(row->cells[i]);
		puts_to(s, row->cells[i]);
		do {
			put(s, " ", 1);
		} while (++n < widths[i] + 2);
		used += n;
	}
	return used;
}

static bool is_listed(const struct outcome *o, const struct roll *r, size_t i, bool all)
{
	const struct image_state *const state = &o->plan->images[i];

	/* layers that are not kept are no news of each */
	return all || ((!r->called || r->called[i].first == i) &&
			      (state->verdict != IMAGE_IS_WHOLE || (state->why && state->damaged)));
}

/* What is known of it, behind its row; where the line is full, below. */
static void put_state(struct sink *s, const struct outcome *o, const struct image_state *state, size_t used, size_t more, bool colour)
{
	static const char colours[][8] = {"", "\33[32m", "\33[31m", "\33[33m"}; /* none, green, red, yellow */
	static const char words[2][4][16] = {{"whole", "repairable", "must be pulled", "not verified"},
		{"whole", "healed", "must be pulled", "not verified"}};
	static const char local[] = "its local layers";
	const char *const word = words[o->applied != NULL][state->verdict];
	const bool usual = state->verdict == IMAGE_IS_HEALED && state->why && strncmp(state->why, local, sizeof(local) - 1) == 0;

	const bool coloured = colour && state->verdict != IMAGE_IS_WHOLE;
	puts_to(s, coloured ? colours[state->verdict] : "");
	puts_to(s, word);
	puts_to(s, coloured ? "\33[m" : "");
	if (usual)
		puts_to(s, " from its layers");
	else if (state->why)
		puts_to(s, used + strlen(word) + 2 + strlen(state->why) > SCREEN ? ":\n      " : ": ");
	if (!usual && state->why)
		put_sentence(s, state->why);
	puts_to(s, "\n");
	if (more)
		putf(s, "      and %zu more %s of it\n", more, plural(more, "name", "names"));
}

#define USERS_LISTED 3
#define ID_DIGITS 12 /* as docker ps shows it */

void put_users(struct sink *s, const struct outcome *o, const struct roll *roll, size_t image, bool json)
{
	const struct store *const st = o->store;
	char ns[300], name[1024], text[1400];
	size_t n = 0;

	s->folds = !json;
	for (size_t at = roll->user ? roll->user[image] : 0; at; at = roll->next_user[at - 1], n++) {
		struct container c = user_at(st, at - 1);
		struct arena a = roll->rest;
		if (!json && n >= USERS_LISTED)
			continue;
		if (!c.name.left && is_docker(st, c.ns))
			c.name = store_docker_name(st, c.id, &a);
		if (!c.name.left)
			c.name = json || c.id.left <= ID_DIGITS ? c.id : span_sub(&c.id, ID_DIGITS);
		(void)escape(ns, sizeof(ns), c.pod_ns); /* cut, they are still names */
		(void)escape(name, sizeof(name), c.name);
		(void)print_to(text, sizeof(text), *ns ? "pod %s/%s" : "container %s%s", ns, name);
		puts_to(s, n ? ", " : json ? "" : "      used by ");
		(json ? put_json_text : puts_to)(s, text);
	}
	if (!json && n > USERS_LISTED)
		putf(s, ", and %zu more", n - USERS_LISTED);
	puts_to(s, n && !json ? "\n" : "");
	s->folds = false;
}

void put_images(struct sink *s, const struct outcome *o, const struct roll *roll, const struct report_options *options)
{
	/* what somebody has to do something for comes first */
	static const enum image_verdict worst_first[] = {IMAGE_NEEDS_PULL, IMAGE_IS_UNVERIFIED, IMAGE_IS_HEALED, IMAGE_IS_WHOLE};
	static const struct row head = {{"IMAGE", "NAMESPACE", "LOST"}};
	const struct store *const st = o->store;
	size_t counts[4] = {0}, widths[3] = {5, 9, 4};
	bool any = false;
	struct row row;

	if (st->image_count == 0)
		return;
	for (size_t i = 0; i < st->image_count; i++) {
		counts[o->plan->images[i].verdict]++;
		if (!is_listed(o, roll, i, options->verbose))
			continue;
		any = true;
		fill(&row, o, roll, i);
		for (unsigned k = 0; k < 3; k++) {
			const size_t n = strlen(row.cells[k]);
			widths[k] = n > widths[k] && n <= NAME_MOST ? n : widths[k];
		}
	}
	putf(s, "images: %zu, %zu whole, %zu %s, %zu must be pulled, %zu not verified\n", st->image_count, counts[0], counts[1],
		o->applied ? "healed" : "damaged and repairable", counts[2], counts[3]);
	if (!any)
		return;
	(void)put_row(s, &head, widths);
	puts_to(s, "STATE\n");
	for (size_t n = 0; n < 4 * st->image_count; n++) {
		const size_t i = n % st->image_count;
		const struct image_state *const state = &o->plan->images[i];
		if (state->verdict != worst_first[n / st->image_count] || !is_listed(o, roll, i, options->verbose))
			continue;
		fill(&row, o, roll, i);
		put_state(s, o, state, put_row(s, &row, widths), options->verbose || !roll->called ? 0 : roll->called[i].more,
			options->colour);
		if (state->verdict != IMAGE_IS_WHOLE)
			put_users(s, o, roll, i, false);
	}
}
