/* Products of rows with matrices of float32, bfloat16 or int8. */

#ifndef MUSICLM_MATRICES_H
#define MUSICLM_MATRICES_H

#include <stdint.h>

#define TILE 4 /* outputs, and rows, that are multiplied together */

typedef struct {
    const void *entries;  /* [outputs, inputs] */
    const float *scales;  /* [outputs]; int8 only, as are the sums */
    const int32_t *sums;  /* [outputs], of the entries */
    int64_t outputs, inputs, kind;
} Matrix;

/* What is multiplied: rows [rows, inputs] of floats, and in 8 bits where the matrix is of int8. */
typedef struct {
    const float *x;
    uint8_t *q;
    float *units;
} Rows;

/* Functions that only other files of this library call: no other one of the process may stand in for them. */
#pragma GCC visibility push(hidden)

int has_vnni(void);
int has_avx2(void);

/* Rows [rows, inputs] in 8 bits, 128 added; and what a unit of each row stands for. */
void quantize(const float *x, int64_t rows, int64_t inputs, uint8_t *q, float *units);

/* y[r * stride + o] (+)= matrix[o] . x[r] for the outputs first ... last - 1; add: whether to add. */
void product(const Matrix *m, Rows from, int64_t rows, int64_t first, int64_t last, float *y, int64_t stride,
             int add);

#pragma GCC visibility pop

#endif
