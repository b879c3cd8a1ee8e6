/* SPDX-License-Identifier: MIT */
#include "ground/threads.h"

#include "ground/os.h"
#include "test.h"

#define THREADS 8
#define TURNS 20000u

static struct {
	struct lock lock;
	unsigned count, turn;
	bool inside, two_inside;
} shared;

static void *count_up(void *self)
{
	(void)self;
	for (unsigned i = 0; i < TURNS; i++) {
		lock_take(&shared.lock);
		shared.two_inside |= shared.inside;
		shared.inside = true;
		shared.count++;
		shared.inside = false;
		lock_give(&shared.lock);
	}
	return NULL;
}

static void one_at_a_time(void)
{
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		CHECK(thread_begin(&threads[i], count_up, NULL));
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(shared.count == THREADS * TURNS && !shared.two_inside);
	CHECK(shared.lock.held == 0);
}

/* Each waits for the other's turn: a wake-up that is lost is a test that hangs. */
static void *take_turns(void *self)
{
	const unsigned mine = self ? 1 : 0;

	for (unsigned i = 0; i < TURNS; i++) {
		lock_take(&shared.lock);
		while (shared.turn % 2 != mine)
			lock_wait(&shared.lock, -1);
		shared.turn++;
		lock_tell(&shared.lock);
		lock_give(&shared.lock);
	}
	return NULL;
}

static void nobody_is_forgotten(void)
{
	pthread_t other;

	CHECK(thread_begin(&other, take_turns, &other));
	(void)take_turns(NULL);
	CHECK(pthread_join(other, NULL) == 0);
	CHECK(shared.turn == 2 * TURNS);
}

static void a_wait_ends_by_itself(void)
{
	const uint64_t before = os_clock_ns();

	lock_take(&shared.lock);
	lock_wait(&shared.lock, 20);
	CHECK(shared.lock.held == 1);
	lock_give(&shared.lock);
	CHECK(os_clock_ns() - before >= 20000000u);
}

int main(void)
{
	RUN(one_at_a_time);
	RUN(nobody_is_forgotten);
	RUN(a_wait_ends_by_itself);
	return test_failed != 0;
}
