#include "attention.h"

#include <math.h>

#include "matrices.h"
#include "numbers.h"

#define BLOCK 16 /* steps whose keys of 8 bits lie interleaved */

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

/* In 16 bits, four steps at a time: two sums to a step, which are added at the end. */
AVX2 static void key_dots_avx2(const uint8_t *keys, const int8_t *query, int64_t steps, int64_t size,
                               int32_t *dots) {
    for (int64_t block = 0; block < steps; block += BLOCK) {
        __m256i sums[4];
        for (int n = 0; n < 4; n++) sums[n] = _mm256_setzero_si256();
        for (int64_t k = 0; k < size; k += 4, keys += 4 * BLOCK) {
            int32_t bytes;
            memcpy(&bytes, query + k, sizeof bytes);
            __m256i four = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(bytes)));
            for (int n = 0; n < 4; n++) {
                __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(keys + 16 * n)));
                sums[n] = _mm256_add_epi32(sums[n], _mm256_madd_epi16(wide, four));
            }
        }
        for (int n = 0; n < 4; n += 2) {
            __m256i pairs = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums[n], sums[n + 1]), 0xd8);
            _mm256_storeu_si256((__m256i *)(dots + block + 4 * n), pairs);
        }
    }
}
#else
#define key_dots_vnni key_dots
#define key_dots_avx2 key_dots
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
    (has_vnni() ? key_dots_vnni : has_avx2() ? key_dots_avx2 : key_dots)(keys, (const int8_t *)q, steps, size, dots);
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
VNNI static void gather_64_int8_vnni(const float *weights, const int8_t *values, int64_t steps, float *out) {
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

AVX2 static void gather_64_int8_avx2(const float *weights, const int8_t *values, int64_t steps, float *out) {
    __m256 sums[8];
    for (int n = 0; n < 8; n++) sums[n] = _mm256_setzero_ps();
    for (int64_t s = 0; s < steps; s++, values += 64) {
        __m256 weight = _mm256_set1_ps(weights[s]);
        for (int n = 0; n < 8; n++) {
            __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(values + 8 * n)));
            sums[n] = _mm256_fmadd_ps(weight, _mm256_cvtepi32_ps(wide), sums[n]);
        }
    }
    for (int n = 0; n < 8; n++) _mm256_storeu_ps(out + 8 * n, sums[n]);
}
#else
#define gather_64_int8_vnni(weights, values, steps, out) gather_int8(weights, values, steps, 64, out)
#define gather_64_int8_avx2 gather_64_int8_vnni
#endif

void one_head(const float *query, const float *key, const float *value, const Model *model,
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
            gather_64_int8_vnni(own.scores, values, steps, out);
        else if (size == 64 && has_avx2())
            gather_64_int8_avx2(own.scores, values, steps, out);
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
