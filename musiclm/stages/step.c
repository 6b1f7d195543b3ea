/* One step of a decoder-only transformer on a CPU, all its layers in one call.
 *
 *     x [rows, width], cache of `length` steps -> x [rows, width], cache of `length + 1` steps
 *
 * A step of one row reads every weight once: the time that memory takes to deliver them is its limit. What
 * stands between a framework and that limit is hundreds of small operations, each with a dispatch and a fork of
 * threads. Here the threads are forked once a step and meet at barriers; sums are taken in one order whatever
 * the number of threads and rows, so that a row of a batch equals the same row alone, bit by bit.
 *
 * Matrices are float32, bfloat16 or int8 (a scale per output; what is multiplied is rounded to 8 bits with a
 * scale per row, and the sums are exact). Keys and values are kept in float32, bfloat16, or int8 with a scale per
 * head and step. The architecture is that of transformer.py, which is the reference: pre-norm RMSNorm, T5's
 * relative position bias, gated GELU (tanh form).
 *
 * Without OpenMP it runs on one thread. native.py is the only caller; its structures mirror these.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#else
#define omp_get_thread_num() 0
#define omp_get_num_threads() 1
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && !defined(PORTABLE)
#include <immintrin.h>
#define FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define HAS_VNNI 1
#else
#define FOR_EACH_CPU
#define HAS_VNNI 0
#endif

#define TILE 4     /* outputs, and rows, that are multiplied together */
#define AHEAD 8192 /* bytes between what is read and what memory is asked for */
#define BLOCK 16   /* steps whose keys of 8 bits lie interleaved */

enum { FLOAT32, BFLOAT16, INT8 };

typedef struct {
    const void *entries;  /* [outputs, inputs] */
    const float *scales;  /* [outputs]; int8 only, as are the sums */
    const int32_t *sums;  /* [outputs], of the entries */
    int64_t outputs, inputs, kind;
} Matrix;

typedef struct {
    const float *attention_norm; /* [width] */
    Matrix qkv, attention_out;
    const float *feed_forward_norm; /* [width] */
    Matrix feed_forward_in, feed_forward_out; /* in: gates, then values */
} Layer;

typedef struct {
    int64_t layers, width, heads, feed_forward, kind; /* kind: of keys and values */
    float epsilon;                                     /* of the norms */
    const Layer *layer;
} Model;

typedef struct {
    void *keys, *values;            /* [layers, rows * heads, capacity, width / heads]; int8: see key_place */
    float *key_units, *value_units; /* [layers, rows * heads, capacity], what 1 stands for; int8 only */
    const float *bias;              /* [heads, capacity], farthest distance first */
    int64_t capacity, length;       /* int8: capacity in whole blocks */
} Cache;

/* ---- Numbers ---------------------------------------------------------------------------------------------- */

static inline float from_bfloat16(uint16_t bits) {
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static inline uint16_t to_bfloat16(float value) { /* to the nearest, ties to even */
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return (uint16_t)((word + 0x7fff + ((word >> 16) & 1)) >> 16);
}

/* e^x within 2e-7 for |x| < 87, by 2^n e^f with |f| <= ln 2 / 2; without branches, so that it is vectorized. */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves no fraction */
    float n = (x * 1.44269504f + round) - round;
    float f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * f * f + f + 1.0f;
    int32_t power = ((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &power, sizeof scale);
    return p * scale;
}

/* ---- Products --------------------------------------------------------------------------------------------- */

#define LANES 16
typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));
typedef int32_t Integers __attribute__((vector_size(LANES * 4)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));

static inline __attribute__((always_inline)) void load(const void *entries, int64_t at, int kind, Floats *to) {
    if (kind == BFLOAT16) {
        Halves halves;
        memcpy(&halves, (const uint16_t *)entries + at, sizeof halves);
        Words words = __builtin_convertvector(halves, Words) << 16;
        memcpy(to, &words, sizeof words);
    } else {
        memcpy(to, (const float *)entries + at, sizeof *to);
    }
}

static inline __attribute__((always_inline)) float one(const void *entries, int64_t at, int kind) {
    if (kind == BFLOAT16) return from_bfloat16(((const uint16_t *)entries)[at]);
    return ((const float *)entries)[at];
}

/* The lanes' sum, by halves. */
static inline __attribute__((always_inline)) float sum_of(const Floats *lanes) {
    Floats sums = *lanes;
    sums += __builtin_shuffle(sums, (Integers){8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7});
    sums += __builtin_shuffle(sums, (Integers){4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11});
    sums += __builtin_shuffle(sums, (Integers){2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13});
    sums += __builtin_shuffle(sums, (Integers){1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14});
    return sums[0];
}

/* sums[i][r] of `outputs` rows of the matrix and `rows` of x. Each sum is taken lane by lane, in the same order
 * whatever else is in the tile. A single row of x takes one output after another: then memory is read straight
 * through, which it delivers faster than four rows side by side, and it is asked for AHEAD. */
static inline __attribute__((always_inline)) void float_tile(const void *w, const float *x, int64_t inputs,
                                                             const int kind, const int outputs, const int rows,
                                                             float sums[TILE][TILE]) {
    const int64_t bytes = kind == BFLOAT16 ? 2 : 4, ahead = outputs == 1 ? AHEAD : outputs * inputs * bytes;
    Floats total[TILE][TILE], a[TILE];
    for (int i = 0; i < outputs; i++)
        for (int r = 0; r < rows; r++) total[i][r] = (Floats){0};
    int64_t k = 0;
    for (; k + LANES <= inputs; k += LANES) {
        for (int i = 0; i < outputs; i++) {
            load(w, i * inputs + k, kind, &a[i]);
            __builtin_prefetch((const char *)w + (i * inputs + k) * bytes + ahead);
        }
        for (int r = 0; r < rows; r++) {
            Floats b;
            load(x, r * inputs + k, FLOAT32, &b);
            for (int i = 0; i < outputs; i++) total[i][r] += a[i] * b;
        }
    }
    for (int i = 0; i < outputs; i++)
        for (int r = 0; r < rows; r++) {
            float sum = sum_of(&total[i][r]);
            for (int64_t rest = k; rest < inputs; rest++)
                sum += one(w, i * inputs + rest, kind) * x[r * inputs + rest];
            sums[i][r] = sum;
        }
}

#define DOTS(NAME, KIND)                                                                                         \
    FOR_EACH_CPU static void NAME(const void *w, const float *x, int64_t inputs, int outputs, int rows,          \
                                  float sums[TILE][TILE]) {                                                      \
        if (outputs == TILE && rows == TILE)                                                                     \
            float_tile(w, x, inputs, KIND, TILE, TILE, sums);                                                    \
        else if (outputs == TILE && rows == 2)                                                                   \
            float_tile(w, x, inputs, KIND, TILE, 2, sums);                                                       \
        else                                                                                                     \
            for (int r = 0; r < rows; r++)                                                                       \
                for (int i = 0; i < outputs; i++) {                                                              \
                    float single[TILE][TILE];                                                                    \
                    const char *own = (const char *)w + i * inputs * (KIND == BFLOAT16 ? 2 : 4);                 \
                    float_tile(own, x + r * inputs, inputs, KIND, 1, 1, single);                                 \
                    sums[i][r] = single[0][0];                                                                   \
                }                                                                                                \
    }
DOTS(dots_float32, FLOAT32)
DOTS(dots_bfloat16, BFLOAT16)

/* x holds 128 more than the number that is meant. */
FOR_EACH_CPU static void dots_int8(const int8_t *w, const uint8_t *x, int64_t inputs, int outputs, int rows,
                                   int32_t sums[TILE][TILE]) {
    for (int r = 0; r < rows; r++, x += inputs)
        for (int i = 0; i < outputs; i++) {
            const int8_t *own = w + i * inputs;
            int32_t s = 0;
#pragma omp simd reduction(+ : s)
            for (int64_t k = 0; k < inputs; k++) s += (int32_t)own[k] * (int32_t)x[k];
            sums[i][r] = s;
        }
}

#if HAS_VNNI
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vnni")))

VNNI static inline __attribute__((always_inline)) void vnni_tile(const int8_t *w, const uint8_t *x,
                                                                 int64_t inputs, const int outputs,
                                                                 const int rows, int32_t sums[TILE][TILE]) {
    __m512i total[TILE][TILE], a[TILE], b;
    for (int i = 0; i < outputs; i++)
        for (int r = 0; r < rows; r++) total[i][r] = _mm512_setzero_si512();
    int64_t k = 0;
    for (; k + 64 <= inputs; k += 64) {
        for (int i = 0; i < outputs; i++) {
            a[i] = _mm512_loadu_si512(w + i * inputs + k);
            _mm_prefetch(w + (i + outputs) * inputs + k, _MM_HINT_T0); /* the next tile */
        }
        for (int r = 0; r < rows; r++) {
            b = _mm512_loadu_si512(x + r * inputs + k);
            for (int i = 0; i < outputs; i++) total[i][r] = _mm512_dpbusd_epi32(total[i][r], b, a[i]);
        }
    }
    if (k < inputs) {
        __mmask64 rest = ~0ull >> (64 - (inputs - k));
        for (int i = 0; i < outputs; i++) a[i] = _mm512_maskz_loadu_epi8(rest, w + i * inputs + k);
        for (int r = 0; r < rows; r++) {
            b = _mm512_maskz_loadu_epi8(rest, x + r * inputs + k);
            for (int i = 0; i < outputs; i++) total[i][r] = _mm512_dpbusd_epi32(total[i][r], b, a[i]);
        }
    }
    for (int i = 0; i < outputs; i++)
        for (int r = 0; r < rows; r++) sums[i][r] = _mm512_reduce_add_epi32(total[i][r]);
}

/* One row: an output after another, as in float_tile. */
VNNI static void vnni_row(const int8_t *w, const uint8_t *x, int64_t inputs, int outputs,
                          int32_t sums[TILE][TILE]) {
    for (int i = 0; i < outputs; i++, w += inputs) {
        __m512i total[4]; /* chains of sums that need not wait for each other */
        for (int n = 0; n < 4; n++) total[n] = _mm512_setzero_si512();
        int64_t k = 0;
        for (; k + 256 <= inputs; k += 256)
            for (int n = 0; n < 4; n++) {
                __m512i b = _mm512_loadu_si512(x + k + 64 * n);
                _mm_prefetch(w + k + 64 * n + AHEAD, _MM_HINT_T0);
                total[n] = _mm512_dpbusd_epi32(total[n], b, _mm512_loadu_si512(w + k + 64 * n));
            }
        for (; k < inputs; k += 64) {
            __mmask64 rest = inputs - k < 64 ? ~0ull >> (64 - (inputs - k)) : ~0ull;
            __m512i a = _mm512_maskz_loadu_epi8(rest, w + k), b = _mm512_maskz_loadu_epi8(rest, x + k);
            total[0] = _mm512_dpbusd_epi32(total[0], b, a);
        }
        for (int n = 1; n < 4; n++) total[0] = _mm512_add_epi32(total[0], total[n]);
        sums[i][0] = _mm512_reduce_add_epi32(total[0]);
    }
}

VNNI static void dots_int8_vnni(const int8_t *w, const uint8_t *x, int64_t inputs, int outputs, int rows,
                                int32_t sums[TILE][TILE]) {
    if (outputs == TILE && rows == TILE)
        vnni_tile(w, x, inputs, TILE, TILE, sums);
    else if (rows == 1)
        vnni_row(w, x, inputs, outputs, sums);
    else if (outputs == TILE && rows == 2)
        vnni_tile(w, x, inputs, TILE, 2, sums);
    else
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < outputs; i++) {
                int32_t one[TILE][TILE];
                vnni_tile(w + i * inputs, x + r * inputs, inputs, 1, 1, one);
                sums[i][r] = one[0][0];
            }
}

static int has_vnni(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vnni");
}
#else
#define dots_int8_vnni dots_int8
static int has_vnni(void) { return 0; }
#endif

/* Rows [rows, inputs] in 8 bits, 128 added; and what a unit of each row stands for. */
FOR_EACH_CPU static void quantize(const float *x, int64_t rows, int64_t inputs, uint8_t *q, float *units) {
    for (int64_t r = 0; r < rows; r++, x += inputs, q += inputs) {
        float largest = 1e-12f, wrong = 0; /* wrong: 0, or NaN where a number is NaN or infinite */
#pragma omp simd reduction(max : largest) reduction(+ : wrong)
        for (int64_t k = 0; k < inputs; k++) {
            float size = fabsf(x[k]);
            largest = size > largest ? size : largest;
            wrong += x[k] * 0.0f;
        }
        units[r] = largest / 127.0f + wrong;
        if (wrong != wrong) { /* the units say so; the entries would have no meaning */
            memset(q, 128, inputs);
            continue;
        }
        float per_unit = 127.0f / largest;
#pragma omp simd
        for (int64_t k = 0; k < inputs; k++) {
            float rounded = (x[k] * per_unit + 12582912.0f) - 12582912.0f; /* to the nearest */
            q[k] = (uint8_t)((int32_t)rounded + 128);
        }
    }
}

/* What is multiplied: rows [rows, inputs] of floats, and in 8 bits where the matrix is of int8. */
typedef struct {
    const float *x;
    uint8_t *q;
    float *units;
} Rows;

/* y[r * stride + o] (+)= matrix[o] . x[r] for the outputs first ... last - 1. */
static void product(const Matrix *m, Rows from, int64_t rows, int64_t first, int64_t last, float *y,
                    int64_t stride, int add) {
    int64_t inputs = m->inputs;
    int vnni = m->kind == INT8 && has_vnni();
    for (int64_t o = first; o < last; o += TILE) {
        int outputs = last - o < TILE ? (int)(last - o) : TILE;
        for (int64_t r = 0; r < rows; r += TILE) {
            int some = rows - r < TILE ? (int)(rows - r) : TILE;
            float sums[TILE][TILE];
            if (m->kind == INT8) {
                int32_t whole[TILE][TILE];
                const int8_t *w = (const int8_t *)m->entries + o * inputs;
                const uint8_t *x = from.q + r * inputs;
                (vnni ? dots_int8_vnni : dots_int8)(w, x, inputs, outputs, some, whole);
                for (int i = 0; i < outputs; i++)
                    for (int n = 0; n < some; n++)
                        sums[i][n] = (float)(whole[i][n] - 128 * m->sums[o + i]) * m->scales[o + i] *
                                     from.units[r + n];
            } else if (m->kind == BFLOAT16) {
                const uint16_t *w = (const uint16_t *)m->entries + o * inputs;
                dots_bfloat16(w, from.x + r * inputs, inputs, outputs, some, sums);
            } else {
                const float *w = (const float *)m->entries + o * inputs;
                dots_float32(w, from.x + r * inputs, inputs, outputs, some, sums);
            }
            for (int n = 0; n < some; n++)
                for (int i = 0; i < outputs; i++) {
                    float *to = y + (r + n) * stride + o + i;
                    *to = add ? *to + sums[i][n] : sums[i][n];
                }
        }
    }
}

/* The share of `count` that a thread takes: whole tiles, the first threads one more. */
static void share(int64_t count, int thread, int threads, int64_t *first, int64_t *last) {
    int64_t tiles = (count + TILE - 1) / TILE;
    *first = tiles * thread / threads * TILE;
    *last = tiles * (thread + 1) / threads * TILE;
    if (*last > count) *last = count;
    if (*first > count) *first = count;
}

/* ---- The parts of a layer --------------------------------------------------------------------------------- */

FOR_EACH_CPU static void norm(const float *x, const float *weight, int64_t rows, int64_t width, float epsilon,
                              float *y) {
    for (int64_t r = 0; r < rows; r++, x += width, y += width) {
        float squares = 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t k = 0; k < width; k++) squares += x[k] * x[k];
        float factor = 1.0f / sqrtf(squares / (float)width + epsilon);
#pragma omp simd
        for (int64_t k = 0; k < width; k++) y[k] = x[k] * factor * weight[k];
    }
}

FOR_EACH_CPU static void gate(const float *gates, const float *values, int64_t count, float *y) {
#pragma omp simd
    for (int64_t k = 0; k < count; k++) {
        float g = gates[k];
        float inner = 0.7978845608f * (g + 0.044715f * g * g * g);
        y[k] = values[k] * g / (1.0f + exponential(-2.0f * inner)); /* 0.5 (1 + tanh u) = 1 / (1 + e^-2u) */
    }
}

/* Where dimension k of the key of step s is kept in 8 bits: BLOCK steps lie together, four dimensions of each side
 * by side, so that one instruction multiplies four dimensions of all of them. */
static inline int64_t key_place(int64_t s, int64_t k, int64_t size) {
    return (s / BLOCK * size + k / 4 * 4) * BLOCK + s % BLOCK * 4 + k % 4;
}

/* One head's key or value [size] into step `at` of its cache [capacity, size]. */
static void keep(const float *x, int64_t size, int64_t kind, void *cache, int64_t at) {
    if (kind == FLOAT32)
        memcpy((float *)cache + at * size, x, size * sizeof(float));
    else
        for (int64_t k = 0; k < size; k++) ((uint16_t *)cache)[at * size + k] = to_bfloat16(x[k]);
}

/* The same in 8 bits; `q` [size] is free for use. A key has 128 added. */
static void keep_int8(const float *key, const float *value, int64_t size, uint8_t *keys, int8_t *values,
                      float *key_unit, float *value_unit, int64_t at, uint8_t *q) {
    quantize(key, 1, size, q, key_unit);
    for (int64_t k = 0; k < size; k++) keys[key_place(at, k, size)] = q[k];
    quantize(value, 1, size, q, value_unit);
    for (int64_t k = 0; k < size; k++) values[at * size + k] = (int8_t)(q[k] - 128);
}

/* dots[s] = key s . query, over whole blocks of keys with 128 added; size in fours. */
FOR_EACH_CPU static void key_dots(const uint8_t *keys, const int8_t *query, int64_t steps, int64_t size,
                                  int32_t *dots) {
    for (int64_t block = 0; block < steps; block += BLOCK) {
        int32_t sums[BLOCK] = {0};
        for (int64_t k = 0; k < size; k += 4, keys += 4 * BLOCK)
            for (int64_t s = 0; s < BLOCK; s++)
                for (int64_t n = 0; n < 4; n++) sums[s] += (int32_t)keys[4 * s + n] * (int32_t)query[k + n];
        memcpy(dots + block, sums, sizeof sums);
    }
}

#if HAS_VNNI
VNNI static void key_dots_vnni(const uint8_t *keys, const int8_t *query, int64_t steps, int64_t size,
                               int32_t *dots) {
    for (int64_t block = 0; block < steps; block += BLOCK) {
        __m512i sums = _mm512_setzero_si512();
        for (int64_t k = 0; k < size; k += 4, keys += 4 * BLOCK) {
            int32_t four;
            memcpy(&four, query + k, sizeof four);
            sums = _mm512_dpbusd_epi32(sums, _mm512_loadu_si512(keys), _mm512_set1_epi32(four));
        }
        _mm512_storeu_si512(dots + block, sums);
    }
}
#else
#define key_dots_vnni key_dots
#endif

/* scores[s] = query . key s / sqrt(size) + bias[s]. */
static inline __attribute__((always_inline)) void compare(const float *query, const void *keys, const int kind,
                                                          const float *bias, int64_t steps, const int64_t size,
                                                          float *scores) {
    const int64_t whole = size - size % LANES;
    float root = 1.0f / sqrtf((float)size);
    for (int64_t s = 0; s < steps; s++) {
        Floats products = {0}, a, b;
        for (int64_t k = 0; k < whole; k += LANES) {
            load(query, k, FLOAT32, &a);
            load(keys, s * size + k, kind, &b);
            products += a * b;
        }
        float dot = sum_of(&products);
        for (int64_t k = whole; k < size; k++) dot += query[k] * one(keys, s * size + k, kind);
        scores[s] = dot * root + bias[s];
    }
}

/* The same of keys in 8 bits; the query is brought to 8 bits too, in `q` [size], and `dots` takes whole blocks. */
FOR_EACH_CPU static void compare_int8(const float *query, const uint8_t *keys, const float *units,
                                      const float *bias, int64_t steps, int64_t size, uint8_t *q, int32_t *dots,
                                      float *scores) {
    float unit;
    int32_t sum = 0;
    quantize(query, 1, size, q, &unit);
    for (int64_t k = 0; k < size; k++) {
        q[k] ^= 128; /* without the 128, as a signed byte */
        sum += (int8_t)q[k];
    }
    (has_vnni() ? key_dots_vnni : key_dots)(keys, (const int8_t *)q, steps, size, dots);
    unit /= sqrtf((float)size);
#pragma omp simd
    for (int64_t s = 0; s < steps; s++)
        scores[s] = (float)(dots[s] - 128 * sum) * unit * units[s] + bias[s];
}

/* Scores to weights that sum to one, of `steps` values, each times its unit where there are units. */
FOR_EACH_CPU static void weigh(float *scores, int64_t steps, const float *units) {
    float largest = -INFINITY, total = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t s = 0; s < steps; s++) largest = scores[s] > largest ? scores[s] : largest;
#pragma omp simd reduction(+ : total)
    for (int64_t s = 0; s < steps; s++) {
        scores[s] = exponential(scores[s] - largest);
        total += scores[s];
    }
    float share = 1.0f / total;
#pragma omp simd
    for (int64_t s = 0; s < steps; s++) scores[s] *= units ? share * units[s] : share;
}

/* out [size] = the sum of `steps` values [size], each times its weight. */
static inline __attribute__((always_inline)) void gather(const float *weights, const void *values, const int kind,
                                                         int64_t steps, const int64_t size, float *out) {
    const int64_t whole = size - size % LANES;
    for (int64_t first = 0; first < whole; first += 4 * LANES) { /* as many as registers hold */
        Floats even[4] = {{0}, {0}, {0}, {0}}, odd[4] = {{0}, {0}, {0}, {0}}, b;
        int64_t parts = whole - first < 4 * LANES ? (whole - first) / LANES : 4, s = 0;
        for (; s + 2 <= steps; s += 2) /* two chains of sums: one alone waits for itself */
            for (int64_t n = 0; n < parts; n++) {
                load(values, s * size + first + n * LANES, kind, &b);
                even[n] += weights[s] * b;
                load(values, (s + 1) * size + first + n * LANES, kind, &b);
                odd[n] += weights[s + 1] * b;
            }
        for (int64_t n = 0; n < parts; n++) {
            if (s < steps) {
                load(values, s * size + first + n * LANES, kind, &b);
                even[n] += weights[s] * b;
            }
            even[n] += odd[n];
        }
        memcpy(out + first, even, parts * sizeof *even);
    }
    for (int64_t k = whole; k < size; k++) {
        out[k] = 0;
        for (int64_t s = 0; s < steps; s++) out[k] += weights[s] * one(values, s * size + k, kind);
    }
}

/* Heads of 64, the usual size, with loops that the compiler can unroll. */
#define FOR_HEADS_OF_64(NAME, PARAMETERS, OF_64, OF_ANY)                                                         \
    FOR_EACH_CPU static void NAME PARAMETERS {                                                                   \
        if (size == 64)                                                                                          \
            OF_64;                                                                                               \
        else                                                                                                     \
            OF_ANY;                                                                                              \
    }
#define COMPARE(NAME, KIND)                                                                                      \
    FOR_HEADS_OF_64(NAME,                                                                                        \
                    (const float *query, const void *keys, const float *bias, int64_t steps, int64_t size,       \
                     float *scores),                                                                             \
                    compare(query, keys, KIND, bias, steps, 64, scores),                                         \
                    compare(query, keys, KIND, bias, steps, size, scores))
#define GATHER(NAME, KIND)                                                                                       \
    FOR_HEADS_OF_64(NAME, (const float *weights, const void *values, int64_t steps, int64_t size, float *out),   \
                    gather(weights, values, KIND, steps, 64, out),                                               \
                    gather(weights, values, KIND, steps, size, out))
COMPARE(compare_float32, FLOAT32)
COMPARE(compare_bfloat16, BFLOAT16)
GATHER(gather_float32, FLOAT32)
GATHER(gather_bfloat16, BFLOAT16)

/* The same of values in 8 bits. */
FOR_EACH_CPU static void gather_int8(const float *weights, const int8_t *values, int64_t steps, int64_t size,
                                     float *out) {
    memset(out, 0, size * sizeof *out);
    for (int64_t s = 0; s < steps; s++)
#pragma omp simd
        for (int64_t k = 0; k < size; k++) out[k] += weights[s] * (float)values[s * size + k];
}

#if HAS_VNNI
#define WIDENED(AT) _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(AT))))

/* Heads of 64: compilers take the bytes apart one by one. */
VNNI static void gather_64_int8(const float *weights, const int8_t *values, int64_t steps, float *out) {
    __m512 even[4], odd[4];
    for (int n = 0; n < 4; n++) even[n] = odd[n] = _mm512_setzero_ps();
    int64_t s = 0;
    for (; s + 2 <= steps; s += 2, values += 128) { /* two chains of sums: one alone waits for itself */
        __m512 first = _mm512_set1_ps(weights[s]), second = _mm512_set1_ps(weights[s + 1]);
        for (int n = 0; n < 4; n++) {
            even[n] = _mm512_fmadd_ps(first, WIDENED(values + 16 * n), even[n]);
            odd[n] = _mm512_fmadd_ps(second, WIDENED(values + 64 + 16 * n), odd[n]);
        }
    }
    for (int n = 0; n < 4; n++) {
        if (s < steps) even[n] = _mm512_fmadd_ps(_mm512_set1_ps(weights[s]), WIDENED(values + 16 * n), even[n]);
        _mm512_storeu_ps(out + 16 * n, _mm512_add_ps(even[n], odd[n]));
    }
}
#else
#define gather_64_int8(weights, values, steps, out) gather_int8(weights, values, steps, 64, out)
#endif

/* What a thread has for itself while it attends. */
typedef struct {
    float *scores; /* [capacity] */
    int32_t *dots; /* [capacity] */
    uint8_t *q;    /* [size] */
} Scratch;

/* Keeps one head's key and value of this step, and lets its query [size] look at all steps: out [size]. */
static void one_head(const float *query, const float *key, const float *value, const Model *model,
                     const Cache *cache, int64_t layer, int64_t pair, int64_t pairs, Scratch own, float *out) {
    static const int64_t bytes[] = {4, 2, 1};
    int64_t size = model->width / model->heads, at = cache->length, steps = at + 1;
    int64_t place = (layer * pairs + pair) * cache->capacity, skipped = place * size * bytes[model->kind];
    void *keys = (char *)cache->keys + skipped, *values = (char *)cache->values + skipped;
    const float *bias = cache->bias + (pair % model->heads + 1) * cache->capacity - steps;
    if (model->kind == INT8) {
        float *key_units = cache->key_units + place, *value_units = cache->value_units + place;
        keep_int8(key, value, size, keys, values, key_units + at, value_units + at, at, own.q);
        compare_int8(query, keys, key_units, bias, steps, size, own.q, own.dots, own.scores);
        weigh(own.scores, steps, value_units);
        if (size == 64 && has_vnni())
            gather_64_int8(own.scores, values, steps, out);
        else
            gather_int8(own.scores, values, steps, size, out);
        return;
    }
    keep(key, size, model->kind, keys, at);
    keep(value, size, model->kind, values, at);
    (model->kind == FLOAT32 ? compare_float32 : compare_bfloat16)(query, keys, bias, steps, size, own.scores);
    weigh(own.scores, steps, NULL);
    (model->kind == FLOAT32 ? gather_float32 : gather_bfloat16)(own.scores, values, steps, size, out);
}

/* ---- What native.py calls --------------------------------------------------------------------------------- */

/* The sizes of the structures: a library left over from another version is told by them. */
int64_t musiclm_sizes(void) {
    return sizeof(Matrix) | (int64_t)sizeof(Layer) << 16 | (int64_t)sizeof(Model) << 32 | (int64_t)sizeof(Cache) << 48;
}

/* y [rows, outputs] = x [rows, inputs] times the matrix. Returns 0, or 1 where there is no memory. */
int musiclm_product(const Matrix *m, const float *x, int64_t rows, float *y, int64_t threads) {
    Rows from = {x, NULL, NULL};
    if (m->kind == INT8) {
        from.q = malloc(rows * m->inputs);
        from.units = malloc(rows * sizeof(float));
        if (!from.q || !from.units) {
            free(from.q), free(from.units);
            return 1;
        }
    }
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num(), count = omp_get_num_threads();
        if (m->kind == INT8) {
            int64_t first = rows * thread / count, last = rows * (thread + 1) / count;
            quantize(x + first * m->inputs, last - first, m->inputs, from.q + first * m->inputs,
                     from.units + first);
        }
#pragma omp barrier
        int64_t first, last;
        share(m->outputs, thread, count, &first, &last);
        product(m, from, rows, first, last, y, m->outputs, 0);
    }
    free(from.q), free(from.units);
    return 0;
}

/* Bytes of `work` that a step needs. */
int64_t musiclm_work(const Model *model, int64_t rows, int64_t capacity, int64_t threads) {
    int64_t width = model->width, inner = model->feed_forward;
    int64_t shared = rows * (3 * width + width + 2 * inner + inner);
    int64_t own = rows * width + rows + 2 * capacity; /* norm, units, scores, dots */
    int64_t own_bytes = rows * (inner > width ? inner : width);
    return (shared + threads * own) * (int64_t)sizeof(float) + threads * own_bytes;
}

/* x [rows, width] goes through all layers, and the cache has one step more (its length is the caller's). */
void musiclm_step(const Model *model, const Cache *cache, float *x, int64_t rows, void *work, int64_t threads) {
    int64_t width = model->width, inner = model->feed_forward, heads = model->heads, size = width / heads;
    float *qkv = work, *attended = qkv + rows * 3 * width, *gates = attended + rows * width;
    float *hidden = gates + rows * 2 * inner, *rest = hidden + rows * inner;
    int64_t own = rows * width + rows + 2 * cache->capacity;
    int64_t own_bytes = rows * (inner > width ? inner : width);
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num(), count = omp_get_num_threads();
        float *normed = rest + thread * own, *units = normed + rows * width, *scores = units + rows;
        uint8_t *q = (uint8_t *)(rest + threads * own) + thread * own_bytes;
        Scratch scratch = {scores, (int32_t *)(scores + cache->capacity), q};
        int64_t first, last;
        for (int64_t n = 0; n < model->layers; n++) {
            const Layer *layer = model->layer + n;
            /* Every thread brings the rows to 8 bits for itself: that is quicker than waiting for it. */
            Rows from = {normed, q, units};
            norm(x, layer->attention_norm, rows, width, model->epsilon, normed);
            if (layer->qkv.kind == INT8) quantize(normed, rows, width, q, units);
            share(3 * width, thread, count, &first, &last);
            product(&layer->qkv, from, rows, first, last, qkv, 3 * width, 0);
#pragma omp barrier
            for (int64_t pair = rows * heads * thread / count; pair < rows * heads * (thread + 1) / count; pair++) {
                float *query = qkv + pair / heads * 3 * width + pair % heads * size;
                one_head(query, query + width, query + 2 * width, model, cache, n, pair, rows * heads,
                         scratch, attended + pair * size);
            }
#pragma omp barrier
            from.x = attended;
            if (layer->attention_out.kind == INT8) quantize(attended, rows, width, q, units);
            share(width, thread, count, &first, &last);
            product(&layer->attention_out, from, rows, first, last, x, width, 1);
#pragma omp barrier
            from.x = normed;
            norm(x, layer->feed_forward_norm, rows, width, model->epsilon, normed);
            if (layer->feed_forward_in.kind == INT8) quantize(normed, rows, width, q, units);
            share(inner, thread, count, &first, &last);
            product(&layer->feed_forward_in, from, rows, first, last, gates, 2 * inner, 0);
            product(&layer->feed_forward_in, from, rows, inner + first, inner + last, gates, 2 * inner, 0);
            for (int64_t r = 0; r < rows; r++)
                gate(gates + r * 2 * inner + first, gates + r * 2 * inner + inner + first, last - first,
                     hidden + r * inner + first);
#pragma omp barrier
            from.x = hidden;
            if (layer->feed_forward_out.kind == INT8) quantize(hidden, rows, inner, q, units);
            share(width, thread, count, &first, &last);
            product(&layer->feed_forward_out, from, rows, first, last, x, width, 1);
#pragma omp barrier
        }
    }
}
