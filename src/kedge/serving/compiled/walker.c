/* Walks rows down the trees of a Forest (program.py) and adds up the leaves that they come to.

   The two children of a node lie side by side, so that a node is 16 bytes and a step is a comparison added to an index:
   nothing is predicted, and a leaf leads to itself. A step waits for the memory that the one before has named; so LANES
   walks go side by side, down one tree for several rows, or down several trees for one row.

   To each output of a row its leaves are added one by one, in the order of the trees, to what `base` says: the order of
   run.py's walk by numpy, so that the two agree to the last bit.

   Everything that a walk relies on is checked when a Walker is made: that columns and nodes are there, and that no node
   is come to by two ways, which rules out circles. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef LANES
#ifndef LANES
#ifndef LANES
#ifndef LANES
#define LANES 16
#endif
#endif
#endif
#endif
/* Bytes of rows that go down one tree after another: half of a small processor's nearest cache. */
#define BLOCK_BYTES 16384
/* Walks (rows times trees) from which on other threads may run meanwhile: some 50 us. */
#define LONG_WALKS 5000

typedef struct {
    double threshold; /* infinity in a leaf, which no value is above */
    uint32_t column;
    uint32_t left; /* the right one is the next; a leaf itself */
} Node;

typedef struct {
    uint32_t root;
    uint32_t depth;
    uint32_t first_output; /* those that any of its leaves adds to */
    uint32_t end_output;
} Tree;

typedef struct {
    PyObject_HEAD
    Node *nodes;
    uint8_t *nan_goes_right;
    double *values; /* outputs of each node */
    double *base;
    Tree *trees;
    Py_ssize_t node_count, tree_count, width, outputs;
} Walker;

/* One step of a walk. With has_nan a constant, what it does not need is left out. */
static inline uint32_t step(const Walker *self, uint32_t at, const double *row, const int has_nan)
{
    const Node node = self->nodes[at];
    const double value = row[node.column];
    uint32_t right = value > node.threshold;
    if (has_nan)
        right |= (uint32_t)(value != value) & self->nan_goes_right[at];
    return node.left + right;
}

static inline void add(const Walker *self, const Tree *tree, uint32_t leaf, double *sums)
{
    const double *values = self->values + (size_t)leaf * (size_t)self->outputs;
    for (uint32_t output = tree->first_output; output < tree->end_output; output++)
        sums[output] += values[output];
}

static inline void down_one_tree(
    const Walker *self, const Tree *tree, const double *rows, Py_ssize_t count, double *sums, const int has_nan)
{
    const Py_ssize_t width = self->width, outputs = self->outputs;
    for (Py_ssize_t row = 0; row + LANES <= count; row += LANES) {
        const double *first = rows + row * width;
        uint32_t at[LANES];
        for (int lane = 0; lane < LANES; lane++)
            at[lane] = tree->root;
        for (uint32_t level = 0; level < tree->depth; level++)
            for (int lane = 0; lane < LANES; lane++)
                at[lane] = step(self, at[lane], first + lane * width, has_nan);
        for (int lane = 0; lane < LANES; lane++)
            add(self, tree, at[lane], sums + (row + lane) * outputs);
    }
}

static inline void down_all_trees(const Walker *self, const double *row, double *sums, const int has_nan)
{
    const Tree *tree = self->trees, *end = tree + self->tree_count;
    for (; end - tree >= LANES; tree += LANES) {
        uint32_t at[LANES], depth = 0;
        for (int lane = 0; lane < LANES; lane++) {
            at[lane] = tree[lane].root;
            depth = tree[lane].depth > depth ? tree[lane].depth : depth;
        }
        for (uint32_t level = 0; level < depth; level++)
            for (int lane = 0; lane < LANES; lane++)
                at[lane] = step(self, at[lane], row, has_nan);
        for (int lane = 0; lane < LANES; lane++)
            add(self, tree + lane, at[lane], sums);
    }
    for (; tree < end; tree++) {
        uint32_t at = tree->root;
        for (uint32_t level = 0; level < tree->depth; level++)
            at = step(self, at, row, has_nan);
        add(self, tree, at, sums);
    }
}

static inline void walk_block(
    const Walker *self, const double *rows, Py_ssize_t count, double *sums, const int has_nan)
{
    const Py_ssize_t side_by_side = count - count % LANES;
    if (side_by_side)
        for (const Tree *tree = self->trees; tree < self->trees + self->tree_count; tree++)
            down_one_tree(self, tree, rows, side_by_side, sums, has_nan);
    for (Py_ssize_t row = side_by_side; row < count; row++)
        down_all_trees(self, rows + row * self->width, sums + row * self->outputs, has_nan);
}

static int any_nan(const double *values, Py_ssize_t count)
{
    int found = 0;
    for (Py_ssize_t at = 0; at < count; at++)
        found |= values[at] != values[at];
    return found;
}

static void walk(const Walker *self, const double *rows, Py_ssize_t count, double *sums)
{
    Py_ssize_t block = BLOCK_BYTES / (Py_ssize_t)sizeof(double) / self->width / LANES * LANES;
    block = block < LANES ? LANES : block;
    for (Py_ssize_t row = 0; row < count; row++)
        memcpy(sums + row * self->outputs, self->base, (size_t)self->outputs * sizeof(double));
    for (Py_ssize_t row = 0; row < count; row += block) {
        const double *first = rows + row * self->width;
        const Py_ssize_t some = count - row < block ? count - row : block;
        if (any_nan(first, some * self->width))
            walk_block(self, first, some, sums + row * self->outputs, 1);
        else
            walk_block(self, first, some, sums + row * self->outputs, 0);
    }
}

/* The buffer of `object`: C-contiguous, of this shape (a negative length takes any), of items of one of the struct
   formats in `formats`, of item_bytes each. */
static int look_at(
    PyObject *object, const char *name, const char *formats, Py_ssize_t item_bytes, int writable, Py_buffer *buffer,
    int dimensions, Py_ssize_t length, Py_ssize_t width)
{
    const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object, buffer, flags) < 0)
        return -1;
    const char *format = buffer->format;
    if (buffer->ndim == dimensions && buffer->itemsize == item_bytes && format[0] && !format[1]
        && strchr(formats, format[0]) && (length < 0 || buffer->shape[0] == length)
        && (dimensions == 1 || width < 0 || buffer->shape[1] == width))
        return 0;
    PyErr_Format(PyExc_ValueError, "%s: an array of another type or shape was expected", name);
    PyBuffer_Release(buffer);
    return -1;
}

static int damaged(const char *what, Py_ssize_t node)
{
    PyErr_Format(PyExc_ValueError, "the forest is damaged: %s (node %zd)", what, node);
    return -1;
}

/* What Walker is made of, as Forest has it. */
enum { ROOTS, FEATURE, THRESHOLD, LEFT, RIGHT, MISSING_LEFT, VALUES, BASE, ARRAYS };
static const char *const NAMES[ARRAYS + 2] = {
    "roots", "feature", "threshold", "left", "right", "missing_left", "values", "base", "width", NULL};

/* Lays the tree below `root` out, level by level, from self->nodes[*used] on. `from` has room for all nodes: where each
   of the new nodes stood before. seen: of each of those, whether it has been come to. */
static int lay_out(Walker *self, Tree *tree, int64_t root, Py_buffer *given, int64_t *from, uint8_t *seen, Py_ssize_t *used)
{
    const Py_ssize_t count = self->node_count;
    const int64_t *feature = given[FEATURE].buf, *left = given[LEFT].buf, *right = given[RIGHT].buf;
    const double *threshold = given[THRESHOLD].buf, *values = given[VALUES].buf;
    const uint8_t *missing_left = given[MISSING_LEFT].buf;
    if (root < 0 || root >= count)
        return damaged("a root is no node", (Py_ssize_t)root);
    if (seen[root])
        return damaged("two ways lead to a node", (Py_ssize_t)root);
    Py_ssize_t at = *used, end = at + 1, level_end = end;
    seen[root] = 1;
    from[at] = root;
    tree->root = (uint32_t)at;
    tree->depth = 0;
    tree->first_output = (uint32_t)self->outputs;
    tree->end_output = 0;
    for (; at < end; at++) {
        if (at == level_end) {
            tree->depth++;
            level_end = end;
        }
        const int64_t old = from[at];
        Node *node = self->nodes + at;
        if (left[old] == old && right[old] == old) {
            *node = (Node){INFINITY, 0, (uint32_t)at};
            for (Py_ssize_t output = 0; output < self->outputs; output++) {
                const double value = values[old * self->outputs + output];
                self->values[at * self->outputs + output] = value;
                if (value == 0.0)
                    continue;
                if (output < tree->first_output)
                    tree->first_output = (uint32_t)output;
                if (output >= tree->end_output)
                    tree->end_output = (uint32_t)output + 1;
            }
            continue;
        }
        if (feature[old] < 0 || feature[old] >= self->width)
            return damaged("it looks at a column that is not there", (Py_ssize_t)old);
        *node = (Node){threshold[old], (uint32_t)feature[old], (uint32_t)end};
        self->nan_goes_right[at] = !missing_left[old];
        const int64_t children[2] = {left[old], right[old]};
        for (int side = 0; side < 2; side++) {
            const int64_t child = children[side];
            if (child < 0 || child >= count)
                return damaged("a child is no node", (Py_ssize_t)old);
            if (seen[child])
                return damaged("two ways lead to a node", (Py_ssize_t)child);
            seen[child] = 1;
            from[end++] = child;
        }
    }
    *used = end;
    return 0;
}

static int fill(Walker *self, Py_buffer *given)
{
    const size_t nodes = (size_t)self->node_count, outputs = (size_t)self->outputs, trees = (size_t)self->tree_count;
    int64_t *from = PyMem_Calloc(nodes + 1, sizeof(int64_t));
    uint8_t *seen = PyMem_Calloc(nodes + 1, 1);
    self->nodes = PyMem_Calloc(nodes + 1, sizeof(Node));
    self->nan_goes_right = PyMem_Calloc(nodes + 1, 1);
    self->values = PyMem_Calloc(nodes * outputs + 1, sizeof(double));
    self->base = PyMem_Calloc(outputs + 1, sizeof(double));
    self->trees = PyMem_Calloc(trees + 1, sizeof(Tree));
    int failed = 0;
    if (!from || !seen || !self->nodes || !self->nan_goes_right || !self->values || !self->base || !self->trees) {
        PyErr_NoMemory();
        failed = -1;
    }
    Py_ssize_t used = 0;
    for (Py_ssize_t tree = 0; !failed && tree < self->tree_count; tree++)
        failed = lay_out(self, self->trees + tree, ((int64_t *)given[ROOTS].buf)[tree], given, from, seen, &used);
    if (!failed)
        for (Py_ssize_t output = 0; output < self->outputs; output++)
            /* No sum is -0.0 then, so that a tree's zeros need not be added. */
            self->base[output] = ((double *)given[BASE].buf)[output] + 0.0;
    PyMem_Free(from);
    PyMem_Free(seen);
    return failed;
}

static int look_at_all(Walker *self, PyObject **objects, Py_buffer *given)
{
    static const struct {
        const char *formats;
        Py_ssize_t item_bytes;
    } kinds[ARRAYS] = {{"lq", 8}, {"lq", 8}, {"d", 8}, {"lq", 8}, {"lq", 8}, {"?", 1}, {"d", 8}, {"d", 8}};
    for (int which = 0; which < ARRAYS; which++) {
        Py_ssize_t length = which == ROOTS || which == BASE || which == FEATURE ? -1 : self->node_count;
        if (which == BASE)
            length = self->outputs;
        if (look_at(objects[which], NAMES[which], kinds[which].formats, kinds[which].item_bytes, 0, given + which,
                    which == VALUES ? 2 : 1, length, -1) < 0) {
            for (int before = 0; before < which; before++)
                PyBuffer_Release(given + before);
            return -1;
        }
        if (which == ROOTS)
            self->tree_count = given[which].shape[0];
        if (which == FEATURE)
            self->node_count = given[which].shape[0];
        if (which == VALUES)
            self->outputs = given[which].shape[1];
    }
    return 0;
}

static PyObject *make(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    PyObject *objects[ARRAYS];
    Py_buffer given[ARRAYS];
    Py_ssize_t width;
    if (!PyArg_ParseTupleAndKeywords(
            arguments, named, "OOOOOOOOn:Walker", (char **)NAMES, objects, objects + 1, objects + 2, objects + 3,
            objects + 4, objects + 5, objects + 6, objects + 7, &width))
        return NULL;
    Walker *self = (Walker *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->width = width;
    if (look_at_all(self, objects, given) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    int failed = -1;
    if (width < 1 || width > INT32_MAX || self->node_count > INT32_MAX || self->outputs < 1 || self->outputs > INT32_MAX)
        PyErr_SetString(PyExc_ValueError, "the forest is damaged: its size is none that it can have");
    else
        failed = fill(self, given);
    for (int which = 0; which < ARRAYS; which++)
        PyBuffer_Release(given + which);
    if (failed) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void forget(PyObject *object)
{
    Walker *self = (Walker *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyMem_Free(self->nodes);
    PyMem_Free(self->nan_goes_right);
    PyMem_Free(self->values);
    PyMem_Free(self->base);
    PyMem_Free(self->trees);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *sums_into(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    const Walker *self = (Walker *)object;
    Py_buffer rows, sums;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "sums_into takes rows and sums");
        return NULL;
    }
    if (look_at(arguments[0], "rows", "d", 8, 0, &rows, 2, -1, self->width) < 0)
        return NULL;
    if (look_at(arguments[1], "sums", "d", 8, 1, &sums, 2, rows.shape[0], self->outputs) < 0) {
        PyBuffer_Release(&rows);
        return NULL;
    }
    if (rows.shape[0] > LONG_WALKS / (self->tree_count + 1)) {
        Py_BEGIN_ALLOW_THREADS
        walk(self, rows.buf, rows.shape[0], sums.buf);
        Py_END_ALLOW_THREADS
    } else {
        walk(self, rows.buf, rows.shape[0], sums.buf);
    }
    PyBuffer_Release(&rows);
    PyBuffer_Release(&sums);
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"sums_into", (PyCFunction)(void (*)(void))sums_into, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL}};

static PyType_Slot SLOTS[] = {{Py_tp_new, make}, {Py_tp_dealloc, forget}, {Py_tp_methods, METHODS}, {0, NULL}};

static PyType_Spec SPEC = {
    .name = "kedge.serving.compiled.walker.Walker",
    .basicsize = sizeof(Walker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = SLOTS};

static int begin(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&SPEC);
    if (type == NULL)
        return -1;
    const int failed = PyModule_AddObjectRef(module, "Walker", type);
    Py_DECREF(type);
    return failed;
}

static PyModuleDef_Slot MODULE_SLOTS[] = {{Py_mod_exec, begin}, {0, NULL}};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, .m_name = "walker", .m_slots = MODULE_SLOTS};

PyMODINIT_FUNC PyInit_walker(void)
{
    return PyModuleDef_Init(&MODULE);
}
