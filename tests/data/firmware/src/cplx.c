/* Complex expressions in reverse Polish notation, for impedances: `50 0 1 2 pi * 1e6 * 100p * / -1 i * +`.
 * A number or `i` is pushed, an operator or function takes its arguments from the stack. */
#include <complex.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

#ifndef SMALL
typedef double complex (*function)(double complex);

static const struct { const char *name; function f; } functions[] = {
    {"sin", csin}, {"cos", ccos}, {"tan", ctan}, {"asin", casin}, {"acos", cacos}, {"atan", catan},
    {"sinh", csinh}, {"cosh", ccosh}, {"tanh", ctanh}, {"asinh", casinh}, {"acosh", cacosh},
    {"atanh", catanh}, {"exp", cexp}, {"ln", clog}, {"sqrt", csqrt}, {"conj", conj},
};

static double complex reflection(double complex z) { return (z - 50) / (z + 50); }

bool cplx_evaluate(const char *text, double complex *result, const char **error)
{
    double complex stack[16];
    size_t depth = 0;
    char word[24];
    while (*(text += strspn(text, " "))) {
        size_t length = strcspn(text, " ");
        if (length >= sizeof word) {
            *error = "word too long";
            return false;
        }
        memcpy(word, text, length);
        word[length] = 0;
        text += length;
        char *end;
        double number = strtod(word, &end);
        bool unit = !strcmp(word, "i");
        if (unit || (end != word && (*end == 0 || !strcmp(end, "i")))) {
            if (depth == 16) {
                *error = "stack full";
                return false;
            }
            stack[depth++] = unit ? I : *end ? number * I : number;
            continue;
        }
        if (length == 1 && strchr("+-*/^|", *word)) {
            if (depth < 2) {
                *error = "two values needed";
                return false;
            }
            double complex b = stack[--depth], a = stack[depth - 1];
            switch (*word) {
            case '+': a += b; break;
            case '-': a -= b; break;
            case '*': a *= b; break;
            case '/': a /= b; break;
            case '|': a = a * b / (a + b); break;
            default: a = cpow(a, b);
            }
            stack[depth - 1] = a;
            continue;
        }
        function f = strcmp(word, "gamma") ? NULL : reflection;
        for (size_t i = 0; i < sizeof functions / sizeof *functions && !f; i++)
            if (!strcmp(functions[i].name, word))
                f = functions[i].f;
        if (!f || depth == 0) {
            *error = f ? "a value is needed" : "unknown word";
            return false;
        }
        stack[depth - 1] = f(stack[depth - 1]);
    }
    if (depth != 1) {
        *error = "not exactly one value left";
        return false;
    }
    *result = stack[0];
    return true;
}
#endif
