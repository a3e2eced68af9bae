/* Values with Python's semantics: truth, equality, order, arithmetic, look-up.
 *
 * bool, int and float compare and hash as one kind of number. Integers have 64 bits; what would not fit is an error,
 * never a wrong number. Strings compare by bytes, which for UTF-8 is the order of code points. */
#include <math.h>
#include <string.h>

#include "text/jinja.h"

jinja_value jinja_none(void)
{
    return (jinja_value){.kind = J_NONE};
}

jinja_value jinja_bool(bool b)
{
    return (jinja_value){.kind = J_BOOL, .b = b};
}

jinja_value jinja_int(int64_t i)
{
    return (jinja_value){.kind = J_INT, .i = i};
}

jinja_value jinja_float(double f)
{
    return (jinja_value){.kind = J_FLOAT, .f = f};
}

jinja_value jinja_of_str(const jinja_str *s)
{
    return (jinja_value){.kind = J_STR, .str = s};
}

jinja_value jinja_of_seq(jinja_seq *s)
{
    return (jinja_value){.kind = J_SEQ, .seq = s};
}

jinja_value jinja_of_dict(jinja_dict *d)
{
    return (jinja_value){.kind = J_DICT, .dict = d};
}

jinja_value jinja_undefined_of(jinja_run *r, const char *name, const char *owner)
{
    jinja_undefined *u = jinja_alloc(&r->arena, sizeof *u);

    u->name = name;
    u->owner = owner;
    return (jinja_value){.kind = J_UNDEFINED, .undef = u};
}

const char *jinja_type_name(jinja_value v)
{
    static const char *const seq[] = {"list",      "tuple",       "range",     "generator",
                                      "dict_keys", "dict_values", "dict_items"};

    switch ((jinja_kind)v.kind) {
    case J_UNDEFINED:
        return "Undefined";
    case J_NONE:
        return "NoneType";
    case J_BOOL:
        return "bool";
    case J_INT:
        return "int";
    case J_FLOAT:
        return "float";
    case J_STR:
        return v.str->safe ? "Markup" : "str";
    case J_SEQ:
        return seq[v.seq->type];
    case J_DICT:
        return "dict";
    case J_NAMESPACE:
        return "Namespace";
    case J_MACRO:
        return "Macro";
    case J_METHOD:
    case J_FUNCTION:
        return "function";
    case J_LOOP:
        return "LoopContext";
    case J_SLICE:
        return "slice";
    case J_MISSING:
        break;
    }
    return "missing";
}

bool jinja_truth(jinja_value v)
{
    switch ((jinja_kind)v.kind) {
    case J_MISSING:
    case J_UNDEFINED:
    case J_NONE:
        return false;
    case J_BOOL:
        return v.b;
    case J_INT:
        return v.i != 0;
    case J_FLOAT:
        return v.f != 0;
    case J_STR:
        return v.str->n != 0;
    case J_SEQ:
        return v.seq->type == SEQ_ITERATOR || v.seq->n != 0;
    case J_DICT:
        return v.dict->n != 0;
    case J_LOOP:
        return true;
    default:
        return true;
    }
}

bool jinja_is_number(jinja_value v)
{
    return v.kind == J_BOOL || v.kind == J_INT || v.kind == J_FLOAT;
}

double jinja_number(jinja_value v)
{
    return v.kind == J_FLOAT ? v.f : v.kind == J_INT ? (double)v.i : (double)v.b;
}

static int64_t integer(jinja_value v)
{
    return v.kind == J_INT ? v.i : v.b;
}

/* -1, 0, 1, or 2 when a NaN is among them. Exact also where an int64 has no double. */
static int number_order(jinja_value a, jinja_value b)
{
    double fa, fb, whole;
    int64_t i;

    if (a.kind != J_FLOAT && b.kind != J_FLOAT)
        return (integer(a) > integer(b)) - (integer(a) < integer(b));
    fa = jinja_number(a);
    fb = jinja_number(b);
    if (isnan(fa) || isnan(fb))
        return 2;
    if (fa != fb || (a.kind == J_FLOAT && b.kind == J_FLOAT))
        return (fa > fb) - (fa < fb);
    if (a.kind == J_FLOAT)
        return -number_order(b, a);
    whole = fb; /* equal after rounding: compare exactly */
    if (whole >= 9223372036854775808.0)
        return -1;
    i = (int64_t)whole;
    return (integer(a) > i) - (integer(a) < i);
}

static jinja_value key_at(const jinja_dict *d, size_t i)
{
    return d->entry[i].key;
}

static bool is_list_or_tuple(jinja_value v)
{
    return v.kind == J_SEQ &&
           (v.seq->type == SEQ_LIST || v.seq->type == SEQ_TUPLE || v.seq->type == SEQ_RANGE);
}

bool jinja_equal(jinja_run *r, jinja_value a, jinja_value b)
{
    size_t i;
    jinja_value *other;
    bool same = true;

    jinja_work(r, 1);
    if (jinja_is_number(a) && jinja_is_number(b))
        return number_order(a, b) == 0;
    if (a.kind != b.kind)
        return false;
    switch ((jinja_kind)a.kind) {
    case J_UNDEFINED:
    case J_NONE:
        return true;
    case J_STR:
        jinja_work(r, a.str->n / 16);
        return jinja_str_equal(a.str, b.str);
    case J_SEQ:
        if (a.seq == b.seq)
            return true;
        if (!is_list_or_tuple(a) || a.seq->type != b.seq->type || a.seq->n != b.seq->n)
            return false;
        jinja_enter(r);
        for (i = 0; i < a.seq->n && same; i++)
            same = jinja_equal(r, a.seq->item[i], b.seq->item[i]);
        r->depth--;
        return same;
    case J_DICT:
        if (a.dict == b.dict)
            return true;
        if (a.dict->n != b.dict->n)
            return false;
        jinja_enter(r);
        for (i = 0; i < a.dict->n && same; i++) {
            other = jinja_dict_get(r, b.dict, key_at(a.dict, i));
            same = other && jinja_equal(r, a.dict->entry[i].value, *other);
        }
        r->depth--;
        return same;
    case J_NAMESPACE:
        return a.dict == b.dict;
    case J_MACRO:
        return a.macro == b.macro;
    case J_LOOP:
        return a.loop == b.loop;
    case J_FUNCTION:
        return a.id == b.id;
    case J_METHOD:
        return a.method->id == b.method->id && jinja_equal(r, a.method->self, b.method->self);
    default:
        return false;
    }
}

int jinja_order(jinja_run *r, jinja_value a, jinja_value b)
{
    size_t i, n;
    int c;

    jinja_work(r, 1);
    if (jinja_is_number(a) && jinja_is_number(b))
        return number_order(a, b);
    if (a.kind == J_STR && b.kind == J_STR) {
        n = HONE_MIN(a.str->n, b.str->n);
        c = n ? memcmp(a.str->s, b.str->s, n) : 0;
        jinja_work(r, n / 16);
        return c ? (c > 0) - (c < 0) : (a.str->n > b.str->n) - (a.str->n < b.str->n);
    }
    if (is_list_or_tuple(a) && is_list_or_tuple(b) && a.seq->type == b.seq->type &&
        a.seq->type != SEQ_RANGE) {
        n = HONE_MIN(a.seq->n, b.seq->n);
        for (i = 0; i < n; i++)
            if (!jinja_equal(r, a.seq->item[i], b.seq->item[i])) {
                jinja_enter(r);
                c = jinja_order(r, a.seq->item[i], b.seq->item[i]);
                r->depth--;
                return c;
            }
        return (a.seq->n > b.seq->n) - (a.seq->n < b.seq->n);
    }
    if (a.kind == J_UNDEFINED || b.kind == J_UNDEFINED)
        FAIL(r, "an undefined value can not be compared by order");
    FAIL(r, "'%s' and '%s' can not be compared by order", jinja_type_name(a), jinja_type_name(b));
}

/* ---- containers ---------------------------------------------------------------------------------------------- */

jinja_seq *jinja_seq_new(jinja_run *r, jinja_seq_type type, size_t capacity)
{
    jinja_seq *s = jinja_alloc(&r->arena, sizeof *s);

    s->type = type;
    if (capacity) {
        s->item = jinja_alloc_array(&r->arena, capacity, sizeof *s->item);
        s->capacity = capacity;
    }
    return s;
}

void jinja_seq_push(jinja_run *r, jinja_seq *s, jinja_value v)
{
    jinja_value *item;

    jinja_work(r, 1);
    if (s->n == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 8;
        item = jinja_alloc_array(&r->arena, s->capacity, sizeof *item);
        if (s->n)
            memcpy(item, s->item, s->n * sizeof *item);
        s->item = item;
    }
    s->item[s->n++] = v;
}

static uint64_t hash(jinja_run *r, jinja_value v)
{
    uint64_t h = v.kind;
    double f;
    size_t i;

    switch ((jinja_kind)v.kind) {
    case J_BOOL:
    case J_INT:
    case J_FLOAT:
        f = jinja_number(v) + 0.0; /* -0.0 and 0.0 are one key */
        return hone_hash64(1, &f, sizeof f);
    case J_STR:
        jinja_work(r, v.str->n / 16);
        return hone_hash64(2, v.str->s, v.str->n);
    case J_SEQ:
        if (v.seq->type == SEQ_TUPLE) {
            for (i = 0; i < v.seq->n; i++)
                h = h * 31 + hash(r, v.seq->item[i]);
            return h;
        }
        break;
    case J_DICT:
    case J_NAMESPACE:
        break;
    default:
        return h;
    }
    FAIL(r, "unhashable type: '%s'", jinja_type_name(v));
}

jinja_dict *jinja_dict_new(jinja_run *r)
{
    return jinja_alloc(&r->arena, sizeof(jinja_dict));
}

static void index_entry(jinja_run *r, jinja_dict *d, size_t i)
{
    size_t slot = hash(r, d->entry[i].key) & (d->n_index - 1);

    for (; d->index[slot]; slot = (slot + 1) & (d->n_index - 1))
        jinja_work(r, 1);
    d->index[slot] = (uint32_t)(i + 1);
}

jinja_value *jinja_dict_get(jinja_run *r, const jinja_dict *d, jinja_value key)
{
    uint64_t h = hash(r, key); /* also for small ones: an unhashable key is an error */
    size_t i, slot;

    if (!d->index) {
        for (i = 0; i < d->n; i++)
            if (jinja_equal(r, d->entry[i].key, key))
                return &d->entry[i].value;
        return NULL;
    }
    for (slot = h & (d->n_index - 1); d->index[slot]; slot = (slot + 1) & (d->n_index - 1)) {
        i = d->index[slot] - 1;
        if (jinja_equal(r, d->entry[i].key, key))
            return &d->entry[i].value;
    }
    return NULL;
}

jinja_value *jinja_dict_find(const jinja_dict *d, const char *key)
{
    size_t i;

    for (i = 0; i < d->n; i++)
        if (d->entry[i].key.kind == J_STR && jinja_str_is(d->entry[i].key.str, key))
            return &d->entry[i].value;
    return NULL;
}

void jinja_dict_set(jinja_run *r, jinja_dict *d, jinja_value key, jinja_value value)
{
    jinja_value *old = jinja_dict_get(r, d, key);
    jinja_entry *entry;
    size_t i;

    if (old) {
        *old = value;
        return;
    }
    jinja_work(r, 1);
    if (d->n == d->capacity) {
        if (d->n >= UINT32_MAX / 4)
            jinja_fail(&r->arena, HONE_ELIMIT, "too many keys");
        d->capacity = d->capacity ? d->capacity * 2 : 8;
        entry = jinja_alloc_array(&r->arena, d->capacity, sizeof *entry);
        if (d->n)
            memcpy(entry, d->entry, d->n * sizeof *entry);
        d->entry = entry;
        if (d->capacity > 8) {
            d->n_index = d->capacity * 2;
            d->index = jinja_alloc_array(&r->arena, d->n_index, sizeof *d->index);
            for (i = 0; i < d->n; i++)
                index_entry(r, d, i);
        }
    }
    d->entry[d->n] = (jinja_entry){key, value};
    if (d->index)
        index_entry(r, d, d->n);
    d->n++;
}

jinja_seq *jinja_iterate(jinja_run *r, jinja_value v)
{
    jinja_seq *s;
    size_t i;

    switch ((jinja_kind)v.kind) {
    case J_UNDEFINED:
        if (v.undef->unsafe)
            FAIL(r, "access to attribute '%s' of '%s' object is unsafe", v.undef->name, v.undef->owner);
        return jinja_seq_new(r, SEQ_LIST, 0);
    case J_STR:
        return jinja_str_characters(r, v.str);
    case J_DICT:
        s = jinja_seq_new(r, SEQ_LIST, v.dict->n);
        for (i = 0; i < v.dict->n; i++)
            jinja_seq_push(r, s, v.dict->entry[i].key);
        return s;
    case J_SEQ:
        if (v.seq->type != SEQ_ITERATOR)
            return v.seq;
        s = jinja_seq_new(r, SEQ_LIST, 0);
        s->item = v.seq->n ? v.seq->item + v.seq->next : NULL;
        s->n = s->capacity = v.seq->n - v.seq->next;
        v.seq->next = v.seq->n;
        return s;
    default:
        FAIL(r, "'%s' object is not iterable", jinja_type_name(v));
    }
}

int64_t jinja_length(jinja_run *r, jinja_value v)
{
    if (v.kind == J_STR)
        return (int64_t)jinja_str_chars(v.str);
    if (v.kind == J_DICT)
        return (int64_t)v.dict->n;
    if (v.kind == J_SEQ && v.seq->type != SEQ_ITERATOR)
        return (int64_t)v.seq->n;
    if (v.kind == J_UNDEFINED && !v.undef->unsafe)
        return 0;
    if (v.kind == J_LOOP)
        return (int64_t)v.loop->n;
    FAIL(r, "object of type '%s' has no len()", jinja_type_name(v));
}

bool jinja_contains(jinja_run *r, jinja_value container, jinja_value item)
{
    jinja_seq *s;
    size_t i;

    if (container.kind == J_STR) {
        if (item.kind != J_STR)
            FAIL(r, "'in <string>' requires string as left operand, not %s", jinja_type_name(item));
        return jinja_str_find(r, container.str, item.str, 0) != SIZE_MAX;
    }
    if (container.kind == J_DICT)
        return jinja_dict_get(r, container.dict, item) != NULL;
    if (container.kind != J_SEQ && container.kind != J_UNDEFINED)
        FAIL(r, "argument of type '%s' is not iterable", jinja_type_name(container));
    s = jinja_iterate(r, container);
    for (i = 0; i < s->n; i++)
        if (jinja_equal(r, s->item[i], item))
            return true;
    return false;
}

/* ---- arithmetic ---------------------------------------------------------------------------------------------- */

_Noreturn static void overflow(jinja_run *r)
{
    jinja_fail(&r->arena, HONE_EUNSUPPORTED, "integer beyond 64 bits");
}

static jinja_value integer_op(jinja_run *r, jinja_op op, int64_t a, int64_t b)
{
    int64_t v = 0, q;
    bool bad = false;

    switch (op) {
    case OP_ADD:
        bad = __builtin_add_overflow(a, b, &v);
        break;
    case OP_SUB:
        bad = __builtin_sub_overflow(a, b, &v);
        break;
    case OP_MUL:
        bad = __builtin_mul_overflow(a, b, &v);
        break;
    case OP_FLOORDIV:
    case OP_MOD:
        if (!b)
            FAIL(r, "integer division or modulo by zero");
        if (b == -1) { /* INT64_MIN / -1 does not fit */
            bad = op == OP_FLOORDIV && a == INT64_MIN;
            v = op == OP_MOD || bad ? 0 : -a;
            break;
        }
        q = a / b - (a % b != 0 && (a < 0) != (b < 0));
        v = op == OP_FLOORDIV ? q : a - q * b;
        break;
    case OP_POW: /* b >= 0 */
        for (v = 1; b && !bad; b >>= 1) {
            if (b & 1)
                bad = __builtin_mul_overflow(v, a, &v);
            if (b > 1 && !bad)
                bad = __builtin_mul_overflow(a, a, &a);
        }
        break;
    default:
        break;
    }
    if (bad)
        overflow(r);
    return jinja_int(v);
}

static jinja_value float_op(jinja_run *r, jinja_op op, double a, double b)
{
    double m;

    switch (op) {
    case OP_ADD:
        return jinja_float(a + b);
    case OP_SUB:
        return jinja_float(a - b);
    case OP_MUL:
        return jinja_float(a * b);
    case OP_DIV:
        if (b == 0)
            FAIL(r, "division by zero");
        return jinja_float(a / b);
    case OP_FLOORDIV:
    case OP_MOD:
        if (b == 0)
            FAIL(r, "float division or modulo by zero");
        m = fmod(a, b);
        if (m != 0 && (m < 0) != (b < 0))
            m += b;
        if (op == OP_MOD)
            return jinja_float(m == 0 ? copysign(0, b) : m);
        return jinja_float(round((a - m) / b));
    default: /* OP_POW */
        if (a == 0 && b < 0)
            FAIL(r, "0.0 can not be raised to a negative power");
        m = pow(a, b);
        if (isinf(m) && !isinf(a) && !isinf(b))
            FAIL(r, "the result of ** is too large");
        if (isnan(m) && !isnan(a) && !isnan(b))
            jinja_fail(&r->arena, HONE_EUNSUPPORTED, "complex numbers are not supported");
        return jinja_float(m);
    }
}

static jinja_value repeat(jinja_run *r, jinja_value v, int64_t times)
{
    jinja_seq *s;
    int64_t k;
    size_t i;

    if (v.kind == J_STR)
        return jinja_of_str(jinja_str_repeat(r, v.str, times));
    s = jinja_seq_new(r, v.seq->type, 0);
    for (k = 0; k < times && v.seq->n; k++)
        for (i = 0; i < v.seq->n; i++)
            jinja_seq_push(r, s, v.seq->item[i]);
    return jinja_of_seq(s);
}

static bool repeatable(jinja_value v)
{
    return v.kind == J_STR || (v.kind == J_SEQ && (v.seq->type == SEQ_LIST || v.seq->type == SEQ_TUPLE));
}

jinja_value jinja_binary(jinja_run *r, jinja_op op, jinja_value a, jinja_value b)
{
    static const char *const name[] = {"+", "-", "*", "/", "//", "%", "**"};
    const jinja_str *sa, *sb;
    jinja_seq *s;
    size_t i;

    jinja_work(r, 1);
    if (a.kind == J_UNDEFINED || b.kind == J_UNDEFINED) {
        if (a.kind != J_UNDEFINED)
            a = b;
        FAIL(r, "'%s' is undefined", a.undef->name);
    }
    if (op == OP_MOD && a.kind == J_STR)
        return jinja_of_str(jinja_str_format(r, a.str, b));
    if (jinja_is_number(a) && jinja_is_number(b)) {
        bool floats =
            a.kind == J_FLOAT || b.kind == J_FLOAT || op == OP_DIV || (op == OP_POW && integer(b) < 0);

        return floats ? float_op(r, op, jinja_number(a), jinja_number(b))
                      : integer_op(r, op, integer(a), integer(b));
    }
    if (op == OP_ADD && a.kind == J_STR && b.kind == J_STR) {
        sa = a.str;
        sb = b.str;
        if (sa->safe && !sb->safe)
            sb = jinja_str_escape(r, sb);
        else if (sb->safe && !sa->safe)
            sa = jinja_str_escape(r, sa);
        return jinja_of_str(jinja_str_join2(r, sa, sb));
    }
    if (op == OP_ADD && repeatable(a) && repeatable(b) && a.kind == J_SEQ && b.kind == J_SEQ &&
        a.seq->type == b.seq->type) {
        s = jinja_seq_new(r, a.seq->type, a.seq->n + b.seq->n);
        for (i = 0; i < a.seq->n; i++)
            jinja_seq_push(r, s, a.seq->item[i]);
        for (i = 0; i < b.seq->n; i++)
            jinja_seq_push(r, s, b.seq->item[i]);
        return jinja_of_seq(s);
    }
    if (op == OP_MUL && repeatable(a) && (b.kind == J_INT || b.kind == J_BOOL))
        return repeat(r, a, integer(b));
    if (op == OP_MUL && repeatable(b) && (a.kind == J_INT || a.kind == J_BOOL))
        return repeat(r, b, integer(a));
    FAIL(r, "unsupported operand types for %s: '%s' and '%s'", name[op], jinja_type_name(a),
         jinja_type_name(b));
}

/* ---- look-up -------------------------------------------------------------------------------------------------- */

static const char *owner_name(jinja_value v)
{
    return v.kind == J_NONE ? "None" : jinja_type_name(v);
}

static const char *c_text(jinja_run *r, const jinja_str *s)
{
    char *copy = jinja_alloc(&r->arena, s->n + 1);

    memcpy(copy, s->s, s->n);
    return copy;
}

void jinja_fail_undefined(jinja_run *r, jinja_value v)
{
    if (v.undef->unsafe)
        FAIL(r, "access to attribute '%s' of '%s' object is unsafe", v.undef->name, v.undef->owner);
    if (v.undef->owner)
        FAIL(r, "'%s' has no attribute '%s'", v.undef->owner, v.undef->name);
    FAIL(r, "'%s' is undefined", v.undef->name);
}

static jinja_value loop_attribute(jinja_run *r, jinja_loop *l, const jinja_str *name)
{
    int64_t at = (int64_t)l->at, n = (int64_t)l->n;

    if (jinja_str_is(name, "index"))
        return jinja_int(at + 1);
    if (jinja_str_is(name, "index0"))
        return jinja_int(at);
    if (jinja_str_is(name, "first"))
        return jinja_bool(at == 0);
    if (jinja_str_is(name, "last"))
        return jinja_bool(at + 1 == n);
    if (jinja_str_is(name, "length"))
        return jinja_int(n);
    if (jinja_str_is(name, "revindex"))
        return jinja_int(n - at);
    if (jinja_str_is(name, "revindex0"))
        return jinja_int(n - at - 1);
    if (jinja_str_is(name, "depth"))
        return jinja_int((int64_t)l->depth0 + 1);
    if (jinja_str_is(name, "depth0"))
        return jinja_int((int64_t)l->depth0);
    if (jinja_str_is(name, "previtem"))
        return at > 0 ? l->item[at - 1] : jinja_undefined_of(r, "there is no previous item", NULL);
    if (jinja_str_is(name, "nextitem"))
        return at + 1 < n ? l->item[at + 1] : jinja_undefined_of(r, "there is no next item", NULL);
    return (jinja_value){.kind = J_MISSING};
}

/* An attribute in Python's sense (methods, loop fields, namespace fields); J_MISSING if there is none. */
static jinja_value own_attribute(jinja_run *r, jinja_value v, const jinja_str *name)
{
    jinja_value found = {.kind = J_MISSING}, *value;

    switch ((jinja_kind)v.kind) {
    case J_NAMESPACE:
        value = jinja_dict_get(r, v.dict, jinja_of_str(name));
        return value ? *value : found;
    case J_LOOP:
        found = loop_attribute(r, v.loop, name);
        break;
    case J_MACRO:
        if (jinja_str_is(name, "name"))
            return jinja_of_str(jinja_str_new(r, v.macro->def->name->s, v.macro->def->name->n, 0));
        break;
    default:
        break;
    }
    return found.kind == J_MISSING ? jinja_method_find(r, v, name) : found;
}

jinja_value jinja_attribute(jinja_run *r, jinja_value v, const jinja_str *name)
{
    jinja_value found, *value;

    jinja_work(r, 1);
    if (v.kind == J_UNDEFINED)
        jinja_fail_undefined(r, v);
    found = own_attribute(r, v, name);
    if (found.kind != J_MISSING)
        return found;
    if (v.kind == J_DICT) {
        value = jinja_dict_get(r, v.dict, jinja_of_str(name));
        if (value)
            return *value;
    }
    return jinja_undefined_of(r, c_text(r, name), owner_name(v));
}

static jinja_value slice_seq(jinja_run *r, jinja_value v, const jinja_slice *slice)
{
    int64_t start, step;
    size_t n = jinja_slice_resolve(r, slice, v.seq->n, &start, &step), i;
    jinja_seq *s = jinja_seq_new(r, v.seq->type, n);

    for (i = 0; i < n; i++)
        jinja_seq_push(r, s, v.seq->item[start + (int64_t)i * step]);
    v = jinja_of_seq(s);
    return v;
}

jinja_value jinja_item(jinja_run *r, jinja_value v, jinja_value key)
{
    jinja_value found = {.kind = J_MISSING}, *value;
    bool subscriptable = v.kind == J_SEQ && v.seq->type <= SEQ_RANGE;
    char text[40];
    int64_t i, n;
    size_t begin;

    jinja_work(r, 1);
    if (v.kind == J_UNDEFINED)
        jinja_fail_undefined(r, v);
    if (key.kind == J_SLICE) {
        if (v.kind == J_STR)
            return jinja_of_str(jinja_str_slice(r, v.str, key.slice));
        if (subscriptable)
            return slice_seq(r, v, key.slice);
        return jinja_undefined_of(r, "slice", owner_name(v));
    }
    if (v.kind == J_DICT) {
        if (key.kind == J_SEQ && key.seq->type != SEQ_TUPLE)
            return jinja_undefined_of(r, "list",
                                      owner_name(v)); /* unhashable: a TypeError that Jinja2 swallows */
        if (key.kind == J_DICT)
            return jinja_undefined_of(r, "dict", owner_name(v));
        value = jinja_dict_get(r, v.dict, key);
        if (value)
            return *value;
    } else if ((v.kind == J_STR || subscriptable) && (key.kind == J_INT || key.kind == J_BOOL)) {
        i = integer(key);
        n = jinja_length(r, v);
        if (i < 0)
            i += n;
        if (i >= 0 && i < n) {
            if (v.kind == J_SEQ)
                return v.seq->item[i];
            begin = jinja_str_byte(v.str, (size_t)i);
            return jinja_of_str(jinja_str_sub(r, v.str, begin, jinja_str_byte(v.str, (size_t)i + 1)));
        }
    }
    if (key.kind == J_STR) {
        found = own_attribute(r, v, key.str);
        if (found.kind != J_MISSING)
            return found;
        return jinja_undefined_of(r, c_text(r, key.str), owner_name(v));
    }
    if (key.kind == J_INT)
        snprintf(text, sizeof text, "%lld", (long long)key.i);
    else
        snprintf(text, sizeof text, "%s", jinja_type_name(key));
    return jinja_undefined_of(r, c_text(r, jinja_str_of(r, text)), owner_name(v));
}

/* ---- sorting -------------------------------------------------------------------------------------------------- */

/* Merge sort, as Python's is stable; `reverse` keeps equal items in their order too. */
static void merge(jinja_run *r, jinja_entry *e, jinja_entry *spare, size_t n, bool reverse)
{
    size_t half = n / 2, i, j, k;
    int c;

    if (n < 2)
        return;
    merge(r, e, spare, half, reverse);
    merge(r, e + half, spare, n - half, reverse);
    memcpy(spare, e, half * sizeof *e);
    for (i = 0, j = half, k = 0; i < half;) {
        c = 0;
        if (j < n)
            c = reverse ? jinja_order(r, spare[i].key, e[j].key) : jinja_order(r, e[j].key, spare[i].key);
        if (j < n && c < 0)
            e[k++] = e[j++];
        else
            e[k++] = spare[i++];
    }
}

void jinja_sort(jinja_run *r, jinja_value *items, jinja_value *keys, size_t n, bool reverse)
{
    jinja_entry *e = jinja_alloc_array(&r->arena, n + 1, sizeof *e), *spare;
    size_t i;

    spare = jinja_alloc_array(&r->arena, n + 1, sizeof *spare);
    for (i = 0; i < n; i++)
        e[i] = (jinja_entry){keys[i], items[i]};
    merge(r, e, spare, n, reverse);
    for (i = 0; i < n; i++)
        items[i] = e[i].value;
}
