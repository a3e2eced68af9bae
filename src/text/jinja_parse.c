/* From tokens to the tree: a recursive-descent parser with the binding of Jinja2's own (specs of the grammar: loosest
 * first  if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary, postfix, filters and tests).
 *
 * An unknown filter or test is an error at once, save inside an `if` of the same scope, where Jinja2 looks only when
 * the place is reached; there the node keeps its name and the evaluator refuses. */
#include <string.h>

#include "text/jinja.h"

#define MAX_NESTING 120

typedef struct parser {
    jinja_arena *a;
    hone_template *t;
    const jinja_token *at;
    int nesting;
    int soft;  /* inside an `if` whose untaken branches are not looked at */
    int loops; /* inside so many for bodies of this frame */
} parser;

static jinja_node *expression(parser *p, bool with_condition);
static jinja_node *unary(parser *p, bool with_filters);
static jinja_node *primary(parser *p, bool with_namespace);
static jinja_node *postfix(parser *p, jinja_node *e);
static jinja_node *statements(parser *p, const char *const *ends);

_Noreturn static void fail_at(parser *p, const jinja_token *t, const char *wanted)
{
    p->a->line = t->line;
    if (t->type == T_EOF)
        jinja_fail(p->a, HONE_EFORMAT, "unexpected end of the template, expected %s", wanted);
    if (t->type == T_BLOCK_END || t->type == T_VARIABLE_END)
        jinja_fail(p->a, HONE_EFORMAT, "unexpected end of the tag, expected %s", wanted);
    if (t->type == T_STRING)
        jinja_fail(p->a, HONE_EFORMAT, "unexpected string literal, expected %s", wanted);
    jinja_fail(p->a, HONE_EFORMAT, "unexpected '%.*s', expected %s", (int)HONE_MIN(t->n, (size_t)40), t->s,
               wanted);
}

static void nest(parser *p)
{
    if (++p->nesting > MAX_NESTING) {
        p->a->line = p->at->line;
        jinja_fail(p->a, HONE_ELIMIT, "nested more than %d levels deep", MAX_NESTING);
    }
}

static bool token_is(const jinja_token *t, jinja_token_type type, const char *text)
{
    return t->type == type && strlen(text) == t->n && !memcmp(t->s, text, t->n);
}

static bool is_op(const parser *p, const char *text)
{
    return token_is(p->at, T_OP, text);
}

static bool is_name(const parser *p, const char *text)
{
    return token_is(p->at, T_NAME, text);
}

static bool take_op(parser *p, const char *text)
{
    if (!is_op(p, text))
        return false;
    p->at++;
    return true;
}

static bool take_name(parser *p, const char *text)
{
    if (!is_name(p, text))
        return false;
    p->at++;
    return true;
}

static void want_op(parser *p, const char *text)
{
    char quoted[16];

    if (!take_op(p, text)) {
        snprintf(quoted, sizeof quoted, "'%s'", text);
        fail_at(p, p->at, quoted);
    }
}

static const jinja_token *want_name(parser *p)
{
    if (p->at->type != T_NAME)
        fail_at(p, p->at, "a name");
    return p->at++;
}

static void end_tag(parser *p)
{
    if (p->at->type != T_BLOCK_END)
        fail_at(p, p->at, "the end of the tag");
    p->at++;
}

static jinja_node *node(parser *p, jinja_node_type type)
{
    jinja_node *e = jinja_alloc(p->a, sizeof *e);

    e->type = (uint8_t)type;
    e->line = p->at->line;
    return e;
}

static jinja_node *node2(parser *p, jinja_node_type type, jinja_node *a, jinja_node *b)
{
    jinja_node *e = node(p, type);

    e->line = a ? a->line : e->line;
    e->a = a;
    e->b = b;
    return e;
}

static const jinja_atom *atom(parser *p, const jinja_token *t)
{
    jinja_atom *x;

    for (x = p->t->atoms; x; x = x->next)
        if (x->n == t->n && !memcmp(x->s, t->s, t->n))
            return x;
    x = jinja_alloc(p->a, sizeof *x);
    x->s = t->s;
    x->n = t->n;
    x->global = jinja_global_find(t->s, t->n);
    x->next = p->t->atoms;
    p->t->atoms = x;
    return x;
}

static jinja_value text_value(parser *p, const char *s, size_t n)
{
    jinja_str *str = jinja_alloc(p->a, sizeof *str);

    str->s = s;
    str->n = n;
    return jinja_of_str(str);
}

static jinja_node *constant(parser *p, jinja_value v)
{
    jinja_node *e = node(p, E_CONST);

    e->value = v;
    return e;
}

/* ---- expressions --------------------------------------------------------------------------------------------- */

static bool tuple_ends(const parser *p, const char *stop)
{
    return p->at->type == T_VARIABLE_END || p->at->type == T_BLOCK_END || is_op(p, ")") ||
           (stop && is_name(p, stop));
}

/* One expression, or several with commas, which make a tuple. stop: a name that ends it. targets: names, literals
 * and namespace attributes only. */
static jinja_node *tuple(parser *p, bool targets, bool with_condition, const char *stop, bool in_parentheses)
{
    jinja_node *first = NULL, **end = &first, *e;
    bool is_tuple = false;
    const jinja_token *begin = p->at;

    for (;;) {
        if (first)
            want_op(p, ",");
        if (tuple_ends(p, stop))
            break;
        *end = targets ? primary(p, true) : expression(p, with_condition);
        end = &(*end)->next;
        if (!is_op(p, ","))
            break;
        is_tuple = true;
    }
    if (!is_tuple) {
        if (first)
            return first;
        if (!in_parentheses)
            fail_at(p, p->at, "an expression");
    }
    e = node(p, E_TUPLE);
    e->line = begin->line;
    e->args = first;
    return e;
}

static jinja_node *list(parser *p)
{
    jinja_node *e = node(p, E_LIST), **end = &e->args;

    p->at++;
    while (!is_op(p, "]")) {
        if (e->args)
            want_op(p, ",");
        if (is_op(p, "]"))
            break;
        *end = expression(p, true);
        end = &(*end)->next;
    }
    p->at++;
    return e;
}

static jinja_node *dict(parser *p)
{
    jinja_node *e = node(p, E_DICT), **end = &e->args;

    p->at++;
    while (!is_op(p, "}")) {
        if (e->args)
            want_op(p, ",");
        if (is_op(p, "}"))
            break;
        *end = expression(p, true);
        end = &(*end)->next;
        want_op(p, ":");
        *end = expression(p, true);
        end = &(*end)->next;
    }
    p->at++;
    return e;
}

static jinja_node *primary(parser *p, bool with_namespace)
{
    const jinja_token *t = p->at;
    jinja_node *e;
    size_t n;
    char *s;

    switch (t->type) {
    case T_NAME:
        if (is_name(p, "true") || is_name(p, "True") || is_name(p, "false") || is_name(p, "False"))
            e = constant(p, jinja_bool((t->s[0] | 0x20) == 't'));
        else if (is_name(p, "none") || is_name(p, "None"))
            e = constant(p, jinja_none());
        else if (with_namespace && token_is(t + 1, T_OP, ".")) {
            e = node(p, E_NSREF);
            e->name = atom(p, t);
            p->at += 2;
            t = want_name(p);
            e->value = text_value(p, t->s, t->n);
            return e;
        } else {
            e = node(p, E_NAME);
            e->name = atom(p, t);
        }
        p->at++;
        return e;
    case T_STRING:
        if (t[1].type != T_STRING) {
            e = constant(p, text_value(p, t->s, t->n));
            p->at++;
            return e;
        }
        for (n = 0; t->type == T_STRING; t++)
            n += t->n;
        e = constant(p, jinja_none());
        s = jinja_alloc(p->a, n + 1);
        e->value = text_value(p, s, n);
        for (; p->at->type == T_STRING; p->at++) {
            memcpy(s, p->at->s, p->at->n);
            s += p->at->n;
        }
        return e;
    case T_INT:
        e = constant(p, jinja_int(t->i));
        p->at++;
        return e;
    case T_FLOAT:
        e = constant(p, jinja_float(t->f));
        p->at++;
        return e;
    case T_OP:
        if (is_op(p, "(")) {
            p->at++;
            e = tuple(p, false, true, NULL, true);
            want_op(p, ")");
            return e;
        }
        if (is_op(p, "["))
            return list(p);
        if (is_op(p, "{"))
            return dict(p);
        break;
    default:
        break;
    }
    fail_at(p, t, "an expression");
}

static jinja_node *subscript(parser *p)
{
    jinja_node *part[3] = {NULL, NULL, NULL}, *e;
    int i = 0;

    if (!is_op(p, ":")) {
        part[0] = expression(p, true);
        if (!is_op(p, ":"))
            return part[0];
    }
    e = node(p, E_SLICE);
    while (i < 2 && take_op(p, ":")) {
        i++;
        if (!is_op(p, ":") && !is_op(p, "]") && !is_op(p, ","))
            part[i] = expression(p, true);
    }
    e->a = part[0];
    e->b = part[1];
    e->c = part[2];
    return e;
}

/* "(...)" of a call. */
static jinja_node *arguments(parser *p)
{
    jinja_node *first = NULL, **end = &first, *e;
    bool named = false;

    want_op(p, "(");
    while (!is_op(p, ")")) {
        if (first) {
            want_op(p, ",");
            if (is_op(p, ")"))
                break;
        }
        if (is_op(p, "*") || is_op(p, "**")) {
            e = node(p, is_op(p, "*") ? E_STAR : E_STAR2);
            p->at++;
            e->a = expression(p, true);
            named = named || e->type == E_STAR2;
        } else if (p->at->type == T_NAME && token_is(p->at + 1, T_OP, "=")) {
            e = node(p, E_KEYWORD);
            e->value = text_value(p, p->at->s, p->at->n);
            p->at += 2;
            e->a = expression(p, true);
            named = true;
        } else {
            if (named)
                fail_at(p, p->at, "a keyword argument");
            e = expression(p, true);
        }
        *end = e;
        end = &e->next;
    }
    p->at++;
    return first;
}

static jinja_node *call(parser *p, jinja_node *f)
{
    jinja_node *e = node(p, E_CALL);

    e->a = f;
    e->args = arguments(p);
    return e;
}

static jinja_node *postfix(parser *p, jinja_node *e)
{
    jinja_node *x;
    jinja_node **end;

    for (;;) {
        if (is_op(p, ".")) {
            p->at++;
            if (p->at->type == T_INT) {
                x = node2(p, E_ITEM, e, constant(p, jinja_int(p->at->i)));
                p->at++;
            } else {
                const jinja_token *t = want_name(p);

                x = node2(p, E_ATTR, e, NULL);
                x->value = text_value(p, t->s, t->n);
            }
            e = x;
        } else if (is_op(p, "[")) {
            p->at++;
            x = subscript(p);
            if (is_op(p, ",")) {
                jinja_node *several = node(p, E_TUPLE);

                several->args = x;
                end = &x->next;
                while (take_op(p, ",")) {
                    *end = subscript(p);
                    end = &(*end)->next;
                }
                x = several;
            }
            want_op(p, "]");
            e = node2(p, E_ITEM, e, x);
        } else if (is_op(p, "(")) {
            e = call(p, e);
        } else {
            return e;
        }
    }
}

/* The name after `|` or `is`, looked up. */
static void named(parser *p, jinja_node *e, bool is_filter)
{
    const jinja_token *t = want_name(p);
    const char *what = is_filter ? "filter" : "test";

    e->line = t->line;
    e->value = text_value(p, t->s, t->n);
    if (is_op(p, "."))
        fail_at(p, p->at, "a plain name of a filter or test");
    e->id = is_filter ? jinja_filter_find(t->s, t->n) : jinja_test_find(t->s, t->n);
    if (e->id >= 0 || p->soft)
        return;
    p->a->line = t->line;
    if (e->id == -2)
        jinja_fail(p->a, HONE_EUNSUPPORTED, "the %s '%.*s' is not supported", what, (int)t->n, t->s);
    jinja_fail(p->a, HONE_EFORMAT, "no %s named '%.*s'", what, (int)HONE_MIN(t->n, (size_t)60), t->s);
}

static jinja_node *filter(parser *p, jinja_node *e)
{
    jinja_node *f = node(p, E_FILTER);

    f->a = e;
    named(p, f, true);
    if (is_op(p, "("))
        f->args = arguments(p);
    return f;
}

static jinja_node *test(parser *p, jinja_node *e)
{
    jinja_node *t, *no;
    bool negated;

    negated = take_name(p, "not");
    t = node(p, E_TEST);
    t->a = e;
    named(p, t, false);
    if (is_op(p, "(")) {
        t->args = arguments(p);
    } else if ((p->at->type == T_NAME && !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and")) ||
               p->at->type == T_STRING || p->at->type == T_INT || p->at->type == T_FLOAT || is_op(p, "[") ||
               is_op(p, "{")) {
        if (is_name(p, "is"))
            fail_at(p, p->at, "no second test: tests can not be chained with is");
        t->args = postfix(p, primary(p, false));
    }
    if (!negated)
        return t;
    no = node2(p, E_NOT, t, NULL);
    return no;
}

static jinja_node *filters(parser *p, jinja_node *e)
{
    for (;;) {
        if (take_op(p, "|"))
            e = filter(p, e);
        else if (take_name(p, "is"))
            e = test(p, e);
        else if (is_op(p, "("))
            e = call(p, e);
        else
            return e;
    }
}

static jinja_node *unary(parser *p, bool with_filters)
{
    jinja_node *e;

    nest(p);
    if (is_op(p, "-") || is_op(p, "+")) {
        e = node(p, is_op(p, "-") ? E_NEG : E_POS);
        p->at++;
        e->a = unary(p, false);
    } else {
        e = primary(p, false);
    }
    e = postfix(p, e);
    if (with_filters)
        e = filters(p, e);
    p->nesting--;
    return e;
}

static jinja_node *binary(parser *p, jinja_op op, jinja_node *a, jinja_node *b)
{
    jinja_node *e = node2(p, E_BINARY, a, b);

    e->op = (uint8_t)op;
    return e;
}

static jinja_node *power(parser *p)
{
    jinja_node *e = unary(p, true);

    while (take_op(p, "**"))
        e = binary(p, OP_POW, e, unary(p, true));
    return e;
}

static jinja_node *product(parser *p)
{
    jinja_node *e = power(p);

    for (;;) {
        if (take_op(p, "*"))
            e = binary(p, OP_MUL, e, power(p));
        else if (take_op(p, "/"))
            e = binary(p, OP_DIV, e, power(p));
        else if (take_op(p, "//"))
            e = binary(p, OP_FLOORDIV, e, power(p));
        else if (take_op(p, "%"))
            e = binary(p, OP_MOD, e, power(p));
        else
            return e;
    }
}

static jinja_node *concatenation(parser *p)
{
    jinja_node *e = product(p), *all, **end;

    if (!is_op(p, "~"))
        return e;
    all = node(p, E_CONCAT);
    all->args = e;
    end = &e->next;
    while (take_op(p, "~")) {
        *end = product(p);
        end = &(*end)->next;
    }
    return all;
}

static jinja_node *sum(parser *p)
{
    jinja_node *e = concatenation(p);

    for (;;) {
        if (take_op(p, "+"))
            e = binary(p, OP_ADD, e, concatenation(p));
        else if (take_op(p, "-"))
            e = binary(p, OP_SUB, e, concatenation(p));
        else
            return e;
    }
}

static jinja_node *comparison(parser *p)
{
    static const struct {
        const char *text;
        jinja_op op;
    } ops[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<", OP_LT}, {"<=", OP_LE}, {">", OP_GT}, {">=", OP_GE}};
    jinja_node *e = sum(p), *all = NULL, **end = NULL, *operand;
    size_t i;
    int op;

    for (;;) {
        op = -1;
        for (i = 0; i < HONE_COUNT(ops) && op < 0; i++)
            if (take_op(p, ops[i].text))
                op = ops[i].op;
        if (op < 0 && take_name(p, "in"))
            op = OP_IN;
        if (op < 0 && is_name(p, "not") && token_is(p->at + 1, T_NAME, "in")) {
            p->at += 2;
            op = OP_NOT_IN;
        }
        if (op < 0)
            return all ? all : e;
        if (!all) {
            all = node2(p, E_COMPARE, e, NULL);
            end = &all->args;
        }
        operand = node(p, E_OPERAND);
        operand->op = (uint8_t)op;
        operand->a = sum(p);
        *end = operand;
        end = &operand->next;
    }
}

static jinja_node *negation(parser *p)
{
    jinja_node *e;

    if (!is_name(p, "not"))
        return comparison(p);
    nest(p);
    e = node(p, E_NOT);
    p->at++;
    e->a = negation(p);
    p->nesting--;
    return e;
}

static jinja_node *conjunction(parser *p)
{
    jinja_node *e = negation(p);

    while (take_name(p, "and"))
        e = node2(p, E_AND, e, negation(p));
    return e;
}

static jinja_node *disjunction(parser *p)
{
    jinja_node *e = conjunction(p);

    while (take_name(p, "or"))
        e = node2(p, E_OR, e, conjunction(p));
    return e;
}

static jinja_node *expression(parser *p, bool with_condition)
{
    jinja_node *e, *x;

    nest(p);
    e = disjunction(p);
    while (with_condition && is_name(p, "if")) {
        x = node(p, E_COND);
        p->at++;
        x->b = e;
        p->soft++;
        x->a = disjunction(p);
        if (take_name(p, "else"))
            x->c = expression(p, true);
        p->soft--;
        e = x;
    }
    p->nesting--;
    return e;
}

/* ---- statements ---------------------------------------------------------------------------------------------- */

static void check_target(parser *p, const jinja_node *e)
{
    const jinja_node *x;

    if (e->type == E_NSREF || (e->type == E_NAME && !e->flag))
        return;
    if (e->type != E_TUPLE) {
        p->a->line = e->line;
        jinja_fail(p->a, HONE_EFORMAT, "can not assign to this expression");
    }
    for (x = e->args; x; x = x->next)
        check_target(p, x);
}

static jinja_node *target(parser *p, const char *stop)
{
    jinja_node *e = tuple(p, true, true, stop, false);

    check_target(p, e);
    return e;
}

/* A body with its own scope: late look-up of filters does not reach into it. */
static jinja_node *scoped(parser *p, const char *const *ends)
{
    int soft = p->soft;
    jinja_node *body;

    p->soft = 0;
    body = statements(p, ends);
    p->soft = soft;
    return body;
}

static jinja_node *for_statement(parser *p)
{
    static const char *const ends[] = {"endfor", "else", NULL}, *const end_else[] = {"endfor", NULL};
    jinja_node *e = node(p, N_FOR);

    p->at++;
    e->a = target(p, "in");
    if (e->a->type == E_NSREF)
        fail_at(p, p->at, "a name as the loop's target");
    if (!take_name(p, "in"))
        fail_at(p, p->at, "'in'");
    e->b = tuple(p, false, false, "recursive", false);
    if (take_name(p, "if"))
        e->c = expression(p, true);
    e->flag = take_name(p, "recursive");
    end_tag(p);
    p->loops++;
    e->body = scoped(p, ends);
    p->loops--;
    if (take_name(p, "else")) {
        end_tag(p);
        e->other = scoped(p, end_else);
    }
    p->at++;
    end_tag(p);
    return e;
}

static jinja_node *if_statement(parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const end_else[] = {"endif", NULL};
    jinja_node *first = NULL, **place = &first, *e;

    p->soft++;
    for (;;) {
        e = node(p, N_IF);
        e->flag = first != NULL; /* an elif, not an if that an else happens to begin with */
        p->at++;
        *place = e;
        e->a = tuple(p, false, false, NULL, false);
        end_tag(p);
        e->body = statements(p, ends);
        if (!is_name(p, "elif"))
            break;
        place = &e->other;
    }
    if (take_name(p, "else")) {
        end_tag(p);
        e->other = statements(p, end_else);
    }
    p->at++;
    end_tag(p);
    p->soft--;
    return first;
}

/* Filters over a captured body: "| f | g(1)", or from the first name on when `inline_`. NULL if there are none. */
static jinja_node *body_filters(parser *p, bool inline_)
{
    jinja_node *e = node(p, E_BODY);

    if (!inline_ && !is_op(p, "|"))
        return NULL;
    if (!inline_)
        p->at++;
    e = filter(p, e);
    while (take_op(p, "|"))
        e = filter(p, e);
    return e;
}

static jinja_node *set_statement(parser *p)
{
    static const char *const ends[] = {"endset", NULL};
    jinja_node *e = node(p, N_SET);

    p->at++;
    e->a = target(p, NULL);
    if (take_op(p, "=")) {
        e->b = tuple(p, false, true, NULL, false);
        end_tag(p);
        return e;
    }
    e->type = N_SET_BLOCK;
    e->b = body_filters(p, false);
    end_tag(p);
    e->body = scoped(p, ends);
    p->at++;
    end_tag(p);
    return e;
}

static jinja_node *parameters(parser *p)
{
    jinja_node *first = NULL, **end = &first, *e;
    bool defaults = false;

    want_op(p, "(");
    while (!is_op(p, ")")) {
        if (first)
            want_op(p, ",");
        e = node(p, E_PARAM);
        e->name = atom(p, want_name(p));
        if (take_op(p, "=")) {
            e->a = expression(p, true);
            defaults = true;
        } else if (defaults) {
            fail_at(p, p->at, "a default, as the parameter before has one");
        }
        *end = e;
        end = &e->next;
    }
    p->at++;
    return first;
}

/* Whether a name is read anywhere in the tokens [from, to): decides if a macro takes **kwargs, *varargs, a caller. */
static bool mentions(const jinja_token *from, const jinja_token *to, const char *name)
{
    for (; from < to; from++)
        if (token_is(from, T_NAME, name) && !token_is(from - 1, T_OP, "."))
            return true;
    return false;
}

enum { TAKES_KWARGS = 1, TAKES_VARARGS = 2, TAKES_CALLER = 4 };

static jinja_node *macro_body(parser *p, jinja_node *m, const char *end)
{
    const char *const ends[] = {end, NULL};
    const jinja_token *from = p->at;
    int loops = p->loops;

    end_tag(p);
    p->loops = 0;
    m->body = scoped(p, ends);
    p->loops = loops;
    m->id = (mentions(from, p->at, "kwargs") ? TAKES_KWARGS : 0) |
            (mentions(from, p->at, "varargs") ? TAKES_VARARGS : 0) |
            (mentions(from, p->at, "caller") ? TAKES_CALLER : 0);
    p->at++;
    end_tag(p);
    return m;
}

static jinja_node *macro_statement(parser *p)
{
    jinja_node *e = node(p, N_MACRO);

    p->at++;
    e->name = atom(p, want_name(p));
    e->args = parameters(p);
    return macro_body(p, e, "endmacro");
}

static jinja_node *call_statement(parser *p)
{
    static const jinja_token caller = {.type = T_NAME, .s = "caller", .n = 6};
    jinja_node *e = node(p, N_CALL_BLOCK), *m = node(p, N_MACRO);

    p->at++;
    m->name = atom(p, &caller);
    if (is_op(p, "("))
        m->args = parameters(p);
    e->a = expression(p, true);
    if (e->a->type != E_CALL)
        fail_at(p, p->at, "a call");
    e->b = macro_body(p, m, "endcall");
    return e;
}

static jinja_node *with_statement(parser *p)
{
    static const char *const ends[] = {"endwith", NULL};
    jinja_node *e = node(p, N_WITH), **end = &e->args;

    p->at++;
    while (p->at->type != T_BLOCK_END) {
        if (e->args)
            want_op(p, ",");
        *end = node(p, N_SET);
        (*end)->a = primary(p, false);
        check_target(p, (*end)->a);
        want_op(p, "=");
        (*end)->b = expression(p, true);
        end = &(*end)->next;
    }
    end_tag(p);
    e->body = scoped(p, ends);
    p->at++;
    end_tag(p);
    return e;
}

static jinja_node *statement(parser *p)
{
    static const char *const filter_ends[] = {"endfilter", NULL}, *const generation_ends[] = {"endgeneration",
                                                                                              NULL};
    static const char *const refused[] = {"block",      "extends", "include", "import", "from",
                                          "autoescape", "do",      "trans",   "debug"};
    const jinja_token *t = p->at;
    jinja_node *e;
    size_t i;
    int loops = p->loops;

    if (t->type != T_NAME)
        fail_at(p, t, "the name of a tag");
    if (is_name(p, "for"))
        return for_statement(p);
    if (is_name(p, "if"))
        return if_statement(p);
    if (is_name(p, "set"))
        return set_statement(p);
    if (is_name(p, "macro"))
        return macro_statement(p);
    if (is_name(p, "call"))
        return call_statement(p);
    if (is_name(p, "with"))
        return with_statement(p);
    if (is_name(p, "print")) {
        jinja_node *first = NULL, **end = &first;

        p->at++;
        while (p->at->type != T_BLOCK_END) {
            if (first)
                want_op(p, ",");
            e = node(p, N_OUTPUT);
            e->a = expression(p, true);
            *end = e;
            end = &e->next;
        }
        if (!first)
            fail_at(p, p->at, "an expression");
        end_tag(p);
        return first;
    }
    if (is_name(p, "filter")) {
        e = node(p, N_FILTER);
        p->at++;
        e->a = body_filters(p, true);
        end_tag(p);
        e->body = scoped(p, filter_ends);
        p->at++;
        end_tag(p);
        return e;
    }
    if (is_name(p, "generation")) {
        e = node(p, N_GENERATION);
        p->at++;
        end_tag(p);
        p->loops = 0;
        e->body = scoped(p, generation_ends);
        p->loops = loops;
        p->at++;
        end_tag(p);
        return e;
    }
    if (is_name(p, "break") || is_name(p, "continue")) {
        e = node(p, t->s[0] == 'b' ? N_BREAK : N_CONTINUE);
        if (!p->loops)
            fail_at(p, t, "it inside a loop");
        p->at++;
        end_tag(p);
        return e;
    }
    p->a->line = t->line;
    for (i = 0; i < HONE_COUNT(refused); i++)
        if (is_name(p, refused[i]))
            jinja_fail(p->a, HONE_EUNSUPPORTED, "the tag '%s' is not supported", refused[i]);
    jinja_fail(p->a, HONE_EFORMAT, "unknown tag '%.*s'", (int)HONE_MIN(t->n, (size_t)60), t->s);
}

/* Up to one of `ends` (NULL: the end of the template), which becomes the present token. */
static jinja_node *statements(parser *p, const char *const *ends)
{
    jinja_node *first = NULL, **end = &first, *e;
    char wanted[80] = "";
    size_t i;

    nest(p);
    for (;;) {
        switch (p->at->type) {
        case T_EOF:
            if (!ends) {
                p->nesting--;
                return first;
            }
            for (i = 0; ends[i]; i++)
                snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%s'%s'", i ? " or " : "",
                         ends[i]);
            fail_at(p, p->at, wanted);
        case T_DATA:
            e = node(p, N_TEXT);
            e->value = text_value(p, p->at->s, p->at->n);
            p->at++;
            break;
        case T_VARIABLE_BEGIN:
            p->at++;
            e = node(p, N_OUTPUT);
            e->a = tuple(p, false, true, NULL, false);
            if (p->at->type != T_VARIABLE_END)
                fail_at(p, p->at, "the end of {{ }}");
            p->at++;
            break;
        default: /* T_BLOCK_BEGIN: nothing else stands between tags */
            p->at++;
            for (i = 0; ends && ends[i]; i++)
                if (is_name(p, ends[i])) {
                    p->nesting--;
                    return first;
                }
            e = statement(p);
        }
        *end = e;
        while (*end)
            end = &(*end)->next;
    }
}

jinja_node *jinja_parse(hone_template *t, const jinja_token *tokens)
{
    parser p = {.a = &t->arena, .t = t, .at = tokens};

    return statements(&p, NULL);
}
