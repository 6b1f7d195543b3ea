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

static const int64_t BYTES[] = {4, 2, 1}; /* of a number of each kind */

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

/* The things first ... last - 1 of `count` that are a piece. */
static void things_of(int64_t count, Piece piece, int64_t *first, int64_t *last) {
    *first = count * piece.number / piece.of;
    *last = count * (piece.number + 1) / piece.of;
}

static int64_t tiles_of(int64_t outputs) { return (outputs + TILE - 1) / TILE; }

/* The outputs first ... last - 1 that are a piece: whole tiles. */
static void outputs_of(int64_t outputs, Piece piece, int64_t *first, int64_t *last) {
    things_of(tiles_of(outputs), piece, first, last);
    *first *= TILE;
    *last = *last * TILE < outputs ? *last * TILE : outputs;
}

/* In how many pieces a product of so many rows is shared out by `outputs`, each of one row of the matrix or more. */
static int64_t pieces_of_product(const Matrix *m, int64_t outputs, int64_t rows, int64_t threads) {
    int64_t tiles = tiles_of(outputs);
    return pieces_of(tiles, m->outputs * m->inputs * BYTES[m->kind] * rows / tiles, threads);
}

/* ---- A product by itself ---------------------------------------------------------------------------------- */

typedef struct {
    const Matrix *matrix;
    Rows from;
    float *to; /* [rows, outputs] */
    int64_t rows;
} Product;

enum { QUANTIZE, MULTIPLY };

static void product_work(const void *job, int64_t part, Piece piece, int member) {
    const Product *p = job;
    int64_t first, last, inputs = p->matrix->inputs, outputs = p->matrix->outputs;
    (void)member;
    if (part == QUANTIZE) {
        things_of(p->rows, piece, &first, &last);
        uint8_t *q = p->from.q + first * inputs;
        quantize(p->from.x + first * inputs, last - first, inputs, q, p->from.units + first);
    } else {
        outputs_of(outputs, piece, &first, &last);
        product(p->matrix, p->from, p->rows, first, last, p->to, outputs, 0);
    }
}

/* ---- A step ----------------------------------------------------------------------------------------------- */

/* Memory of one thread. */
typedef struct {
    int64_t prepared;      /* the part whose rows `normed` and `q` hold */
    float *normed, *units; /* [rows, width], [rows] */
    Scratch scratch;
} Own;

typedef struct {
    const Model *model;
    const Cache *cache;
    float *x, *qkv, *attended, *gates, *hidden; /* [rows, width, 3 * width, width, 2 * feed_forward, feed_forward] */
    char *own;                                  /* of each thread, own_bytes apart */
    int64_t own_bytes, rows;
} Step;

/* The parts of a layer. Each reads what those before it have written. */
enum { QKV, ATTENTION, ATTENTION_OUT, FEED_FORWARD_IN, FEED_FORWARD_OUT, PARTS };

/* What a part multiplies: `from`, or its norm where there are weights of one. Every thread prepares the rows for
 * itself: that is quicker than waiting for it. */
static Rows rows_of(const Step *step, int64_t part, Own *own, const Matrix *matrix, const float *from,
                    const float *norm_weights) {
    Rows rows = {norm_weights ? own->normed : from, own->scratch.q, own->units};
    if (own->prepared == part) return rows;
    own->prepared = part;
    if (norm_weights) norm(from, norm_weights, step->rows, step->model->width, step->model->epsilon, own->normed);
    if (matrix->kind == INT8) quantize(rows.x, step->rows, matrix->inputs, rows.q, rows.units);
    return rows;
}

static void multiply(const Step *step, const Matrix *matrix, Rows rows, Piece piece, float *to, int add) {
    int64_t first, last;
    outputs_of(matrix->outputs, piece, &first, &last);
    product(matrix, rows, step->rows, first, last, to, matrix->outputs, add);
}

/* The matrix's outputs are gates, then values. */
static void multiply_and_gate(const Step *step, const Matrix *matrix, Rows rows, Piece piece) {
    int64_t first, last, inner = step->model->feed_forward;
    outputs_of(inner, piece, &first, &last);
    product(matrix, rows, step->rows, first, last, step->gates, 2 * inner, 0);
    product(matrix, rows, step->rows, inner + first, inner + last, step->gates, 2 * inner, 0);
    for (int64_t r = 0; r < step->rows; r++) {
        const float *gates = step->gates + r * 2 * inner;
        gate(gates + first, gates + inner + first, last - first, step->hidden + r * inner + first);
    }
}

static void attend(const Step *step, int64_t layer, Piece piece, Scratch scratch) {
    int64_t heads = step->model->heads, width = step->model->width, size = width / heads, pairs = step->rows * heads;
    int64_t first, last;
    things_of(pairs, piece, &first, &last);
    for (int64_t pair = first; pair < last; pair++) {
        const float *query = step->qkv + pair / heads * 3 * width + pair % heads * size;
        one_head(query, query + width, query + 2 * width, step->model, step->cache, layer, pair, pairs, scratch,
                 step->attended + pair * size);
    }
}

static void step_work(const void *job, int64_t part, Piece piece, int member) {
    const Step *step = job;
    const Layer *layer = step->model->layer + part / PARTS;
    Own *own = (Own *)(step->own + member * step->own_bytes);
    Rows rows;
    switch (part % PARTS) {
    case QKV:
        rows = rows_of(step, part, own, &layer->qkv, step->x, layer->attention_norm);
        multiply(step, &layer->qkv, rows, piece, step->qkv, 0);
        break;
    case ATTENTION:
        attend(step, part / PARTS, piece, own->scratch);
        break;
    case ATTENTION_OUT:
        rows = rows_of(step, part, own, &layer->attention_out, step->attended, NULL);
        multiply(step, &layer->attention_out, rows, piece, step->x, 1);
        break;
    case FEED_FORWARD_IN:
        rows = rows_of(step, part, own, &layer->feed_forward_in, step->x, layer->feed_forward_norm);
        multiply_and_gate(step, &layer->feed_forward_in, rows, piece);
        break;
    case FEED_FORWARD_OUT:
        rows = rows_of(step, part, own, &layer->feed_forward_out, step->hidden, NULL);
        multiply(step, &layer->feed_forward_out, rows, piece, step->x, 1);
    }
}

/* In how many pieces each part of a layer is shared out. */
static void count_pieces(const Step *step, int64_t threads, int64_t pieces[PARTS]) {
    const Model *model = step->model;
    const Layer *layer = model->layer; /* all layers have the same sizes */
    int64_t rows = step->rows, width = model->width, head = width / model->heads;
    int64_t read = 2 * (step->cache->length + 1) * head * BYTES[model->kind]; /* keys and values */
    pieces[QKV] = pieces_of_product(&layer->qkv, 3 * width, rows, threads);
    pieces[ATTENTION] = pieces_of(rows * model->heads, read, threads);
    pieces[ATTENTION_OUT] = pieces_of_product(&layer->attention_out, width, rows, threads);
    pieces[FEED_FORWARD_IN] = pieces_of_product(&layer->feed_forward_in, model->feed_forward, rows, threads);
    pieces[FEED_FORWARD_OUT] = pieces_of_product(&layer->feed_forward_out, width, rows, threads);
}

/* ---- What native.py calls --------------------------------------------------------------------------------- */

/* The sizes of the structures: a library left over from another version is told by them. */
int64_t musiclm_sizes(void) {
    int64_t model = sizeof(Model), cache = sizeof(Cache);
    return sizeof(Matrix) | (int64_t)sizeof(Layer) << 16 | model << 32 | cache << 48;
}

/* y [rows, outputs] = x [rows, inputs] times the matrix. Returns 0, or 1 where there is no memory. */
int musiclm_product(const Matrix *m, const float *x, int64_t rows, float *y, int64_t threads) {
    Product p = {m, {x, NULL, NULL}, y, rows};
    Team *team = gather(threads);
    if (m->kind == INT8) {
        p.from.q = malloc(rows * m->inputs);
        p.from.units = malloc(rows * sizeof(float));
        if (!p.from.q || !p.from.units) {
            free(p.from.q), free(p.from.units);
            return 1;
        }
        int64_t bytes = m->inputs * (int64_t)sizeof(float);
        int64_t pieces = rows * bytes < PIECE ? 1 : pieces_of(rows, bytes, members_of(team));
        share_out(team, product_work, &p, QUANTIZE, pieces);
    }
    share_out(team, product_work, &p, MULTIPLY, pieces_of_product(m, m->outputs, rows, members_of(team)));
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
    int64_t width = model->width, inner = model->feed_forward;
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
        own->prepared = -1;
        own->normed = (float *)((char *)own + in_lines(sizeof *own));
        own->units = own->normed + rows * width;
        own->scratch.scores = own->units + rows;
        own->scratch.dots = (int32_t *)(own->scratch.scores + cache->capacity);
        own->scratch.q = (uint8_t *)(own->scratch.dots + cache->capacity);
    }

    int64_t pieces[PARTS];
    int members = 0;
    for (int64_t part = 0; part < model->layers * PARTS; part++) {
        if (part % PARTS == 0) {
            regroup(team);
            if (members_of(team) != members) count_pieces(&step, members = members_of(team), pieces);
        }
        share_out(team, step_work, &step, part, pieces[part % PARTS]);
    }
}
