/* The console's calculator: recursive descent over real expressions, with the functions an instrument's user
 * wants at hand. `sin(2*pi*50*t)`, `gain(0.5)`, `x = 3`, `x^2`. */
#ifndef SMALL
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

typedef double (*unary)(double);
typedef double (*binary)(double, double);
struct function { const char *name; unary one; binary two; };

static double decibels(double x) { return 20 * log10(fabs(x)); }
static double gain(double x) { return pow(10, x / 20); }
static double degrees(double x) { return x * 57.29577951308232; }
static double radians(double x) { return x / 57.29577951308232; }
static double parallel(double a, double b) { return a * b / (a + b); }
static double minimum(double a, double b) { return a < b ? a : b; }
static double maximum(double a, double b) { return a > b ? a : b; }
static double normal(double x) { return 0.5 * erfc(-x * 0.7071067811865476); }
static double binomial(double n, double k) { return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)); }
static double sinc(double x) { return x == 0 ? 1 : sin(3.141592653589793 * x) / (3.141592653589793 * x); }
static double bessel_n(double n, double x) { return jn((int)n, x); }
static double bessel_yn(double n, double x) { return yn((int)n, x); }
static double power2(double a, double b) { return ldexp(a, (int)b); }

static const struct function functions[] = {
    {"sin", sin, NULL}, {"cos", cos, NULL}, {"tan", tan, NULL}, {"asin", asin, NULL}, {"acos", acos, NULL},
    {"atan", atan, NULL}, {"exp", exp, NULL}, {"ln", log, NULL}, {"log", log10, NULL}, {"sqrt", sqrt, NULL},
    {"abs", fabs, NULL}, {"floor", floor, NULL}, {"ceil", ceil, NULL}, {"round", round, NULL},
    {"db", decibels, NULL}, {"gain", gain, NULL}, {"deg", degrees, NULL}, {"rad", radians, NULL},
    {"sinc", sinc, NULL}, {"par", NULL, parallel}, {"min", NULL, minimum}, {"max", NULL, maximum},
    {"pow", NULL, pow}, {"atan2", NULL, atan2}, {"mod", NULL, fmod},
    {"sinh", sinh, NULL}, {"cosh", cosh, NULL}, {"tanh", tanh, NULL}, {"asinh", asinh, NULL},
    {"acosh", acosh, NULL}, {"atanh", atanh, NULL}, {"exp2", exp2, NULL}, {"expm1", expm1, NULL},
    {"log2", log2, NULL}, {"log1p", log1p, NULL}, {"cbrt", cbrt, NULL}, {"erf", erf, NULL},
    {"erfc", erfc, NULL}, {"gamma", tgamma, NULL}, {"lgamma", lgamma, NULL}, {"j0", j0, NULL},
    {"j1", j1, NULL}, {"y0", y0, NULL}, {"y1", y1, NULL}, {"trunc", trunc, NULL}, {"rint", rint, NULL},
    {"logb", logb, NULL}, {"hypot", NULL, hypot}, {"rem", NULL, remainder}, {"next", NULL, nextafter},
    {"jn", NULL, bessel_n}, {"yn", NULL, bessel_yn}, {"ldexp", NULL, power2}, {"dim", NULL, fdim},
    {"copysign", NULL, copysign},
    {"normal", normal, NULL}, {"choose", NULL, binomial},
};

static const struct { const char *name; double value; } constants[] = {
    {"pi", 3.141592653589793}, {"e", 2.718281828459045}, {"c", 299792458.0}, {"k", 1.380649e-23},
    {"q", 1.602176634e-19}, {"h", 6.62607015e-34}, {"eps0", 8.8541878128e-12}, {"mu0", 1.25663706212e-6},
};

static double variables[26];
static const char *at, *problem;
static int depth;
static double sum(void);

static void blanks(void)
{
    while (isspace((unsigned char)*at))
        at++;
}

static double fail(const char *why)
{
    if (!problem)
        problem = why;
    return NAN;
}

static double named(void)
{
    const char *start = at;
    while (isalnum((unsigned char)*at))
        at++;
    size_t length = at - start;
    blanks();
    if (*at == '(') {
        at++;
        double first = sum(), second = 0;
        bool two = *at == ',';
        if (two) {
            at++;
            second = sum();
        }
        if (*at++ != ')')
            return fail("closing bracket missing");
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
            const struct function *f = &functions[i];
            if (strlen(f->name) == length && !memcmp(f->name, start, length)) {
                if (two != (f->two != NULL))
                    return fail("wrong number of arguments");
                return two ? f->two(first, second) : f->one(first);
            }
        }
        return fail("unknown function");
    }
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (strlen(constants[i].name) == length && !memcmp(constants[i].name, start, length))
            return constants[i].value;
    if (length == 1)
        return variables[tolower((unsigned char)*start) - 'a'];
    return fail("unknown name");
}

static double primary(void)
{
    blanks();
    double value;
    if (++depth > 40) {
        value = fail("nested too deeply");
    } else if (*at == '(') {
        at++;
        value = sum();
        if (*at != ')')
            value = fail("closing bracket missing");
        else
            at++;
    } else if (*at == '-') {
        at++;
        value = -primary();
    } else if (isalpha((unsigned char)*at)) {
        value = named();
    } else {
        char *end;
        value = strtod(at, &end);
        if (end == at)
            value = fail("number expected");
        at = end;
        static const char prefixes[] = "pnumkMG";
        static const double factors[] = {1e-12, 1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9};
        const char *prefix = *at ? strchr(prefixes, *at) : NULL;
        if (prefix && !isalnum((unsigned char)at[1])) {
            value *= factors[prefix - prefixes];
            at++;
        }
    }
    depth--;
    blanks();
    return value;
}

static double power(void)
{
    double base = primary();
    if (*at != '^')
        return base;
    at++;
    return pow(base, power());
}

static double product(void)
{
    double value = power();
    for (;;) {
        char operator = *at;
        if (operator != '*' && operator != '/' && operator != '%')
            return value;
        at++;
        double right = power();
        value = operator == '*' ? value * right : operator == '/' ? value / right : fmod(value, right);
    }
}

static double sum(void)
{
    double value = product();
    while (*at == '+' || *at == '-') {
        char operator = *at++;
        double right = product();
        value = operator == '+' ? value + right : value - right;
    }
    return value;
}

bool calc_evaluate(const char *text, double *result, const char **error)
{
    at = text;
    problem = NULL;
    depth = 0;
    blanks();
    const char *name = at;
    int target = -1;
    if (isalpha((unsigned char)*at)) {
        at++;
        blanks();
        if (*at == '=') {
            target = tolower((unsigned char)*name) - 'a';
            at++;
        } else {
            at = name;
        }
    }
    *result = sum();
    if (*at)
        fail("unexpected character");
    if (problem) {
        *error = problem;
        return false;
    }
    if (target >= 0)
        variables[target] = *result;
    return true;
}
#endif
