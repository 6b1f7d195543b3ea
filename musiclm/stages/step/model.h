/* A transformer and its cache as native.py passes them: the structures there mirror these. */

#ifndef MUSICLM_MODEL_H
#define MUSICLM_MODEL_H

#include <stdint.h>

#include "matrices.h"

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
    void *keys, *values;            /* [layers, rows * heads, capacity, width / heads]; int8: see attention.c */
    float *key_units, *value_units; /* [layers, rows * heads, capacity], what 1 stands for; int8 only */
    const float *bias;              /* [heads, capacity], farthest distance first */
    int64_t capacity, length;       /* int8: capacity in whole blocks */
} Cache;

#endif
