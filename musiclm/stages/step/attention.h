/* One step of attention: each head's query looks at the keys and values of all steps so far. */

#ifndef MUSICLM_ATTENTION_H
#define MUSICLM_ATTENTION_H

#include <stdint.h>

#include "model.h"

/* Memory for one thread's own use. */
typedef struct {
    float *scores; /* [capacity] */
    int32_t *dots; /* [capacity] */
    uint8_t *q;    /* [size] */
} Scratch;

#pragma GCC visibility push(hidden)

/* Keeps one head's key and value of this step, and lets its query [size] look at all steps: out [size]. `pair` of
 * `pairs` is the row and its head. */
void one_head(const float *query, const float *key, const float *value, const Model *model, const Cache *cache,
              int64_t layer, int64_t pair, int64_t pairs, Scratch own, float *out);

#pragma GCC visibility pop

#endif
