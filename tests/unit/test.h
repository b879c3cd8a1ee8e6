/* SPDX-License-Identifier: MIT */
/* A unit test: functions that CHECK, and a main that RUNs them and returns test_failed != 0. Prints "ok - FILE TEST", or
 * what did not hold and "not ok - FILE TEST". A test that hangs is ended: after so much of the processor, or, where it waits for
 * ever, by an alarm that no loaded machine comes near to. */
#ifndef TEST_H
#define TEST_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#define TEST_SECONDS 300
#define TEST_ALARM_SECONDS 3600

static unsigned test_faults, test_failed;

static inline void test_check(bool holds, const char *file, int line, const char *what)
{
	if (!holds && test_faults++ < 5)
		printf("# %s:%d: %s\n", file, line, what);
}
#define CHECK(condition) test_check((condition), __FILE__, __LINE__, #condition)

static inline void test_run(const char *file, const char *name, void (*test)(void))
{
	const struct itimerval most = {.it_value = {.tv_sec = TEST_SECONDS}};
	(void)setitimer(ITIMER_PROF, &most, NULL); /* a valid time: cannot fail */
	alarm(TEST_ALARM_SECONDS);
	test_faults = 0;
	test();
	test_failed += test_faults != 0;
	printf("%sok - %s %s\n", test_faults ? "not " : "", file, name);
	fflush(stdout);
}
#define RUN(test) test_run(__FILE__, #test, test)

#endif
