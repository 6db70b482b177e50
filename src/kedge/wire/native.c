/* The part of the compiled core that is written by hand: a plain request's head, read in one pass, and whether who is
 * known has signed it.
 *
 * Both functions are for the common shape of an InvokeEndpoint request and say yes or nothing: None is no verdict; then the
 * Python that they stand for (kedge.serving.head, kedge.wire.sigv4) decides from the start. What they do answer is what
 * that Python answers; tests/wire/test_native.py holds them against it. They keep nothing between calls but short texts.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) && !defined(KEDGE_PORTABLE)
#define BY_PROCESSOR
#include <cpuid.h>
#include <immintrin.h>
#endif

#define LONGEST_HEAD (16 * 1024) /* bytes, as head.LONGEST_BYTES */
#define MOST_HEADERS 64          /* as head.MOST_HEADERS */
#define LONGEST_NAME 64          /* bytes */
#define LONGEST_SIGNED 4096      /* bytes of a canonical request */
#define LONGEST_AUTHORIZATION 1024
#define BLOCK 64
#define DIGEST 32

/* ---- SHA-256, FIPS 180-4 ---------------------------------------------------------------------------------------- */

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

typedef struct {
    uint32_t words[8];
} State;

static const State INITIAL = {{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
                               0x5be0cd19}};

static uint32_t turned(uint32_t word, int bits) { return (word >> bits) | (word << (32 - bits)); }

static void blocks_anywhere(State *state, const uint8_t *data, size_t count) {
    for (; count; count--, data += BLOCK) {
        uint32_t w[64];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 | (uint32_t)data[4 * i + 2] << 8 |
                   data[4 * i + 3];
        for (int i = 16; i < 64; i++) {
            uint32_t low = turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ (w[i - 15] >> 3);
            uint32_t high = turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16] + low + w[i - 7] + high;
        }
        uint32_t v[8];
        memcpy(v, state->words, sizeof v);
        for (unsigned i = 0; i < 64; i++) {
            /* a to h stand where they are, and turn by one place each round */
#define V(letter) v[((letter) - 'a' + 64 - i) & 7]
            uint32_t e = turned(V('e'), 6) ^ turned(V('e'), 11) ^ turned(V('e'), 25);
            uint32_t first = V('h') + e + ((V('e') & V('f')) ^ (~V('e') & V('g'))) + K[i] + w[i];
            uint32_t a = turned(V('a'), 2) ^ turned(V('a'), 13) ^ turned(V('a'), 22);
            V('d') += first;
            V('h') = first + a + ((V('a') & V('b')) ^ (V('a') & V('c')) ^ (V('b') & V('c')));
#undef V
        }
        for (int i = 0; i < 8; i++)
            state->words[i] += v[i];
    }
}

#ifdef BY_PROCESSOR
/* With the processor's own instructions: two rounds each, on the state as ABEF and CDGH (Intel, "SHA Extensions"). */
__attribute__((target("sha,sse4.1,ssse3"))) static void blocks_by_processor(State *state, const uint8_t *data,
                                                                           size_t count) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL);
    __m128i low = _mm_loadu_si128((const __m128i *)state->words);
    __m128i high = _mm_loadu_si128((const __m128i *)(state->words + 4));
    low = _mm_shuffle_epi32(low, 0xB1);
    high = _mm_shuffle_epi32(high, 0x1B);
    __m128i abef = _mm_alignr_epi8(low, high, 8);
    __m128i cdgh = _mm_blend_epi16(high, low, 0xF0);
    for (; count; count--, data += BLOCK) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 16; i++) {
            __m128i *now = w + (i & 3);
            if (i < 4) {
                *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), swap);
            } else { /* w[i] of four rounds from the sixteen before */
                const __m128i before = w[(i + 3) & 3];
                __m128i sum = _mm_sha256msg1_epu32(*now, w[(i + 1) & 3]);
                sum = _mm_add_epi32(sum, _mm_alignr_epi8(before, w[(i + 2) & 3], 4));
                *now = _mm_sha256msg2_epu32(sum, before);
            }
            __m128i keyed = _mm_add_epi32(*now, _mm_loadu_si128((const __m128i *)(K + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, keyed);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(keyed, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    low = _mm_shuffle_epi32(abef, 0x1B);
    high = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)state->words, _mm_blend_epi16(low, high, 0xF0));
    _mm_storeu_si128((__m128i *)(state->words + 4), _mm_alignr_epi8(high, low, 8));
}

static int processor_can(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 9)) || !(c & (1u << 19)))
        return 0; /* SSSE3 and SSE4.1 */
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29)) != 0;
}
#endif

static void (*blocks)(State *, const uint8_t *, size_t) = blocks_anywhere;

/* SHA-256 of `data`, which follows `before` bytes, whole blocks of them, that are in `state` already. */
static void digest(State state, size_t before, const uint8_t *data, size_t size, uint8_t out[DIGEST]) {
    size_t whole = size / BLOCK, rest = size % BLOCK;
    uint8_t tail[2 * BLOCK] = {0};
    blocks(&state, data, whole);
    memcpy(tail, data + whole * BLOCK, rest);
    tail[rest] = 0x80;
    size_t end = rest < BLOCK - 8 ? BLOCK : 2 * BLOCK;
    uint64_t bits = (uint64_t)(before + size) * 8;
    for (size_t i = 0; i < 8; i++)
        tail[end - 1 - i] = (uint8_t)(bits >> (8 * i));
    blocks(&state, tail, end / BLOCK);
    for (int i = 0; i < DIGEST; i++)
        out[i] = (uint8_t)(state.words[i / 4] >> (24 - 8 * (i % 4)));
}

static void as_hex(const uint8_t digest_[DIGEST], char out[2 * DIGEST]) {
    for (int i = 0; i < DIGEST; i++) {
        out[2 * i] = "0123456789abcdef"[digest_[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest_[i] & 15];
    }
}

/* ---- Reading a head --------------------------------------------------------------------------------------------- */

static int is_alphanumeric(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static int is_token(uint8_t c) { return is_alphanumeric(c) || (c && strchr("!#$%&'*+-.^_`|~", c)); }

/* Short texts that were made before: clients send the same names, paths and values over and over. */
#define REMEMBERED 512 /* a power of two */
#define LONGEST_REMEMBERED 96

static PyObject *remembered[REMEMBERED];

/* An ASCII text; a new reference. */
static PyObject *text_of(const char *data, size_t size) {
    PyObject **place = NULL;
    if (size <= LONGEST_REMEMBERED) {
        uint32_t hash = 2166136261u; /* FNV-1a */
        for (size_t i = 0; i < size; i++)
            hash = (hash ^ (uint8_t)data[i]) * 16777619u;
        place = remembered + ((hash ^ hash >> 16) & (REMEMBERED - 1));
        if (*place && (size_t)PyUnicode_GET_LENGTH(*place) == size && !memcmp(PyUnicode_1BYTE_DATA(*place), data, size))
            return Py_NewRef(*place);
    }
    PyObject *text = PyUnicode_New((Py_ssize_t)size, 127);
    if (!text)
        return NULL;
    memcpy(PyUnicode_1BYTE_DATA(text), data, size);
    if (place)
        Py_XSETREF(*place, Py_NewRef(text));
    return text;
}

static int is(const char *text, size_t size, const char *wanted) {
    return strlen(wanted) == size && !memcmp(text, wanted, size);
}

static int says_how_to_read_on(const char *name, size_t size) {
    return is(name, size, "transfer-encoding") || is(name, size, "expect") || is(name, size, "upgrade") ||
           is(name, size, "te") || is(name, size, "trailer") || is(name, size, "proxy-connection");
}

static int is_keep_alive(const char *value, size_t size) {
    static const char wanted[] = "keep-alive";
    if (size != sizeof wanted - 1)
        return 0;
    for (size_t i = 0; i < size; i++)
        if ((value[i] | 0x20) != (wanted[i] | 0x20))
            return 0;
    return 1;
}

/* What the headers have said of how the request is to be read. */
typedef struct {
    int host;
    size_t length; /* of the body; 0 where nothing was said */
} Said;

/* Puts the line at `line` into `headers`. 1: done; 0: it is not plain; -1: an exception is set. */
static int take_line(PyObject *headers, const char *line, size_t size, Said *said) {
    char name[LONGEST_NAME];
    size_t at = 0;
    for (; at < size && line[at] != ':'; at++) {
        uint8_t c = (uint8_t)line[at];
        if (at == LONGEST_NAME || !is_token(c))
            return 0;
        name[at] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    if (!at || at == size || says_how_to_read_on(name, at))
        return 0;
    const char *value = line + at + 1, *end = line + size;
    while (value < end && *value == ' ')
        value++;
    while (end > value && end[-1] == ' ')
        end--;
    size_t long_ = (size_t)(end - value);
    if (is(name, at, "host")) {
        said->host = 1;
    } else if (is(name, at, "connection")) {
        if (!is_keep_alive(value, long_))
            return 0;
    } else if (is(name, at, "content-length")) {
        if (!long_ || long_ > 9)
            return 0;
        for (size_t i = 0; i < long_; i++) {
            if (value[i] < '0' || value[i] > '9')
                return 0;
            said->length = said->length * 10 + (size_t)(value[i] - '0');
        }
    }
    PyObject *key = text_of(name, at), *text = key ? text_of(value, long_) : NULL;
    Py_ssize_t before = PyDict_GET_SIZE(headers);
    int failed = !text || PyDict_SetItem(headers, key, text) < 0;
    Py_XDECREF(key);
    Py_XDECREF(text);
    if (failed)
        return -1;
    return PyDict_GET_SIZE(headers) > before; /* else it was there before */
}

/* (method, path, query, headers, body), or NULL without an exception for what is not plain. */
static PyObject *plain(const char *data, size_t size) {
    static const char begin[] = "POST /", version[] = " HTTP/1.1\r\n";
    const size_t most = size < LONGEST_HEAD ? size : LONGEST_HEAD;
    if (most < sizeof begin - 1 || memcmp(data, begin, sizeof begin - 1))
        return NULL;
    const char *path = data + sizeof begin - 2, *end = data + most, *at = path;
    while (at < end && *at > ' ' && *at < 0x7f && *at != '#' && *at != '?')
        at++;
    const size_t path_size = (size_t)(at - path);
    if ((size_t)(end - at) < sizeof version - 1 || memcmp(at, version, sizeof version - 1))
        return NULL;
    at += sizeof version - 1;
    PyObject *headers = PyDict_New();
    if (!headers)
        return NULL;
    Said said = {0, 0};
    for (int lines = 0;; lines++) {
        const char *line = at;
        while (at < end && *at >= ' ' && *at < 0x7f)
            at++;
        if (end - at < 2 || at[0] != '\r' || at[1] != '\n' || (lines == MOST_HEADERS && at > line))
            goto none;
        at += 2;
        if (at - 2 == line)
            break;
        if (take_line(headers, line, (size_t)(at - 2 - line), &said) <= 0)
            goto none;
    }
    if (!said.host || said.length != size - (size_t)(at - data))
        goto none;
    PyObject *found = PyTuple_New(5);
    if (!found)
        goto none;
    PyTuple_SET_ITEM(found, 0, text_of("POST", 4));
    PyTuple_SET_ITEM(found, 1, text_of(path, path_size));
    PyTuple_SET_ITEM(found, 2, text_of("", 0));
    PyTuple_SET_ITEM(found, 3, headers);
    PyTuple_SET_ITEM(found, 4, PyBytes_FromStringAndSize(at, (Py_ssize_t)said.length));
    for (int i = 0; i < 5; i++) {
        if (!PyTuple_GET_ITEM(found, i)) {
            Py_DECREF(found);
            return NULL;
        }
    }
    return found;
none:
    Py_DECREF(headers);
    return NULL;
}

static PyObject *none_unless_failed(void) {
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *read_head(PyObject *module, PyObject *data) {
    (void)module;
    if (!PyBytes_CheckExact(data)) {
        PyErr_SetString(PyExc_TypeError, "a head is read from bytes");
        return NULL;
    }
    PyObject *found = plain(PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    return found ? found : none_unless_failed();
}

/* ---- Who has signed --------------------------------------------------------------------------------------------- */

/* Text that grows up to its bound; beyond that it is full, and stays so. */
typedef struct {
    char data[LONGEST_SIGNED];
    size_t size;
    int full;
} Text;

static void add(Text *text, const char *data, size_t size) {
    if (text->full || size > sizeof text->data - text->size) {
        text->full = 1;
        return;
    }
    memcpy(text->data + text->size, data, size);
    text->size += size;
}

typedef struct {
    const char *data;
    size_t size;
} Span;

/* An ASCII str's characters; data is NULL for anything else. */
static Span ascii(PyObject *text) {
    Span span = {NULL, 0};
    if (text && PyUnicode_CheckExact(text) && PyUnicode_IS_COMPACT_ASCII(text)) {
        span.data = (const char *)PyUnicode_1BYTE_DATA(text);
        span.size = (size_t)PyUnicode_GET_LENGTH(text);
    }
    return span;
}

/* From *at on: `lead`, then what is visible and none of ",=", up to `stop` or the end. Moves *at behind it. */
static Span part(const char **at, const char *end, const char *lead, char stop) {
    Span span = {NULL, 0};
    size_t size = strlen(lead);
    if ((size_t)(end - *at) < size || memcmp(*at, lead, size))
        return span;
    const char *start = *at + size, *here = start;
    while (here < end && *here > ' ' && *here < 0x7f && *here != ',' && *here != '=')
        here++;
    if (here == start || (stop ? here == end || *here != stop : here != end))
        return span;
    *at = here + (stop != 0);
    span.data = start;
    span.size = (size_t)(here - start);
    return span;
}

/* Neither to be encoded nor to be normalised, as canonical._PLAIN_PATH has it. */
static int is_plain_path(Span path) {
    if (path.size < 2 || path.data[0] != '/' || path.data[1] == '/')
        return 0;
    for (size_t i = 1; i < path.size; i++) {
        char c = path.data[i], before = path.data[i - 1];
        if (c == '/' ? before == '/' : !is_alphanumeric((uint8_t)c) && c != '-' && c != '_' && c != '~' && c != '.')
            return 0;
        if (c == '.' && before == '/')
            return 0;
    }
    return 1;
}

/* Whether blanks within or around it would be taken out before it is signed. */
static int has_spare_blanks(Span value) {
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] == '\t')
            return 1;
        if (value.data[i] == ' ' && (i == 0 || i == value.size - 1 || value.data[i - 1] == ' '))
            return 1;
    }
    return 0;
}

static int is_among(Span name, Span list) {
    for (size_t at = 0; at < list.size;) {
        const char *end = memchr(list.data + at, ';', list.size - at);
        size_t size = end ? (size_t)(end - list.data) - at : list.size - at;
        if (size == name.size && !memcmp(list.data + at, name.data, size))
            return 1;
        at += size + 1;
    }
    return 0;
}

/* Adds a line for each signed header. 0 where the Python has to look. */
static int add_headers(Text *text, PyObject *headers, Span names) {
    int host = 0, count = 0;
    for (size_t at = 0; at <= names.size;) {
        const char *end = memchr(names.data + at, ';', names.size - at);
        size_t size = end ? (size_t)(end - names.data) - at : names.size - at;
        if (!size || size > LONGEST_NAME || ++count > MOST_HEADERS)
            return 0;
        PyObject *name = text_of(names.data + at, size);
        if (!name)
            return 0;
        Span value = ascii(PyDict_GetItemWithError(headers, name));
        Py_DECREF(name);
        if (!value.data || has_spare_blanks(value))
            return 0;
        host |= is(names.data + at, size, "host");
        add(text, names.data + at, size);
        add(text, ":", 1);
        add(text, value.data, value.size);
        add(text, "\n", 1);
        at += size + 1;
    }
    if (!host)
        return 0;
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(headers, &at, &key, &value);) {
        Span name = ascii(key);
        if (!name.data || (name.size > 5 && !memcmp(name.data, "x-amz-", 6) && !is_among(name, names)))
            return 0;
    }
    return 1;
}

static PyObject *header(PyObject *headers, const char *name) {
    PyObject *key = text_of(name, strlen(name)), *value = key ? PyDict_GetItemWithError(headers, key) : NULL;
    Py_XDECREF(key);
    return value; /* borrowed */
}

static int digit_of(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

/* The entry of `known` whose key has made the signature; borrowed. NULL where the Python has to look. */
static PyObject *verdict(PyObject *known, Span path, PyObject *headers, PyObject *body) {
    Span authorization = ascii(header(headers, "authorization")), time = ascii(header(headers, "x-amz-date"));
    if (!authorization.data || authorization.size > LONGEST_AUTHORIZATION || !is_plain_path(path))
        return NULL;
    const char *at = authorization.data, *end = at + authorization.size;
    Span credential = part(&at, end, "AWS4-HMAC-SHA256 Credential=", ',');
    at += credential.data && at < end && *at == ' ';
    Span names = part(&at, end, "SignedHeaders=", ',');
    at += names.data && at < end && *at == ' ';
    Span signature = part(&at, end, "Signature=", 0);
    if (!credential.data || !names.data || signature.size != 2 * DIGEST)
        return NULL;
    /* 20130524T000000Z, of the day that the scope names; whether that is a time, and now, is for who calls. */
    const char *scope = memchr(credential.data, '/', credential.size);
    if (!time.data || time.size != 16 || !scope || (size_t)(credential.data + credential.size - scope) < 10)
        return NULL;
    scope++;
    const size_t scope_size = (size_t)(credential.data + credential.size - scope);
    for (int i = 0; i < 16; i++)
        if (i == 8 ? time.data[i] != 'T' : i == 15 ? time.data[i] != 'Z' : time.data[i] < '0' || time.data[i] > '9')
            return NULL;
    if (memcmp(time.data, scope, 8) || scope[8] != '/')
        return NULL;

    PyObject *name = text_of(credential.data, credential.size), *entry = NULL;
    if (name) {
        entry = PyDict_GetItemWithError(known, name);
        Py_DECREF(name);
    }
    if (!entry || !PyTuple_CheckExact(entry) || PyTuple_GET_SIZE(entry) != 2)
        return NULL;
    PyObject *halves = PyTuple_GET_ITEM(entry, 0);
    if (!PyBytes_CheckExact(halves) || PyBytes_GET_SIZE(halves) != 2 * (Py_ssize_t)sizeof(State))
        return NULL;

    uint8_t found[DIGEST];
    char hex[2 * DIGEST];
    Text text;
    text.size = 0, text.full = 0;
    add(&text, "POST\n", 5);
    add(&text, path.data, path.size);
    add(&text, "\n\n", 2);
    if (!add_headers(&text, headers, names))
        return NULL;
    add(&text, "\n", 1);
    add(&text, names.data, names.size);
    add(&text, "\n", 1);
    digest(INITIAL, 0, (const uint8_t *)PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body), found);
    as_hex(found, hex);
    add(&text, hex, sizeof hex);
    if (text.full)
        return NULL;
    digest(INITIAL, 0, (const uint8_t *)text.data, text.size, found);
    as_hex(found, hex);
    text.size = 0;
    add(&text, "AWS4-HMAC-SHA256\n", 17);
    add(&text, time.data, time.size);
    add(&text, "\n", 1);
    add(&text, scope, scope_size);
    add(&text, "\n", 1);
    add(&text, hex, sizeof hex);
    if (text.full)
        return NULL;

    State half[2];
    memcpy(half, PyBytes_AS_STRING(halves), sizeof half);
    digest(half[0], BLOCK, (const uint8_t *)text.data, text.size, found);
    digest(half[1], BLOCK, found, DIGEST, found);
    unsigned differs = 0; /* in constant time */
    for (int i = 0; i < DIGEST; i++) {
        int high = digit_of(signature.data[2 * i]), low = digit_of(signature.data[2 * i + 1]);
        differs |= (unsigned)(high < 0 || low < 0) | ((unsigned)(high * 16 + low) ^ found[i]);
    }
    return differs ? NULL : PyTuple_GET_ITEM(entry, 1);
}

static PyObject *signer(PyObject *module, PyObject *const *given, Py_ssize_t count) {
    (void)module;
    if (count != 4 || !PyDict_CheckExact(given[0]) || !PyUnicode_CheckExact(given[1]) ||
        !PyDict_CheckExact(given[2]) || !PyBytes_CheckExact(given[3])) {
        PyErr_SetString(PyExc_TypeError, "signer takes known (dict), path (str), headers (dict) and body (bytes)");
        return NULL;
    }
    Span path = ascii(given[1]);
    PyObject *found = path.data ? verdict(given[0], path, given[2], given[3]) : NULL;
    return found ? Py_NewRef(found) : none_unless_failed();
}

static PyObject *key_halves(PyObject *module, PyObject *key) {
    (void)module;
    if (!PyBytes_CheckExact(key) || PyBytes_GET_SIZE(key) > BLOCK) {
        PyErr_Format(PyExc_ValueError, "a key is at most %d bytes", BLOCK);
        return NULL;
    }
    State half[2] = {INITIAL, INITIAL};
    for (int each = 0; each < 2; each++) {
        uint8_t padded[BLOCK] = {0};
        memcpy(padded, PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key));
        for (int i = 0; i < BLOCK; i++)
            padded[i] ^= each ? 0x5c : 0x36;
        blocks(half + each, padded, 1);
    }
    return PyBytes_FromStringAndSize((const char *)half, sizeof half);
}

static PyMethodDef methods[] = {
    {"read_head", read_head, METH_O, "As kedge.serving.head.parse, or None where that has to look."},
    {"signer", (PyCFunction)(void (*)(void))signer, METH_FASTCALL,
     "signer(known, path, headers, body): the value of the credential in `known` that has signed a POST without a query."},
    {"key_halves", key_halves, METH_O, "SHA-256 of a key as an HMAC pads it, both halves, as `signer` wants them."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "native", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit_native(void) {
#ifdef BY_PROCESSOR
    if (processor_can())
        blocks = blocks_by_processor;
#endif
    return PyModule_Create(&definition);
}
