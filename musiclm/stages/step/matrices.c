#include "matrices.h"

#include <math.h>

#include "numbers.h"

#define AHEAD 8192 /* bytes between what is read and what memory is asked for */

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

int has_vnni(void) {
#ifdef WITHOUT_VNNI /* for tests: as on a CPU that lacks it */
    return 0;
#endif
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vnni");
}

/* Without VNNI: in 16 bits, where a product of two entries and the sum of two products are exact. What the
 * compiler makes of dots_int8 multiplies in 32 bits, at a sixth of the speed. */
AVX2 static inline __attribute__((always_inline)) __m256i wide(const int8_t *w) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w));
}

AVX2 static inline __attribute__((always_inline)) __m256i wide_unsigned(const uint8_t *x) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)x));
}

AVX2 static inline __attribute__((always_inline)) int32_t sum_of_integers(__m256i lanes) {
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1)));
}

AVX2 static inline __attribute__((always_inline)) void avx2_tile(const int8_t *w, const uint8_t *x,
                                                                 int64_t inputs, const int outputs,
                                                                 const int rows, int32_t sums[TILE][TILE],
                                                                 const int column) {
    __m256i total[TILE][2], a[TILE];
    for (int i = 0; i < outputs; i++)
        for (int r = 0; r < rows; r++) total[i][r] = _mm256_setzero_si256();
    int64_t k = 0;
    for (; k + 16 <= inputs; k += 16) {
        for (int i = 0; i < outputs; i++) a[i] = wide(w + i * inputs + k);
        for (int r = 0; r < rows; r++) {
            __m256i b = wide_unsigned(x + r * inputs + k);
            for (int i = 0; i < outputs; i++)
                total[i][r] = _mm256_add_epi32(total[i][r], _mm256_madd_epi16(a[i], b));
        }
    }
    for (int i = 0; i < outputs; i++)
        for (int r = 0; r < rows; r++) {
            int32_t sum = sum_of_integers(total[i][r]);
            for (int64_t rest = k; rest < inputs; rest++)
                sum += (int32_t)w[i * inputs + rest] * (int32_t)x[r * inputs + rest];
            sums[i][column + r] = sum;
        }
}

/* One row: an output after another, as in float_tile. */
AVX2 static void avx2_row(const int8_t *w, const uint8_t *x, int64_t inputs, int outputs,
                          int32_t sums[TILE][TILE]) {
    for (int i = 0; i < outputs; i++, w += inputs) {
        __m256i total[4]; /* chains of sums that need not wait for each other */
        for (int n = 0; n < 4; n++) total[n] = _mm256_setzero_si256();
        int64_t k = 0;
        for (; k + 64 <= inputs; k += 64) {
            _mm_prefetch(w + k + AHEAD, _MM_HINT_T0);
            for (int n = 0; n < 4; n++)
                total[n] = _mm256_add_epi32(
                    total[n], _mm256_madd_epi16(wide(w + k + 16 * n), wide_unsigned(x + k + 16 * n)));
        }
        for (int n = 1; n < 4; n++) total[0] = _mm256_add_epi32(total[0], total[n]);
        int32_t sum = sum_of_integers(total[0]);
        for (; k < inputs; k++) sum += (int32_t)w[k] * (int32_t)x[k];
        sums[i][0] = sum;
    }
}

AVX2 static void dots_int8_avx2(const int8_t *w, const uint8_t *x, int64_t inputs, int outputs, int rows,
                                int32_t sums[TILE][TILE]) {
    if (rows == 1) {
        avx2_row(w, x, inputs, outputs, sums);
        return;
    }
    if (outputs < TILE) {
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < outputs; i++) {
                int32_t one[TILE][TILE];
                avx2_row(w + i * inputs, x + r * inputs, inputs, 1, one);
                sums[i][r] = one[0][0];
            }
        return;
    }
    int r = 0;
    for (; r + 2 <= rows; r += 2) avx2_tile(w, x + r * inputs, inputs, TILE, 2, sums, r);
    if (r < rows) avx2_tile(w, x + r * inputs, inputs, TILE, 1, sums, r);
}

int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
#define dots_int8_vnni dots_int8
#define dots_int8_avx2 dots_int8
int has_vnni(void) { return 0; }
int has_avx2(void) { return 0; }
#endif

FOR_EACH_CPU void quantize(const float *x, int64_t rows, int64_t inputs, uint8_t *q, float *units) {
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

void product(const Matrix *m, Rows from, int64_t rows, int64_t first, int64_t last, float *y,
                    int64_t stride, int add) {
    int64_t inputs = m->inputs;
    void (*dots)(const int8_t *, const uint8_t *, int64_t, int, int, int32_t[TILE][TILE]) =
        has_vnni() ? dots_int8_vnni : has_avx2() ? dots_int8_avx2 : dots_int8;
    for (int64_t o = first; o < last; o += TILE) {
        int outputs = last - o < TILE ? (int)(last - o) : TILE;
        for (int64_t r = 0; r < rows; r += TILE) {
            int some = rows - r < TILE ? (int)(rows - r) : TILE;
            float sums[TILE][TILE];
            if (m->kind == INT8) {
                int32_t whole[TILE][TILE];
                const int8_t *w = (const int8_t *)m->entries + o * inputs;
                const uint8_t *x = from.q + r * inputs;
                dots(w, x, inputs, outputs, some, whole);
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
