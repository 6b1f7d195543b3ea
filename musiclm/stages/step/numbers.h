/* Numbers of 32, 16 and 8 bits, and sixteen of them at a time. */

#ifndef MUSICLM_NUMBERS_H
#define MUSICLM_NUMBERS_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && !defined(PORTABLE)
#include <immintrin.h>
#define FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define HAS_VNNI 1
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vnni")))
#define AVX2 __attribute__((target("avx2,fma")))
#else
#define FOR_EACH_CPU
#define HAS_VNNI 0
#endif

enum { FLOAT32, BFLOAT16, INT8 };

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

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLED(LANES, ...) __builtin_shufflevector(LANES, LANES, __VA_ARGS__)
#else
#define SHUFFLED(LANES, ...) __builtin_shuffle(LANES, (Integers){__VA_ARGS__})
#endif

/* The lanes' sum, by halves. */
static inline __attribute__((always_inline)) float sum_of(const Floats *lanes) {
    Floats sums = *lanes;
    sums += SHUFFLED(sums, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    sums += SHUFFLED(sums, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    sums += SHUFFLED(sums, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    sums += SHUFFLED(sums, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return sums[0];
}

#endif
