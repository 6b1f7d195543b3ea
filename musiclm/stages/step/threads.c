#ifdef __linux__
#define _GNU_SOURCE /* RUSAGE_THREAD */
#endif

#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MOST 256             /* threads of a team */
#define CACHE_LINE 128       /* bytes; what two threads write often does not share one */
#define GRACE 1000           /* looks, about a microsecond, until a thread takes over what others have not begun */
#define CALLER_SPINS 50000   /* nanoseconds that the caller waits awake for a piece to be done, */
#define HELPER_SPINS 3000000 /* and a helper for the next phase: longer than Python needs between two steps */
#define OFTEN 1000000        /* nanoseconds between two looks at whether the team has the right size */
#define LOSS 1000000         /* nanoseconds: shorter interruptions cost less than working alone */
#define SHORTEST 1000000     /* nanoseconds until a team that was made smaller grows again, where that lasted, */
#define LONGEST 1000000000   /* and where it did not again and again */
#define QUIET 10000000       /* nanoseconds of the caller's own work; longer than a time slice beside others */

/* A phase and what is left of a member's share are one number each, so that both change in one instruction. */
#define PACKED(NUMBER, HIGH, LOW) ((uint64_t)(NUMBER) << 20 | (uint64_t)(HIGH) << 10 | (uint64_t)(LOW))
#define NUMBER(WORD) ((WORD) >> 20)
#define HIGH(WORD) ((int64_t)((WORD) >> 10 & 1023))
#define LOW(WORD) ((int64_t)((WORD)&1023))

typedef struct {
    _Alignas(CACHE_LINE) _Atomic uint64_t share; /* phase, first piece not begun, end of them */
    int asleep;                                  /* under the team's lock */
    pthread_cond_t bell;
} Member;

/* What the calling thread has had of the machine. */
typedef struct {
    int64_t time;          /* on a core, in nanoseconds */
    int64_t interruptions; /* times that the system took it off its core for another one */
} Use;

struct Team {
    _Alignas(CACHE_LINE) _Atomic uint64_t phase; /* its number, pieces, members */
    Work *work;                                  /* of the phase, valid for who has claimed a piece of it; */
    const void *job;                             /* in the same line of the cache, which helpers wait for */
    int64_t part;
    _Alignas(CACHE_LINE) _Atomic int64_t done; /* pieces, by helpers, of all phases */
    _Alignas(CACHE_LINE) pthread_mutex_t lock;
    atomic_int sleepers; /* helpers */
    atomic_int caller_sleeps;
    pthread_cond_t finished;
    atomic_int leaving; /* the calling thread has ended */
    atomic_int users;   /* threads that still use this memory */
    /* Of the caller alone. */
    _Alignas(CACHE_LINE) int64_t expected; /* what `done` will be when the phase is over */
    int threads;                           /* that exist, the caller among them */
    int wanted;                            /* members, if the machine has room for them */
    int members;                           /* at present */
    int punctual;                          /* whether helpers did their shares of the last phase themselves */
    int size;                              /* most members that the machine seems to have room for */
    int grew;                              /* whether its last change made it larger */
    int slept;                             /* whether the caller has slept since the last look at the size */
    int64_t looked, changed;               /* nanoseconds, of the last look at the size and of its last change */
    int64_t patience;                      /* nanoseconds from the last change until the team grows */
    Use used, when_changed;                /* of the machine, until the last look and the last change */
    Member member[MOST];
};

typedef struct {
    Team *team;
    int member;
} Place;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* of the calling thread's team */

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory"); /* about as long; `yield` returns at once on most of them */
#endif
}

/* ---- Claiming --------------------------------------------------------------------------------------------- */

/* A piece of an owner's share of the phase that nobody else does: the next one of the member's own share, or the last
 * one of another's; -1 where none is left. The phase cannot end before a claimed piece is done. */
static int64_t claim(Team *team, uint64_t phase, uint32_t owner, int own) {
    uint32_t pieces = HIGH(phase), members = LOW(phase);
    uint32_t first = pieces * owner / members, end = pieces * (owner + 1) / members;
    uint64_t share = atomic_load_explicit(&team->member[owner].share, memory_order_relaxed);
    while (first < end) {
        uint32_t next = first, last = end;
        if (NUMBER(share) == NUMBER(phase))
            next = HIGH(share), last = LOW(share);
        else if ((int64_t)((NUMBER(share) - NUMBER(phase)) << 20) > 0)
            break; /* the share is of a later phase: this one is over */
        if (next == last) break;
        uint32_t piece = own ? next++ : --last;
        uint64_t left = PACKED(NUMBER(phase), next, last);
        if (atomic_compare_exchange_weak(&team->member[owner].share, &share, left)) return piece;
    }
    return -1;
}

/* Does what is left of an owner's share of the phase; the number of pieces done. */
static int64_t take_over(Team *team, uint64_t phase, int member, int owner) {
    int64_t count = 0, piece;
    while ((piece = claim(team, phase, owner, member == owner)) >= 0) {
        team->work(team->job, team->part, (Piece){piece, HIGH(phase)}, member);
        count++;
    }
    return count;
}

/* ---- Helpers ---------------------------------------------------------------------------------------------- */

static void leave(Team *team) {
    if (atomic_fetch_sub(&team->users, 1) == 1) free(team);
}

/* Whether there is something to do for a helper that has seen the phase `seen`. */
static inline int called(Team *team, uint64_t seen, int member) {
    uint64_t phase = atomic_load(&team->phase);
    return (phase != seen && member < LOW(phase)) || atomic_load_explicit(&team->leaving, memory_order_relaxed);
}

static void await_phase(Team *team, uint64_t seen, int member) {
    int64_t began = 0, now = 0;
    for (; now <= began + HELPER_SPINS; now = nanoseconds()) {
        for (int n = 0; n < 64; n++) {
            if (called(team, seen, member)) return;
            pause_briefly();
        }
        if (!began) began = nanoseconds();
        if (now > began + CALLER_SPINS) sched_yield(); /* between steps, to torch's threads among others */
    }
    Member *own = &team->member[member];
    pthread_mutex_lock(&team->lock);
    own->asleep = 1;
    atomic_fetch_add(&team->sleepers, 1); /* before looking once more: who calls looks at it after calling */
    while (own->asleep && !called(team, seen, member)) pthread_cond_wait(&own->bell, &team->lock);
    own->asleep = 0;
    atomic_fetch_sub(&team->sleepers, 1);
    pthread_mutex_unlock(&team->lock);
}

/* Whether the next phase begins before it is worth while to look at the shares of others. */
static int comes_soon(Team *team, uint64_t seen, int member) {
    for (int looks = 0; looks < GRACE; looks++)
        if (called(team, seen, member)) return 1;
    return 0;
}

/* Tells the caller of pieces that are done. */
static void report(Team *team, int64_t count) {
    atomic_fetch_add(&team->done, count);
    if (!atomic_load(&team->caller_sleeps)) return;
    pthread_mutex_lock(&team->lock);
    pthread_cond_signal(&team->finished);
    pthread_mutex_unlock(&team->lock);
}

static void *help(void *argument) {
    Place place = *(Place *)argument;
    free(argument);
    Team *team = place.team;
    for (uint64_t seen = 0;;) {
        await_phase(team, seen, place.member);
        if (atomic_load(&team->leaving)) break;
        uint64_t phase = atomic_load(&team->phase);
        seen = phase;
        int members = LOW(phase);
        if (place.member >= members) continue;
        for (int n = 0; n < members; n++) {
            if (n == 1 && comes_soon(team, seen, place.member)) break;
            int64_t count = take_over(team, phase, place.member, (place.member + n) % members);
            if (count) report(team, count);
        }
    }
    leave(team);
    return NULL;
}

/* Wakes the helpers that sleep, up to a number of members. */
static void wake(Team *team, int members) {
    pthread_mutex_lock(&team->lock);
    for (int member = 1; member < members; member++)
        if (team->member[member].asleep) {
            team->member[member].asleep = 0;
            pthread_cond_signal(&team->member[member].bell);
        }
    pthread_mutex_unlock(&team->lock);
}

/* Starts one more helper; whether there is one. */
static int hire(Team *team) {
    Place *place = malloc(sizeof *place);
    if (!place) return 0;
    *place = (Place){team, team->threads};
    pthread_t thread;
    sigset_t all, before; /* signals are for the threads of the program */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_fetch_add(&team->users, 1);
    int failed = pthread_create(&thread, NULL, help, place);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        atomic_fetch_sub(&team->users, 1);
        free(place);
        return 0;
    }
    pthread_detach(thread);
    team->threads++;
    return 1;
}

/* ---- Teams ------------------------------------------------------------------------------------------------ */

/* When the calling thread ends: its helpers do as well. */
static void dissolve(void *team_of_thread) {
    Team *team = team_of_thread;
    atomic_store(&team->leaving, 1);
    wake(team, team->threads);
    leave(team);
}

/* In a forked process there are no helpers, whatever the team says; its memory is given up. */
static void forget(void) { pthread_setspecific(key, NULL); }

static void prepare(void) {
    pthread_key_create(&key, dissolve);
    pthread_atfork(NULL, NULL, forget);
}

static Team *own_team(void) {
    pthread_once(&once, prepare);
    Team *team = pthread_getspecific(key);
    if (team) return team;
    void *memory;
    if (posix_memalign(&memory, CACHE_LINE, sizeof *team)) return NULL;
    team = memory;
    memset(team, 0, sizeof *team);
    team->threads = 1;
    team->size = MOST;
    team->patience = SHORTEST;
    atomic_store(&team->users, 1);
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->finished, NULL);
    for (int member = 0; member < MOST; member++) pthread_cond_init(&team->member[member].bell, NULL);
    pthread_setspecific(key, team);
    return team;
}

static Use use_of_machine(void) {
    Use use = {0, 0};
#ifdef RUSAGE_THREAD
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) == 0) {
        int64_t microseconds = usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
        use.time = (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 + microseconds * 1000;
        use.interruptions = usage.ru_nivcsw;
    }
#else /* that the caller itself was interrupted will not be seen, only that it slept */
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    use.time = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
#endif
    return use;
}

/* Looks whether the team has the right size. It becomes smaller where the caller was interrupted at its work: then
 * there are more threads on the machine than cores, and each time that the caller wakes a helper or waits for one,
 * it may lose its own core for milliseconds. From time to time the team grows by one again; where that does not last,
 * it takes longer until the next time. */
static void look(Team *team, int64_t now, int worked) {
    Use use = use_of_machine();
    int quiet = use.time - team->when_changed.time > QUIET;
    int size = team->size;
    int64_t lost = now - team->looked - (use.time - team->used.time);
    int interrupted = team->slept || use.interruptions != team->used.interruptions;
    if (worked && team->members > 1 && interrupted && lost > LOSS) {
        int64_t longer = 4 * team->patience < LONGEST ? 4 * team->patience : LONGEST;
        team->patience = quiet ? SHORTEST : longer;
        size = team->members - 1;
    } else if (team->size < team->wanted && now - team->changed > team->patience) {
        if (team->grew && quiet) team->patience = SHORTEST;
        size++;
    }
    if (size != team->size) {
        team->grew = size > team->size;
        team->size = size;
        team->changed = now;
        team->when_changed = use;
    }
    team->slept = 0;
    team->used = use;
    team->looked = now;
}

static void look_from_time_to_time(Team *team, int worked) {
    int64_t now = nanoseconds();
    if (now - team->looked > OFTEN) look(team, now, worked);
    team->members = team->size < team->wanted ? team->size : team->wanted;
}

void regroup(Team *team) {
    if (team) look_from_time_to_time(team, 1);
}

Team *gather(int64_t threads) {
    Team *team = threads > 1 ? own_team() : NULL;
    if (!team) return NULL;
    if (threads > MOST) threads = MOST;
    while (team->threads < threads && hire(team)) continue;
    team->wanted = team->threads < threads ? team->threads : (int)threads;
    look_from_time_to_time(team, 0); /* what was before is no work: the caller may have slept */
    return team;
}

int members_of(const Team *team) { return team ? team->members : 1; }

static inline int finished(Team *team) { return atomic_load(&team->done) == team->expected; }

static int is_finished_soon(Team *team) {
    for (int looks = 0; looks < GRACE; looks++)
        if (finished(team)) return 1;
    return 0;
}

/* Until helpers have done all that they began. */
static void await_helpers(Team *team) {
    int64_t began = 0, now = 0;
    for (; now <= began + CALLER_SPINS; now = nanoseconds()) {
        for (int n = 0; n < 64; n++) {
            if (finished(team)) return;
            pause_briefly();
        }
        if (!began) began = nanoseconds();
    }
    pthread_mutex_lock(&team->lock);
    atomic_store(&team->caller_sleeps, 1);
    while (!finished(team)) pthread_cond_wait(&team->finished, &team->lock);
    atomic_store(&team->caller_sleeps, 0);
    pthread_mutex_unlock(&team->lock);
    team->slept = 1;
}

void share_out(Team *team, Work *work, const void *job, int64_t part, int64_t pieces) {
    if (members_of(team) == 1 || pieces == 1) {
        for (int64_t piece = 0; piece < pieces; piece++) work(job, part, (Piece){piece, pieces}, 0);
        return;
    }
    int members = team->members;
    uint64_t phase = PACKED(NUMBER(atomic_load_explicit(&team->phase, memory_order_relaxed)) + 1, pieces, members);
    team->work = work;
    team->job = job;
    team->part = part;
    team->expected += pieces;
    atomic_store_explicit(&team->phase, phase, memory_order_release); /* from now on helpers take part */
    /* A helper that goes to sleep right now may not be seen. Then it sleeps through this phase, and nobody waits. */
    if (atomic_load_explicit(&team->sleepers, memory_order_relaxed)) wake(team, members);
    team->expected -= take_over(team, phase, 0, 0);
    if (team->punctual && is_finished_soon(team)) return;
    team->punctual = 1;
    for (int owner = 1; owner < members && !finished(team); owner++) {
        int64_t count = take_over(team, phase, 0, owner);
        if (count) team->punctual = 0;
        team->expected -= count;
    }
    await_helpers(team);
}
