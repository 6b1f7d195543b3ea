#include "threads.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST 256             /* threads of a team */
#define CACHE_LINE 128       /* bytes; what two threads write often does not share one */
#define CALLER_SPINS 50000   /* nanoseconds that the caller waits awake for a piece to be done, */
#define HELPER_SPINS 3000000 /* and a helper for the next phase: longer than Python needs between two steps */
#define OFTEN 2000000        /* nanoseconds between two looks at how many cores are free */

/* The number of a phase and its members are one number, so that both change in one instruction. */
#define PACKED(NUMBER, MEMBERS) ((uint64_t)(NUMBER) << 10 | (uint64_t)(MEMBERS))
#define NUMBER(WORD) ((WORD) >> 10)
#define MEMBERS(WORD) ((int)((WORD)&1023))

typedef struct {
    int asleep; /* under the team's lock */
    pthread_cond_t bell;
} Member;

struct Team {
    _Alignas(CACHE_LINE) _Atomic uint64_t phase; /* its number and members */
    Work *work;                                  /* of the phase, valid for its members; */
    const void *job;                             /* in the same line of the cache, which helpers wait for */
    int64_t part, pieces;
    _Alignas(CACHE_LINE) _Atomic int64_t done; /* shares, by helpers, of all phases */
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
    int room;                              /* cores that other tasks leave to the team; at least 1 */
    int others;                            /* tasks of others that wanted a core at the last look */
    int64_t looked;                        /* nanoseconds, of the last look */
    Member member[MOST];
};

typedef struct {
    Team *team;
    int member;
} Place;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* of the calling thread's team */
static int cores;         /* of the machine */

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

/* ---- Helpers ---------------------------------------------------------------------------------------------- */

static void leave(Team *team) {
    if (atomic_fetch_sub(&team->users, 1) == 1) free(team);
}

/* Whether there is something to do for a helper that has seen the phase `seen`. */
static inline int called(Team *team, uint64_t seen, int member) {
    uint64_t phase = atomic_load(&team->phase);
    return (phase != seen && member < MEMBERS(phase)) || atomic_load_explicit(&team->leaving, memory_order_relaxed);
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

/* Does a member's share of the phase. */
static void do_share(const Team *team, int member, int members) {
    int64_t end = team->pieces * (member + 1) / members;
    for (int64_t piece = team->pieces * member / members; piece < end; piece++)
        team->work(team->job, team->part, (Piece){piece, team->pieces}, member);
}

/* Tells the caller of a share that is done. */
static void report(Team *team) {
    atomic_fetch_add(&team->done, 1);
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
        seen = atomic_load(&team->phase);
        if (place.member >= MEMBERS(seen)) continue;
        do_share(team, place.member, MEMBERS(seen));
        report(team);
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
    cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
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
    team->room = cores;
    atomic_store(&team->users, 1);
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->finished, NULL);
    for (int member = 0; member < MOST; member++) pthread_cond_init(&team->member[member].bell, NULL);
    pthread_setspecific(key, team);
    return team;
}

/* Tasks of the whole machine that run or wait for a core, without the team's own: the fourth number of /proc/loadavg.
 * 0 where a system has no such file. */
static int others_running(Team *team) {
    char text[64];
    int file = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    const char *place = text;
    for (int n = 0; n < 3; n++) {
        place = strchr(place, ' ');
        if (!place++) return 0;
    }
    int others = atoi(place) - (team->threads - atomic_load_explicit(&team->sleepers, memory_order_relaxed));
    return others > 0 ? others : 0;
}

/* A team has no more members than there are cores that others leave to it: where it had, it would wait for a member
 * that is off its core, for milliseconds, a hundred times a step. What wants a core at two looks counts; what does at
 * one of them, torch's threads after their work among others, will soon have ended. */
void regroup(Team *team) {
    if (!team) return;
    int64_t now = nanoseconds();
    if (now - team->looked > OFTEN) {
        int others = others_running(team);
        int lasting = others < team->others ? others : team->others;
        team->others = others;
        team->room = cores - lasting > 1 ? cores - lasting : 1;
        team->looked = now;
    }
    team->members = team->room < team->wanted ? team->room : team->wanted;
}

Team *gather(int64_t threads) {
    Team *team = threads > 1 ? own_team() : NULL;
    if (!team) return NULL;
    if (threads > MOST) threads = MOST;
    while (team->threads < threads && hire(team)) continue;
    team->wanted = team->threads < threads ? team->threads : (int)threads;
    regroup(team);
    return team;
}

int members_of(const Team *team) { return team ? team->members : 1; }

static inline int finished(Team *team) { return atomic_load(&team->done) == team->expected; }

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
}

void share_out(Team *team, Work *work, const void *job, int64_t part, int64_t pieces) {
    if (members_of(team) == 1 || pieces == 1) {
        for (int64_t piece = 0; piece < pieces; piece++) work(job, part, (Piece){piece, pieces}, 0);
        return;
    }
    int members = team->members;
    team->work = work;
    team->job = job;
    team->part = part;
    team->pieces = pieces;
    team->expected += members - 1;
    atomic_store(&team->phase, PACKED(NUMBER(atomic_load_explicit(&team->phase, memory_order_relaxed)) + 1, members));
    if (atomic_load(&team->sleepers)) wake(team, members);
    do_share(team, 0, members);
    await_helpers(team);
}
