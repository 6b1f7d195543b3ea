/* One step of a decoder-only transformer on a CPU, all its layers in one call.
 *
 *     x [rows, width], cache of `length` steps -> x [rows, width], cache of `length + 1` steps
 *
 * A step of one row reads every weight once: the time that memory takes to deliver them is its limit. What
 * stands between a framework and that limit is hundreds of small operations, each with a dispatch and a fork of
 * threads. Here threads share out one phase after another (threads.h). Sums are taken in one order whatever the
 * number of threads and rows, so that a row of a batch equals the same row alone, bit by bit.
 *
 * Matrices are float32, bfloat16 or int8 (a scale per output; what is multiplied is rounded to 8 bits with a
 * scale per row, and the sums are exact). Keys and values are kept in float32, bfloat16, or int8 with a scale per
 * head and step. The architecture is that of transformer.py, which is the reference: pre-norm RMSNorm, T5's
 * relative position bias, gated GELU (tanh form). native.py is the only caller.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "attention.h"
#include "matrices.h"
#include "model.h"
#include "numbers.h"
#include "threads.h"

#define PIECE 65536 /* bytes to read for a piece of work: some microseconds */
#define LINE 64     /* bytes of a line of the cache, which two threads do not share */

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

/* ---- Pieces of work --------------------------------------------------------------------------------------- */

/* In how many pieces `count` things of so many bytes each are shared out: as many for each thread. */
static int64_t pieces_of(int64_t count, int64_t bytes, int64_t threads) {
    int64_t each = count * bytes / threads / PIECE, most = MOST_PIECES / threads;
    if (each > most) each = most;
    if (each < 1 || threads == 1) each = 1;
    return each * threads < count ? each * threads : count;
}

/* The things first ... last - 1 that are one of the pieces. */
static void piece_of(int64_t count, int64_t piece, int64_t pieces, int64_t *first, int64_t *last) {
    *first = count * piece / pieces;
    *last = count * (piece + 1) / pieces;
}

static int64_t tiles_of(int64_t outputs) { return (outputs + TILE - 1) / TILE; }

static int64_t tile_bytes(const Matrix *m) {
    static const int64_t bytes[] = {4, 2, 1};
    return TILE * m->inputs * bytes[m->kind];
}

/* The outputs first ... last - 1 that are one of the pieces: whole tiles. */
static void outputs_of(int64_t outputs, int64_t piece, int64_t pieces, int64_t *first, int64_t *last) {
    piece_of(tiles_of(outputs), piece, pieces, first, last);
    *first *= TILE;
    *last = *last * TILE < outputs ? *last * TILE : outputs;
}

/* ---- A product by itself ---------------------------------------------------------------------------------- */

typedef struct {
    const Matrix *matrix;
    Rows from;
    float *to; /* [rows, outputs] */
    int64_t rows, pieces;
} Product;

static void quantize_piece(void *job, int64_t piece, int member) {
    const Product *p = job;
    int64_t first, last, inputs = p->matrix->inputs;
    (void)member;
    piece_of(p->rows, piece, p->pieces, &first, &last);
    quantize(p->from.x + first * inputs, last - first, inputs, p->from.q + first * inputs, p->from.units + first);
}

static void product_piece(void *job, int64_t piece, int member) {
    const Product *p = job;
    int64_t first, last, outputs = p->matrix->outputs;
    (void)member;
    outputs_of(outputs, piece, p->pieces, &first, &last);
    product(p->matrix, p->from, p->rows, first, last, p->to, outputs, 0);
}

/* ---- A step ----------------------------------------------------------------------------------------------- */

/* Memory of one thread. */
typedef struct {
    int64_t prepared;      /* the phase whose rows `normed` and `q` hold */
    float *normed, *units; /* [rows, width], [rows] */
    Scratch scratch;
} Own;

typedef struct {
    const Model *model;
    const Cache *cache;
    float *x, *qkv, *attended, *gates, *hidden; /* [rows, width, 3 * width, width, 2 * feed_forward, feed_forward] */
    char *own;                                  /* of each thread, own_bytes(...) apart */
    int64_t own_bytes, rows, layer;
    /* The present phase: a product of `from`, or of its norm where there are weights of one. */
    const Matrix *matrix;
    const float *from, *norm;
    float *to;
    int64_t phase, pieces, add;
} Step;

/* What the phase multiplies. Every thread prepares the rows for itself: that is quicker than waiting for it. */
static Rows rows_of(const Step *step, Own *own) {
    Rows rows = {step->norm ? own->normed : step->from, own->scratch.q, own->units};
    if (own->prepared == step->phase) return rows;
    own->prepared = step->phase;
    if (step->norm) norm(step->from, step->norm, step->rows, step->model->width, step->model->epsilon, own->normed);
    if (step->matrix->kind == INT8) quantize(rows.x, step->rows, step->matrix->inputs, rows.q, rows.units);
    return rows;
}

static void multiply(void *job, int64_t piece, int member) {
    const Step *step = job;
    Rows rows = rows_of(step, (Own *)(step->own + member * step->own_bytes));
    int64_t first, last, outputs = step->matrix->outputs;
    outputs_of(outputs, piece, step->pieces, &first, &last);
    product(step->matrix, rows, step->rows, first, last, step->to, outputs, step->add);
}

/* The matrix's outputs are gates, then values. */
static void multiply_and_gate(void *job, int64_t piece, int member) {
    const Step *step = job;
    Rows rows = rows_of(step, (Own *)(step->own + member * step->own_bytes));
    int64_t first, last, inner = step->model->feed_forward;
    outputs_of(inner, piece, step->pieces, &first, &last);
    product(step->matrix, rows, step->rows, first, last, step->gates, 2 * inner, 0);
    product(step->matrix, rows, step->rows, inner + first, inner + last, step->gates, 2 * inner, 0);
    for (int64_t r = 0; r < step->rows; r++) {
        const float *gates = step->gates + r * 2 * inner;
        gate(gates + first, gates + inner + first, last - first, step->hidden + r * inner + first);
    }
}

static void attend(void *job, int64_t piece, int member) {
    const Step *step = job;
    const Own *own = (Own *)(step->own + member * step->own_bytes);
    int64_t heads = step->model->heads, width = step->model->width, size = width / heads, pairs = step->rows * heads;
    int64_t first, last;
    piece_of(pairs, piece, step->pieces, &first, &last);
    for (int64_t pair = first; pair < last; pair++) {
        const float *query = step->qkv + pair / heads * 3 * width + pair % heads * size;
        one_head(query, query + width, query + 2 * width, step->model, step->cache, step->layer, pair, pairs,
                 own->scratch, step->attended + pair * size);
    }
}

/* One phase of all the team: a product, shared out by its outputs. */
static void share_out_product(Team *team, Step *step, Work *work, const Matrix *matrix, int64_t outputs,
                              const float *from, const float *norm_weights, float *to, int add) {
    step->matrix = matrix, step->from = from, step->norm = norm_weights, step->to = to, step->add = add;
    step->phase++;
    int64_t bytes = tile_bytes(matrix) * matrix->outputs / outputs * step->rows;
    step->pieces = pieces_of(tiles_of(outputs), bytes, members_of(team));
    share_out(team, work, step, step->pieces);
}

/* ---- What native.py calls --------------------------------------------------------------------------------- */

/* The sizes of the structures: a library left over from another version is told by them. */
int64_t musiclm_sizes(void) {
    return sizeof(Matrix) | (int64_t)sizeof(Layer) << 16 | (int64_t)sizeof(Model) << 32 | (int64_t)sizeof(Cache) << 48;
}

/* y [rows, outputs] = x [rows, inputs] times the matrix. Returns 0, or 1 where there is no memory. */
int musiclm_product(const Matrix *m, const float *x, int64_t rows, float *y, int64_t threads) {
    Product p = {m, {x, NULL, NULL}, y, rows, 1};
    Team *team = gather(threads);
    if (m->kind == INT8) {
        p.from.q = malloc(rows * m->inputs);
        p.from.units = malloc(rows * sizeof(float));
        if (!p.from.q || !p.from.units) {
            free(p.from.q), free(p.from.units);
            return 1;
        }
        int64_t bytes = m->inputs * (int64_t)sizeof(float);
        p.pieces = rows * bytes < PIECE ? 1 : pieces_of(rows, bytes, members_of(team));
        share_out(team, quantize_piece, &p, p.pieces);
    }
    p.pieces = pieces_of(tiles_of(m->outputs), tile_bytes(m) * rows, members_of(team));
    share_out(team, product_piece, &p, p.pieces);
    free(p.from.q), free(p.from.units);
    return 0;
}

static int64_t in_lines(int64_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

/* Bytes of a thread's own memory. */
static int64_t own_bytes_of(const Model *model, int64_t rows, int64_t capacity) {
    int64_t widest = model->feed_forward > model->width ? model->feed_forward : model->width;
    int64_t floats = rows * model->width + rows + 2 * capacity; /* norm, units, scores, dots */
    return in_lines(sizeof(Own)) + in_lines(floats * (int64_t)sizeof(float) + rows * widest);
}

/* Floats of the memory that threads share. */
static int64_t shared_floats(const Model *model, int64_t rows) {
    return rows * (3 * model->width + model->width + 2 * model->feed_forward + model->feed_forward);
}

/* Bytes of `work` that a step needs. */
int64_t musiclm_work(const Model *model, int64_t rows, int64_t capacity, int64_t threads) {
    int64_t shared = in_lines(shared_floats(model, rows) * (int64_t)sizeof(float));
    return LINE + shared + threads * own_bytes_of(model, rows, capacity);
}

/* x [rows, width] goes through all layers, and the cache has one step more (its length is the caller's). */
void musiclm_step(const Model *model, const Cache *cache, float *x, int64_t rows, void *work, int64_t threads) {
    int64_t width = model->width, inner = model->feed_forward, heads = model->heads, steps = cache->length + 1;
    Step step = {.model = model, .cache = cache, .x = x, .rows = rows};
    step.qkv = (float *)in_lines((intptr_t)work);
    step.attended = step.qkv + rows * 3 * width;
    step.gates = step.attended + rows * width;
    step.hidden = step.gates + rows * 2 * inner;
    step.own = (char *)step.qkv + in_lines(shared_floats(model, rows) * (int64_t)sizeof(float));
    step.own_bytes = own_bytes_of(model, rows, cache->capacity);

    Team *team = gather(threads);
    for (int64_t member = 0; member < threads; member++) {
        Own *own = (Own *)(step.own + member * step.own_bytes);
        own->prepared = 0;
        own->normed = (float *)((char *)own + in_lines(sizeof *own));
        own->units = own->normed + rows * width;
        own->scratch.scores = own->units + rows;
        own->scratch.dots = (int32_t *)(own->scratch.scores + cache->capacity);
        own->scratch.q = (uint8_t *)(own->scratch.dots + cache->capacity);
    }

    static const int64_t bytes[] = {4, 2, 1};
    int64_t head_bytes = 2 * steps * (width / heads) * bytes[model->kind];
    for (; step.layer < model->layers; step.layer++) {
        const Layer *layer = model->layer + step.layer;
        regroup(team);
        share_out_product(team, &step, multiply, &layer->qkv, 3 * width, x, layer->attention_norm, step.qkv, 0);
        step.pieces = pieces_of(rows * heads, head_bytes, members_of(team));
        share_out(team, attend, &step, step.pieces);
        share_out_product(team, &step, multiply, &layer->attention_out, width, step.attended, NULL, x, 1);
        share_out_product(team, &step, multiply_and_gate, &layer->feed_forward_in, inner, x,
                          layer->feed_forward_norm, step.gates, 0);
        share_out_product(team, &step, multiply, &layer->feed_forward_out, width, step.hidden, NULL, x, 1);
    }
}
