/* Reads tables of numbers, as CSV, JSON and JSON Lines, into float64. What is anything else, or could be read in two ways, is
   left to `numeric` and `payload`: the answer is None then.

   Numbers are rounded as float() rounds them. Up to 19 digits are a whole number of 64 bits, which is multiplied or
   divided by a power of ten. That is exact but for one rounding where both fit a double (W. D. Clinger, How to read
   floating point numbers accurately, 1990). Where they only fit the x87's 64 bits, what that has rounded is rounded once
   more, which is right unless it lies beside the middle of two doubles. Python's own reader does the rest. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define MOST_DIGITS 19
#define EXACT_DIGITS 22 /* 10**22 is the largest power of ten that is a double; 10**27 fits 64 bits */

static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

#if LDBL_MANT_DIG == 64
#define LONG_DIGITS 27
static const long double LONG_POWERS[] = {
    1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,  1e10L, 1e11L, 1e12L, 1e13L,
    1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L, 1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L};

/* whole * 10**exponent as a double; 0 when that is not known for sure. */
static int rounded_twice(uint64_t whole, int exponent, double *value)
{
    if (exponent < -LONG_DIGITS || exponent > LONG_DIGITS)
        return 0;
    const long double once = exponent < 0 ? (long double)whole / LONG_POWERS[-exponent]
                                          : (long double)whole * LONG_POWERS[exponent];
    uint64_t bits;
    memcpy(&bits, &once, sizeof bits);
    /* 11 bits are more than a double's; 0x400 is the middle. */
    if ((bits & 0x7ff) - 0x3ff <= 2)
        return 0;
    *value = (double)once;
    return 1;
}
#else
static int rounded_twice(uint64_t whole, int exponent, double *value)
{
    (void)whole, (void)exponent, (void)value;
    return 0;
}
#endif

typedef struct {
    const char *at, *end; /* where a 0 stands */
    double *next;
    int json;
} Reader;

static inline int is_digit(char character)
{
    return (unsigned char)(character - '0') < 10;
}

/* Digits from `at` on, appended to `whole`, which overflows where there are too many. Returns where they end. */
static inline const char *digits(const char *at, const char *end, uint64_t *whole)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    /* Eight at once: D. Lemire, Number parsing at a gigabyte per second, 2021. */
    while (end - at >= 8) {
        uint64_t eight;
        memcpy(&eight, at, 8);
        if (((eight & 0xf0f0f0f0f0f0f0f0) | (((eight + 0x0606060606060606) & 0xf0f0f0f0f0f0f0f0) >> 4))
            != 0x3333333333333333)
            break;
        eight -= 0x3030303030303030;
        eight = eight * 10 + (eight >> 8);
        eight = ((eight & 0x000000ff000000ff) * 0x000f424000000064
                 + ((eight >> 16) & 0x000000ff000000ff) * 0x0000271000000001)
                >> 32;
        *whole = *whole * 100000000 + eight;
        at += 8;
    }
#endif
    (void)end;
    for (; is_digit(*at); at++)
        *whole = *whole * 10 + (uint64_t)(*at - '0');
    return at;
}

static int by_python(const char *start, const char *end, int whole_number, double *value)
{
    char *stopped;
    *value = PyOS_string_to_double(start, &stopped, NULL);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    /* A whole number that is too large for a double is an error in JSON. */
    return stopped == end && !(whole_number && isinf(*value));
}

/* A number as JSON writes it: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static inline int number(Reader *self)
{
    const char *const start = self->at;
    const int negative = *start == '-';
    const char *at = start + negative, *first = at;
    uint64_t whole = 0;
    int exponent = 0, is_whole = 1;
    Py_ssize_t count;
    if (*at == '0') {
        at++;
        count = 0;
    } else {
        at = digits(at, self->end, &whole);
        count = at - first;
        if (count == 0)
            return 0;
    }
    if (*at == '.') {
        const char *const point = at++;
        if (whole == 0)
            while (*at == '0')
                at++;
        first = at;
        at = digits(at, self->end, &whole);
        if (at == point + 1)
            return 0;
        count += at - first;
        if (at - point > 1000)
            return 0;
        exponent = (int)(point + 1 - at);
        is_whole = 0;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        const int down = *at == '-';
        at += *at == '-' || *at == '+';
        first = at;
        int power = 0;
        for (; is_digit(*at); at++)
            power = power < 100000 ? power * 10 + (*at - '0') : power;
        if (at == first)
            return 0;
        exponent += down ? -power : power;
        is_whole = 0;
    }
    self->at = at;
    double value;
    if (whole == 0 && count <= MOST_DIGITS)
        value = 0.0;
    else if (count > MOST_DIGITS)
        return by_python(start, at, self->json && is_whole, self->next++);
    else if (whole < (uint64_t)1 << 53 && exponent >= -EXACT_DIGITS && exponent <= EXACT_DIGITS)
        value = exponent < 0 ? (double)whole / POWERS[-exponent] : (double)whole * POWERS[exponent];
    else if (!rounded_twice(whole, exponent, &value))
        return by_python(start, at, self->json && is_whole, self->next++);
    /* JSON's -0 is a whole number, which has no sign. */
    *self->next++ = negative && !(self->json && is_whole && whole == 0) ? -value : value;
    return 1;
}

static inline void blanks(Reader *self)
{
    while (*self->at == ' ' || *self->at == '\t')
        self->at++;
}

/* Lines of equally many fields; a blank one is NaN, an empty line is no row. The number of rows; 0 when it is not so. */
static Py_ssize_t csv(Reader *self)
{
    Py_ssize_t rows = 0, width = 0;
    while (self->at < self->end) {
        if (*self->at == '\n' || (self->at[0] == '\r' && self->at[1] == '\n')) {
            self->at += 1 + (*self->at == '\r');
            continue;
        }
        const double *const first = self->next;
        for (;;) {
            blanks(self);
            if (is_digit(*self->at) || *self->at == '-') {
                if (!number(self))
                    return 0;
                blanks(self);
            } else {
                *self->next++ = Py_NAN;
            }
            if (*self->at != ',')
                break;
            self->at++;
        }
        self->at += self->at[0] == '\r' && self->at[1] == '\n';
        if (self->at < self->end && *self->at++ != '\n')
            return 0;
        if (rows++ == 0)
            width = self->next - first;
        else if (self->next - first != width)
            return 0;
    }
    return rows;
}

static inline char space(Reader *self)
{
    while (*self->at == ' ' || *self->at == '\n' || *self->at == '\r' || *self->at == '\t')
        self->at++;
    return *self->at;
}

static inline int takes(Reader *self, char wanted)
{
    if (space(self) != wanted)
        return 0;
    self->at++;
    return 1;
}

/* What follows the bracket of a list, to its end: numbers, of which null is NaN, and at least one. */
static int list(Reader *self)
{
    do {
        space(self);
        if (self->end - self->at >= 4 && memcmp(self->at, "null", 4) == 0) {
            self->at += 4;
            *self->next++ = Py_NAN;
        } else if (!number(self)) {
            return 0;
        }
    } while (takes(self, ','));
    return takes(self, ']');
}

/* A list of equally long lists of numbers, or of numbers, of which 0 is the number of rows; -1 when it is neither. */
static Py_ssize_t rows_of_json(Reader *self)
{
    static const char NAME[] = "\"instances\"";
    const int named = takes(self, '{');
    if (named) {
        space(self);
        if (self->end - self->at < (Py_ssize_t)sizeof NAME || memcmp(self->at, NAME, sizeof NAME - 1) != 0)
            return -1;
        self->at += sizeof NAME - 1;
        if (!takes(self, ':'))
            return -1;
    }
    if (!takes(self, '['))
        return -1;
    Py_ssize_t rows = 0;
    if (space(self) == '[') {
        const double *first = self->next;
        Py_ssize_t width = 0;
        do {
            if (!takes(self, '[') || !list(self))
                return -1;
            if (rows++ == 0)
                width = self->next - first;
            else if (self->next - first != width)
                return -1;
            first = self->next;
        } while (takes(self, ','));
        if (!takes(self, ']'))
            return -1;
    } else if (!list(self)) {
        return -1;
    }
    if (named && !takes(self, '}'))
        return -1;
    space(self);
    return self->at == self->end ? rows : -1;
}

/* Lines of equally long lists of numbers; a blank line is none. The number of rows; 0 when it is not so. */
static Py_ssize_t rows_of_json_lines(Reader *self)
{
    Py_ssize_t rows = 0, width = 0;
    while (space(self) == '[') {
        const char *const start = self->at++;
        const double *const first = self->next;
        if (!list(self) || memchr(start, '\n', (size_t)(self->at - start)) != NULL)
            return 0;
        while (*self->at == ' ' || *self->at == '\t' || *self->at == '\r')
            self->at++;
        if (self->at < self->end && *self->at != '\n')
            return 0;
        if (rows++ == 0)
            width = self->next - first;
        else if (self->next - first != width)
            return 0;
    }
    return self->at == self->end ? rows : 0;
}

/* Of numbers there are at most as many as separators, and one. */
static Py_ssize_t most_numbers(const char *at, const char *end, int lines)
{
    Py_ssize_t count = 1;
    for (; at < end; at++)
        count += (*at == ',') | (*at == '\n' && lines);
    return count;
}

typedef Py_ssize_t Rows(Reader *);

/* rows: gives their number, of which `least` is the least. */
static PyObject *read_table(PyObject *body, int json, int lines, Rows *rows_of, Py_ssize_t least)
{
    if (!PyBytes_CheckExact(body))
        Py_RETURN_NONE;
    const char *const text = PyBytes_AS_STRING(body), *const end = text + PyBytes_GET_SIZE(body);
    PyObject *numbers =
        PyByteArray_FromStringAndSize(NULL, most_numbers(text, end, lines) * (Py_ssize_t)sizeof(double));
    if (numbers == NULL)
        return NULL;
    double *const first = (double *)(void *)PyByteArray_AS_STRING(numbers);
    Reader reader = {text, end, first, json};
    const Py_ssize_t rows = rows_of(&reader);
    if (rows < least) {
        Py_DECREF(numbers);
        Py_RETURN_NONE;
    }
    if (PyByteArray_Resize(numbers, (reader.next - first) * (Py_ssize_t)sizeof(double)) < 0) {
        Py_DECREF(numbers);
        return NULL;
    }
    return Py_BuildValue("Nn", numbers, rows);
}

static PyObject *from_csv(PyObject *module, PyObject *body)
{
    (void)module;
    return read_table(body, 0, 1, csv, 1);
}

static PyObject *from_json(PyObject *module, PyObject *body)
{
    (void)module;
    return read_table(body, 1, 0, rows_of_json, 0);
}

static PyObject *from_json_lines(PyObject *module, PyObject *body)
{
    (void)module;
    return read_table(body, 1, 1, rows_of_json_lines, 1);
}

static PyMethodDef METHODS[] = {
    {"from_csv", from_csv, METH_O, NULL}, {"from_json", from_json, METH_O, NULL},
    {"from_json_lines", from_json_lines, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, .m_name = "tables", .m_methods = METHODS, .m_slots = SLOTS};

PyMODINIT_FUNC PyInit_tables(void)
{
    return PyModuleDef_Init(&MODULE);
}
