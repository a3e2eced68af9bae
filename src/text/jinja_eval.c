/* Walking the tree: statements write to the present output, expressions give values.
 *
 * Scopes form a chain. A body of for, macro, call, filter, set, with and generation has a scope of its own; a name is
 * looked up from the inside out, then among the template's functions; `set` writes to the innermost scope, so that it
 * does not leave a loop but does leave an if. A macro looks names up where it was defined. */
#include <math.h>
#include <string.h>

#include "text/jinja.h"

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

static enum flow run_list(jinja_run *r, const jinja_node *s, jinja_scope *scope);

void jinja_work(jinja_run *r, uint64_t n)
{
    r->work += n;
    if (r->work > r->max_work)
        jinja_fail(&r->arena, HONE_ELIMIT, "the template does too much work (an endless loop?)");
}

void jinja_enter(jinja_run *r)
{
    if (++r->depth > HONE_TEMPLATE_MAX_DEPTH)
        jinja_fail(&r->arena, HONE_ELIMIT, "nested more than %d levels deep (an endless recursion?)",
                   HONE_TEMPLATE_MAX_DEPTH);
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

static jinja_scope *new_scope(jinja_run *r, jinja_scope *parent)
{
    jinja_scope *s = jinja_alloc(&r->arena, sizeof *s);

    s->parent = parent;
    return s;
}

static void bind(jinja_run *r, jinja_scope *s, const jinja_atom *name, jinja_value v)
{
    jinja_binding *b;
    size_t i;

    for (i = 0; i < s->n; i++)
        if (s->binding[i].name == name) {
            s->binding[i].value = v;
            return;
        }
    jinja_work(r, 1 + s->n / 8);
    if (s->n == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 4;
        b = jinja_alloc_array(&r->arena, s->capacity, sizeof *b);
        if (s->n)
            memcpy(b, s->binding, s->n * sizeof *b);
        s->binding = b;
    }
    s->binding[s->n++] = (jinja_binding){name, v};
}

static jinja_value lookup(jinja_run *r, const jinja_scope *s, const jinja_atom *name)
{
    size_t i;

    for (; s; s = s->parent) {
        jinja_work(r, s->n / 16);
        for (i = 0; i < s->n; i++)
            if (s->binding[i].name == name)
                return s->binding[i].value;
    }
    if (name->global.kind != J_MISSING)
        return name->global;
    return jinja_undefined_of(r, jinja_str_of(r, "")->s, NULL);
}

/* A name's text as a C string, for messages. */
static const char *c_name(jinja_run *r, const jinja_atom *name)
{
    char *s = jinja_alloc(&r->arena, name->n + 1);

    memcpy(s, name->s, name->n);
    return s;
}

static void set_attribute(jinja_run *r, const jinja_node *e, jinja_scope *scope, jinja_value v)
{
    jinja_value ns = lookup(r, scope, e->name);

    if (ns.kind != J_NAMESPACE)
        FAIL(r, "cannot assign attribute on non-namespace object");
    if (e->value.str->n && e->value.str->s[0] == '_')
        FAIL(r, "a namespace can not hold an attribute that starts with an underscore");
    jinja_dict_set(r, ns.dict, e->value, v);
}

static void assign(jinja_run *r, const jinja_node *target, jinja_scope *scope, jinja_value v)
{
    const jinja_node *x;
    jinja_seq *s;
    size_t n = 0, i = 0;

    if (target->type == E_NAME) {
        bind(r, scope, target->name, v);
        return;
    }
    if (target->type == E_NSREF) {
        set_attribute(r, target, scope, v);
        return;
    }
    for (x = target->args; x; x = x->next)
        n++;
    s = jinja_iterate(r, v);
    if (s->n != n)
        FAIL(r, "%s values to unpack (expected %zu, got %zu)", s->n < n ? "not enough" : "too many", n, s->n);
    for (x = target->args; x; x = x->next)
        assign(r, x, scope, s->item[i++]);
}

/* ---- calls ---------------------------------------------------------------------------------------------------- */

/* Evaluates a call's argument list into *arg and *kwargs (NULL when there are none). */
static size_t arguments(jinja_run *r, const jinja_node *list, jinja_scope *scope, jinja_value **arg,
                        jinja_dict **kwargs)
{
    jinja_seq *all = jinja_seq_new(r, SEQ_LIST, 0), *more;
    const jinja_node *x;
    jinja_value v;
    size_t i;

    *kwargs = NULL;
    for (x = list; x; x = x->next) {
        if ((x->type == E_KEYWORD || x->type == E_STAR2) && !*kwargs)
            *kwargs = jinja_dict_new(r);
        if (x->type == E_KEYWORD) {
            if (jinja_dict_get(r, *kwargs, x->value))
                FAIL(r, "keyword argument repeated");
            jinja_dict_set(r, *kwargs, x->value, jinja_eval(r, x->a, scope));
        } else if (x->type == E_STAR) {
            more = jinja_iterate(r, jinja_eval(r, x->a, scope));
            for (i = 0; i < more->n; i++)
                jinja_seq_push(r, all, more->item[i]);
        } else if (x->type == E_STAR2) {
            v = jinja_eval(r, x->a, scope);
            if (v.kind != J_DICT)
                FAIL(r, "argument after ** must be a mapping, not %s", jinja_type_name(v));
            for (i = 0; i < v.dict->n; i++) {
                if (v.dict->entry[i].key.kind != J_STR)
                    FAIL(r, "keywords must be strings");
                jinja_dict_set(r, *kwargs, v.dict->entry[i].key, v.dict->entry[i].value);
            }
        } else {
            jinja_seq_push(r, all, jinja_eval(r, x, scope));
        }
    }
    *arg = all->item;
    return all->n;
}

enum { TAKES_KWARGS = 1, TAKES_VARARGS = 2, TAKES_CALLER = 4 }; /* id of an N_MACRO, see jinja_parse.c */

static const jinja_str *captured(jinja_run *r, const jinja_node *body, jinja_scope *scope)
{
    jinja_out o = {0}, *outer = r->out;
    const jinja_str *s;

    r->out = &o;
    run_list(r, body, scope);
    s = jinja_out_take(r, &o);
    r->out = outer;
    return s;
}

static const jinja_atom *find_atom(const hone_template *t, const char *s)
{
    const jinja_atom *x;

    for (x = t->atoms; x; x = x->next)
        if (x->n == strlen(s) && !memcmp(x->s, s, x->n))
            return x;
    return NULL;
}

static void bind_text(jinja_run *r, jinja_scope *s, const char *name, jinja_value v)
{
    const jinja_atom *x = find_atom(r->t, name);

    if (x) /* else the template never asks for it */
        bind(r, s, x, v);
}

jinja_value jinja_call_macro(jinja_run *r, const jinja_macro *m, jinja_value *arg, size_t n,
                             const jinja_dict *kwargs)
{
    const jinja_node *p, *def = m->def;
    jinja_scope *scope = new_scope(r, m->scope);
    jinja_dict *rest = jinja_dict_new(r);
    jinja_seq *varargs = jinja_seq_new(r, SEQ_TUPLE, 0);
    jinja_value v, *given, caller = {.kind = J_MISSING};
    size_t i, k = 0, n_params = 0;
    uint32_t line = r->arena.line;
    bool own_caller = false;

    jinja_enter(r);
    for (p = def->args; p; p = p->next, n_params++)
        own_caller = own_caller || (p->name->n == 6 && !memcmp(p->name->s, "caller", 6));
    for (i = 0; kwargs && i < kwargs->n; i++) {
        for (p = def->args, k = 0; p; p = p->next, k++)
            if (p->name->n == kwargs->entry[i].key.str->n &&
                !memcmp(p->name->s, kwargs->entry[i].key.str->s, p->name->n))
                break;
        if (!p || k < n) { /* a parameter already given by position is left over as well */
            if (!own_caller && def->id & TAKES_CALLER && jinja_str_is(kwargs->entry[i].key.str, "caller"))
                caller = kwargs->entry[i].value;
            else
                jinja_dict_set(r, rest, kwargs->entry[i].key, kwargs->entry[i].value);
        }
    }
    if (rest->n && !(def->id & TAKES_KWARGS))
        FAIL(r, "macro '%s' takes no keyword argument '%.*s'", c_name(r, def->name),
             (int)HONE_MIN(rest->entry[0].key.str->n, (size_t)60), rest->entry[0].key.str->s);
    if (n > n_params && !(def->id & TAKES_VARARGS))
        FAIL(r, "macro '%s' takes not more than %zu arguments", c_name(r, def->name), n_params);
    for (i = n_params; i < n; i++)
        jinja_seq_push(r, varargs, arg[i]);
    if (def->id & TAKES_KWARGS)
        bind_text(r, scope, "kwargs", jinja_of_dict(rest));
    if (def->id & TAKES_VARARGS)
        bind_text(r, scope, "varargs", jinja_of_seq(varargs));
    if (def->id & TAKES_CALLER && !own_caller && !m->is_caller)
        bind_text(r, scope, "caller",
                  caller.kind == J_MISSING ? jinja_undefined_of(r, "No caller defined", NULL) : caller);
    for (p = def->args, i = 0; p; p = p->next, i++) {
        given = NULL;
        for (k = 0; i >= n && kwargs && k < kwargs->n && !given; k++)
            if (kwargs->entry[k].key.str->n == p->name->n &&
                !memcmp(kwargs->entry[k].key.str->s, p->name->s, p->name->n))
                given = &kwargs->entry[k].value;
        if (i < n)
            v = arg[i];
        else if (given)
            v = *given;
        else if (p->a)
            v = jinja_eval(r, p->a, scope);
        else
            v = jinja_undefined_of(r, c_name(r, p->name), NULL);
        bind(r, scope, p->name, v);
    }
    v = jinja_of_str(captured(r, def->body, scope));
    r->depth--;
    r->arena.line = line;
    return v;
}

jinja_value jinja_call(jinja_run *r, jinja_value f, jinja_value *arg, size_t n, const jinja_dict *kwargs)
{
    jinja_work(r, 1);
    switch ((jinja_kind)f.kind) {
    case J_MACRO:
        return jinja_call_macro(r, f.macro, arg, n, kwargs);
    case J_METHOD:
        return jinja_call_method(r, f.method, arg, n, kwargs);
    case J_FUNCTION:
        return jinja_call_function(r, f.id, arg, n, kwargs);
    case J_LOOP:
        if (n != 1 || (kwargs && kwargs->n))
            FAIL(r, "loop() takes one argument");
        return jinja_call_loop(r, f.loop, arg[0]);
    case J_UNDEFINED:
        jinja_fail_undefined(r, f);
    default:
        FAIL(r, "'%s' object is not callable", jinja_type_name(f));
    }
}

/* ---- expressions ---------------------------------------------------------------------------------------------- */

static bool compare(jinja_run *r, jinja_op op, jinja_value a, jinja_value b)
{
    int c;

    switch (op) {
    case OP_EQ:
        return jinja_equal(r, a, b);
    case OP_NE:
        return !jinja_equal(r, a, b);
    case OP_IN:
        return jinja_contains(r, b, a);
    case OP_NOT_IN:
        return !jinja_contains(r, b, a);
    default:
        c = jinja_order(r, a, b);
        return op == OP_LT ? c < 0 : op == OP_LE ? c <= 0 : op == OP_GT ? c == 1 : c == 0 || c == 1;
    }
}

static jinja_value sign(jinja_run *r, const jinja_node *e, jinja_value v)
{
    bool negative = e->type == E_NEG;

    if (v.kind == J_UNDEFINED)
        jinja_fail_undefined(r, v);
    if (v.kind == J_FLOAT)
        return jinja_float(negative ? -v.f : v.f);
    if (v.kind != J_INT && v.kind != J_BOOL)
        FAIL(r, "bad operand type for unary %c: '%s'", negative ? '-' : '+', jinja_type_name(v));
    if (v.kind == J_BOOL)
        return jinja_int(negative ? -(int64_t)v.b : v.b);
    if (negative)
        return jinja_binary(r, OP_SUB, jinja_int(0), jinja_int(v.i));
    return jinja_int(v.i);
}

static jinja_value slice_value(jinja_run *r, const jinja_node *e, jinja_scope *scope)
{
    jinja_slice *s = jinja_alloc(&r->arena, sizeof *s);

    s->start = e->a ? jinja_eval(r, e->a, scope) : jinja_none();
    s->stop = e->b ? jinja_eval(r, e->b, scope) : jinja_none();
    s->step = e->c ? jinja_eval(r, e->c, scope) : jinja_none();
    return (jinja_value){.kind = J_SLICE, .slice = s};
}

static jinja_value filter_or_test(jinja_run *r, const jinja_node *e, jinja_scope *scope)
{
    jinja_value v = jinja_eval(r, e->a, scope), *arg;
    jinja_dict *kwargs;
    size_t n;

    r->arena.line = e->line;
    if (e->id < 0)
        jinja_fail(&r->arena, e->id == -2 ? HONE_EUNSUPPORTED : HONE_EINVAL, "%s '%.*s'%s",
                   e->type == E_FILTER ? "the filter" : "the test",
                   (int)HONE_MIN(e->value.str->n, (size_t)60), e->value.str->s,
                   e->id == -2 ? " is not supported" : " does not exist");
    n = arguments(r, e->args, scope, &arg, &kwargs);
    if (e->type == E_TEST)
        return jinja_bool(jinja_test_apply(r, e->id, v, arg, n, kwargs));
    return jinja_filter_apply(r, e->id, v, arg, n, kwargs);
}

static jinja_value sequence(jinja_run *r, const jinja_node *e, jinja_scope *scope)
{
    jinja_seq *s = jinja_seq_new(r, e->type == E_LIST ? SEQ_LIST : SEQ_TUPLE, 0);
    const jinja_node *x;

    for (x = e->args; x; x = x->next)
        jinja_seq_push(r, s, x->type == E_SLICE ? slice_value(r, x, scope) : jinja_eval(r, x, scope));
    return jinja_of_seq(s);
}

static jinja_value evaluate(jinja_run *r, const jinja_node *e, jinja_scope *scope)
{
    const jinja_node *x;
    jinja_value v, w, *arg;
    jinja_dict *dict;
    jinja_out o = {0};
    size_t n;

    switch ((jinja_node_type)e->type) {
    case E_CONST:
        return e->value;
    case E_NAME:
        v = lookup(r, scope, e->name);
        if (v.kind == J_UNDEFINED && !v.undef->owner && !v.undef->name[0])
            v = jinja_undefined_of(r, c_name(r, e->name), NULL);
        return v;
    case E_TUPLE:
    case E_LIST:
        return sequence(r, e, scope);
    case E_DICT:
        dict = jinja_dict_new(r);
        for (x = e->args; x; x = x->next->next) {
            v = jinja_eval(r, x, scope);
            jinja_dict_set(r, dict, v, jinja_eval(r, x->next, scope));
        }
        return jinja_of_dict(dict);
    case E_COND:
        if (jinja_truth(jinja_eval(r, e->a, scope)))
            return jinja_eval(r, e->b, scope);
        return e->c ? jinja_eval(r, e->c, scope)
                    : jinja_undefined_of(r, "the missing else of an inline if", NULL);
    case E_OR:
        v = jinja_eval(r, e->a, scope);
        return jinja_truth(v) ? v : jinja_eval(r, e->b, scope);
    case E_AND:
        v = jinja_eval(r, e->a, scope);
        return jinja_truth(v) ? jinja_eval(r, e->b, scope) : v;
    case E_NOT:
        return jinja_bool(!jinja_truth(jinja_eval(r, e->a, scope)));
    case E_COMPARE:
        v = jinja_eval(r, e->a, scope);
        for (x = e->args; x; x = x->next) {
            w = jinja_eval(r, x->a, scope);
            if (!compare(r, x->op, v, w))
                return jinja_bool(false);
            v = w;
        }
        return jinja_bool(true);
    case E_BINARY:
        v = jinja_eval(r, e->a, scope);
        w = jinja_eval(r, e->b, scope);
        r->arena.line = e->line;
        return jinja_binary(r, e->op, v, w);
    case E_CONCAT:
        for (x = e->args; x; x = x->next)
            jinja_out_add(r, &o, jinja_to_str(r, jinja_eval(r, x, scope)));
        return jinja_of_str(jinja_out_take(r, &o));
    case E_NEG:
    case E_POS:
        return sign(r, e, jinja_eval(r, e->a, scope));
    case E_ATTR:
        v = jinja_eval(r, e->a, scope);
        r->arena.line = e->line;
        return jinja_attribute(r, v, e->value.str);
    case E_ITEM:
        v = jinja_eval(r, e->a, scope);
        w = e->b->type == E_SLICE ? slice_value(r, e->b, scope) : jinja_eval(r, e->b, scope);
        r->arena.line = e->line;
        return jinja_item(r, v, w);
    case E_CALL:
        v = jinja_eval(r, e->a, scope);
        n = arguments(r, e->args, scope, &arg, &dict);
        r->arena.line = e->line;
        return jinja_call(r, v, arg, n, dict);
    case E_FILTER:
    case E_TEST:
        return filter_or_test(r, e, scope);
    default:
        jinja_fail(&r->arena, HONE_EINTERNAL, "not an expression");
    }
}

jinja_value jinja_eval(jinja_run *r, const jinja_node *e, jinja_scope *scope)
{
    jinja_value v;

    jinja_enter(r);
    jinja_work(r, 1);
    if (e->line)
        r->arena.line = e->line;
    v = evaluate(r, e, scope);
    r->depth--;
    return v;
}

/* The filters of a filter or set block over its text: E_BODY is the innermost operand. */
static jinja_value filter_text(jinja_run *r, const jinja_node *e, jinja_scope *scope, const jinja_str *text)
{
    jinja_node chain = *e, inner;

    if (e->a->type == E_BODY) {
        memset(&inner, 0, sizeof inner);
        inner.type = E_CONST;
        inner.line = e->line;
        inner.value = jinja_of_str(text);
    } else {
        memset(&inner, 0, sizeof inner);
        inner.type = E_CONST;
        inner.line = e->line;
        inner.value = filter_text(r, e->a, scope, text);
    }
    chain.a = &inner;
    return jinja_eval(r, &chain, scope);
}

/* ---- statements ------------------------------------------------------------------------------------------------ */

static void run_items(jinja_run *r, const jinja_node *s, jinja_scope *outer, jinja_value items, size_t depth0)
{
    static const char loop_name[] = "loop";
    const jinja_atom *atom = find_atom(r->t, loop_name);
    jinja_seq *all = jinja_iterate(r, items), *kept = all;
    jinja_loop *loop;
    jinja_scope *scope = new_scope(r, outer);
    size_t i;

    if (s->c) {
        kept = jinja_seq_new(r, SEQ_LIST, 0);
        for (i = 0; i < all->n; i++) {
            scope->n = 0;
            assign(r, s->a, scope, all->item[i]);
            if (jinja_truth(jinja_eval(r, s->c, scope)))
                jinja_seq_push(r, kept, all->item[i]);
        }
    }
    if (!kept->n) {
        if (s->other)
            run_list(r, s->other, new_scope(r, outer));
        return;
    }
    loop = jinja_alloc(&r->arena, sizeof *loop);
    loop->item = kept->item;
    loop->n = kept->n;
    loop->depth0 = depth0;
    loop->node = s;
    loop->scope = outer;
    for (i = 0; i < kept->n; i++) {
        jinja_work(r, 1);
        scope->n = 0;
        loop->at = i;
        if (atom)
            bind(r, scope, atom, (jinja_value){.kind = J_LOOP, .loop = loop});
        assign(r, s->a, scope, kept->item[i]);
        if (run_list(r, s->body, scope) == FLOW_BREAK)
            break;
    }
}

jinja_value jinja_call_loop(jinja_run *r, jinja_loop *loop, jinja_value items)
{
    jinja_out o = {0}, *outer = r->out;
    const jinja_str *s;

    if (!loop->node->flag)
        FAIL(r, "the loop must have the 'recursive' marker to be called");
    jinja_enter(r);
    r->out = &o;
    run_items(r, loop->node, loop->scope, items, loop->depth0 + 1);
    s = jinja_out_take(r, &o);
    r->out = outer;
    r->depth--;
    return jinja_of_str(s);
}

static void run_generation(jinja_run *r, const jinja_node *s, jinja_scope *scope)
{
    hone_span *span;
    size_t slot, begin = r->out->n;

    /* Ranges are positions in the rendering: a block inside a capture has none. */
    if (r->out != &r->top) {
        run_list(r, s->body, new_scope(r, scope));
        return;
    }
    if (r->n_marked == r->capacity_marked) {
        r->capacity_marked = r->capacity_marked ? r->capacity_marked * 2 : 16;
        span = jinja_alloc_array(&r->arena, r->capacity_marked, sizeof *span);
        if (r->n_marked)
            memcpy(span, r->marked, r->n_marked * sizeof *span);
        r->marked = span;
    }
    slot = r->n_marked++;
    run_list(r, s->body, new_scope(r, scope));
    r->marked[slot] = (hone_span){begin, r->out->n};
}

static enum flow run_one(jinja_run *r, const jinja_node *s, jinja_scope *scope)
{
    const jinja_node *x;
    jinja_scope *inner;
    jinja_macro *m;
    jinja_value v, *arg;
    jinja_dict *kwargs;
    size_t n;

    switch ((jinja_node_type)s->type) {
    case N_TEXT:
        jinja_out_add(r, r->out, s->value.str);
        return FLOW_ON;
    case N_OUTPUT:
        jinja_out_add(r, r->out, jinja_to_str(r, jinja_eval(r, s->a, scope)));
        return FLOW_ON;
    case N_IF:
        for (x = s; x && x->type == N_IF; x = x->other)
            if (jinja_truth(jinja_eval(r, x->a, scope)))
                return run_list(r, x->body, scope);
            else if (x->other && (x->other->type != N_IF || !x->other->flag))
                return run_list(r, x->other, scope);
        return FLOW_ON;
    case N_FOR:
        run_items(r, s, scope, jinja_eval(r, s->b, scope), 0);
        return FLOW_ON;
    case N_SET:
        assign(r, s->a, scope, jinja_eval(r, s->b, scope));
        return FLOW_ON;
    case N_SET_BLOCK:
        v = jinja_of_str(captured(r, s->body, new_scope(r, scope)));
        if (s->b)
            v = filter_text(r, s->b, scope, v.str);
        assign(r, s->a, scope, v);
        return FLOW_ON;
    case N_MACRO:
    case N_CALL_BLOCK:
        m = jinja_alloc(&r->arena, sizeof *m);
        m->scope = scope;
        m->is_caller = s->type == N_CALL_BLOCK;
        m->def = m->is_caller ? s->b : s;
        v = (jinja_value){.kind = J_MACRO, .macro = m};
        if (!m->is_caller) {
            bind(r, scope, s->name, v);
            return FLOW_ON;
        }
        n = arguments(r, s->a->args, scope, &arg, &kwargs);
        if (!kwargs)
            kwargs = jinja_dict_new(r);
        jinja_dict_set(r, kwargs, jinja_of_str(jinja_str_of(r, "caller")), v);
        v = jinja_call(r, jinja_eval(r, s->a->a, scope), arg, n, kwargs);
        jinja_out_add(r, r->out, jinja_to_str(r, v));
        return FLOW_ON;
    case N_FILTER:
        v = filter_text(r, s->a, scope, captured(r, s->body, new_scope(r, scope)));
        jinja_out_add(r, r->out, jinja_to_str(r, v));
        return FLOW_ON;
    case N_WITH:
        inner = new_scope(r, scope);
        for (x = s->args; x; x = x->next)
            assign(r, x->a, inner, jinja_eval(r, x->b, scope));
        return run_list(r, s->body, inner);
    case N_GENERATION:
        run_generation(r, s, scope);
        return FLOW_ON;
    case N_BREAK:
        return FLOW_BREAK;
    case N_CONTINUE:
        return FLOW_CONTINUE;
    default:
        jinja_fail(&r->arena, HONE_EINTERNAL, "not a statement");
    }
}

static enum flow run_list(jinja_run *r, const jinja_node *s, jinja_scope *scope)
{
    enum flow flow = FLOW_ON;

    jinja_enter(r);
    for (; s && flow == FLOW_ON; s = s->next) {
        jinja_work(r, 1);
        r->arena.line = s->line;
        flow = run_one(r, s, scope);
    }
    r->depth--;
    return flow;
}

/* ---- entry points ----------------------------------------------------------------------------------------------- */

int hone_template_parse(hone_template **out, const char *text, size_t len, hone_error *err)
{
    hone_template *t;
    jmp_buf home;
    int rc;

    if (len > HONE_TEMPLATE_MAX_SOURCE)
        return hone_error_set(err, HONE_ELIMIT, "template of %zu bytes, the limit is %zu", len,
                              HONE_TEMPLATE_MAX_SOURCE);
    t = hone_calloc(1, sizeof *t);
    if (!t)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    t->arena.limit = HONE_TEMPLATE_MAX_MEMORY;
    t->arena.err = err;
    t->arena.home = &home;
    rc = setjmp(home);
    if (rc) {
        hone_template_free(t);
        return rc;
    }
    t->root = jinja_parse(t, jinja_lex(&t->arena, text, len));
    t->arena.err = NULL;
    t->arena.home = NULL;
    *out = t;
    return 0;
}

void hone_template_free(hone_template *t)
{
    if (!t)
        return;
    jinja_arena_free(&t->arena);
    hone_free(t);
}

/* A role is a short word out of a closed set, and templates build header tokens from it ('<|' + role + '|>'). So it
 * counts as the template's text, which may form special tokens, as long as it is such a word. */
static bool is_plain_role(const json_t *j)
{
    const char *s = json_is_string(j) ? json_string_value(j) : NULL;
    size_t i, n = s ? json_string_length(j) : 0;

    for (i = 0; i < n; i++)
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') ||
              s[i] == '_' || s[i] == '-'))
            return false;
    return n > 0 && n <= 32;
}

/* One message as templates see it: keys whose value is null are left out; reasoning under any of its names is also
 * found as reasoning_content and, unless present, as thinking (transformers does the same before rendering). */
static jinja_value message_value(jinja_run *r, const json_t *j, uint32_t origin)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const json_t *reasoning = NULL;
    jinja_dict *d = jinja_dict_new(r);
    jinja_value key, v;
    const char *name;
    json_t *item;
    size_t i;
    void *at;

    if (!json_is_object(j))
        jinja_fail(&r->arena, HONE_EFORMAT, "message %u is not an object", (unsigned)origin - 1);
    for (i = 0; i < HONE_COUNT(names) && !reasoning; i++) {
        reasoning = json_object_get(j, names[i]);
        if (json_is_null(reasoning))
            reasoning = NULL;
    }
    if (reasoning)
        jinja_dict_set(r, d, jinja_of_str(jinja_str_new(r, "thinking", 8, origin)),
                       jinja_from_json(r, reasoning, origin));
    for (at = json_object_iter((json_t *)j); at; at = json_object_iter_next((json_t *)j, at)) {
        name = json_object_iter_key(at);
        item = json_object_iter_value(at);
        if (json_is_null(item))
            continue;
        key = jinja_of_str(jinja_str_new(r, name, strlen(name), origin));
        v = jinja_from_json(r, item, !strcmp(name, "role") && is_plain_role(item) ? 0 : origin);
        jinja_dict_set(r, d, key, v);
    }
    if (reasoning)
        jinja_dict_set(r, d, jinja_of_str(jinja_str_new(r, names[0], strlen(names[0]), origin)),
                       jinja_from_json(r, reasoning, origin));
    v = jinja_of_dict(d);
    v.origin = origin;
    return v;
}

static void bind_object(jinja_run *r, jinja_scope *scope, const json_t *j, uint32_t origin)
{
    const char *key;
    json_t *item;
    void *at;

    for (at = json_object_iter((json_t *)j); at; at = json_object_iter_next((json_t *)j, at)) {
        key = json_object_iter_key(at);
        item = json_object_iter_value(at);
        if (find_atom(r->t, key))
            bind_text(r, scope, key, jinja_from_json(r, item, origin));
    }
}

static void bind_input(jinja_run *r, jinja_scope *scope)
{
    const hone_template_input *in = r->in;
    jinja_seq *messages = jinja_seq_new(r, SEQ_LIST, in->n_messages);
    size_t i;

    for (i = 0; i < in->n_messages; i++)
        jinja_seq_push(r, messages, message_value(r, json_array_get(in->messages, i), (uint32_t)i + 1));
    if (in->vars)
        bind_object(r, scope, in->vars, 0);
    if (in->kwargs)
        bind_object(r, scope, in->kwargs, HONE_ORIGIN_OTHER);
    bind_text(r, scope, "messages", jinja_of_seq(messages));
    bind_text(r, scope, "tools", in->tools ? jinja_from_json(r, in->tools, HONE_ORIGIN_OTHER) : jinja_none());
    bind_text(r, scope, "documents",
              in->documents ? jinja_from_json(r, in->documents, HONE_ORIGIN_OTHER) : jinja_none());
    bind_text(r, scope, "add_generation_prompt", jinja_bool(in->generation_prompt));
}

static int take_rendering(jinja_run *r, hone_rendering *out, hone_error *err)
{
    size_t n = r->top.n;

    out->text = hone_strndup(r->top.s ? r->top.s : "", n);
    out->origin = hone_alloc(n * sizeof *out->origin);
    out->marked = hone_alloc(r->n_marked * sizeof *out->marked);
    if (!out->text || !out->origin || !out->marked) {
        hone_rendering_clear(out);
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    if (n)
        memcpy(out->origin, r->top.origin, n * sizeof *out->origin);
    if (r->n_marked)
        memcpy(out->marked, r->marked, r->n_marked * sizeof *out->marked);
    out->len = n;
    out->n_marked = r->n_marked;
    return 0;
}

int hone_template_render(const hone_template *t, const hone_template_input *in, hone_rendering *out,
                         hone_error *err)
{
    jinja_run *r = hone_calloc(1, sizeof *r);
    jinja_scope *scope;
    jmp_buf home;
    int rc;

    if (!r)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    r->arena.limit = in->max_memory ? in->max_memory : HONE_TEMPLATE_MAX_MEMORY;
    r->arena.err = err;
    r->arena.home = &home;
    r->t = t;
    r->in = in;
    r->out = &r->top;
    r->max_work = in->max_work ? in->max_work : HONE_TEMPLATE_MAX_WORK;
    r->max_output = in->max_output ? in->max_output : HONE_TEMPLATE_MAX_OUTPUT;
    rc = setjmp(home);
    if (!rc) {
        scope = new_scope(r, NULL);
        bind_input(r, scope);
        run_list(r, t->root, scope);
        rc = take_rendering(r, out, err);
    }
    jinja_arena_free(&r->arena);
    hone_free(r);
    return rc;
}

void hone_rendering_clear(hone_rendering *r)
{
    hone_free(r->text);
    hone_free(r->origin);
    hone_free(r->marked);
    memset(r, 0, sizeof *r);
}
