/* Threads that share out the pieces of a piece of work, on a machine that may be busy with other things.
 *
 * A decode step is a hundred phases of a few microseconds, and each needs the results of the one before. Each thread
 * has a fixed share of a phase, so that a core finds the same weights in its cache at every step. All of them wait for
 * one that the system has taken off its core, so there are no more threads than cores that are free, counted every few
 * milliseconds. A wait spins for a while, then sleeps.
 *
 * Each calling thread has helpers of its own. They end with it. A forked process starts without any.
 */

#ifndef MUSICLM_THREADS_H
#define MUSICLM_THREADS_H

#include <stdint.h>

#define MOST_PIECES 1023 /* of one phase */

typedef struct Team Team;

/* One of so many pieces. */
typedef struct {
    int64_t number, of;
} Piece;

/* Does one piece of a part of a job. `member` is 0 ... threads - 1: no two threads have the same one at a time. */
typedef void Work(const void *job, int64_t part, Piece piece, int member);

#pragma GCC visibility push(hidden)

/* The calling thread's team: up to `threads` threads, the caller among them; fewer where there are none to be had,
 * or where the machine is busy. NULL: the caller alone. It is ready for any number of calls of share_out. */
Team *gather(int64_t threads);

/* Fits the team to how busy the machine is: between two calls of share_out. It costs less than a microsecond. */
void regroup(Team *team);

/* How many threads the team has for now. */
int members_of(const Team *team);

/* Does a part of a job in `pieces` pieces (at most MOST_PIECES), each once; returns when all of them are done. A job
 * of many parts had better stay as it is meanwhile: what is written to reaches other cores late. */
void share_out(Team *team, Work *work, const void *job, int64_t part, int64_t pieces);

#pragma GCC visibility pop

#endif
