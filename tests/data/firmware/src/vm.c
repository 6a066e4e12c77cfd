/* Test sequences written by the user: a small assembler and a stack machine with a step budget.
 * `push 10 :loop dup out 1 sub dup jnz loop halt`; a label is `:name`. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

enum op { HALT, PUSH, DUP, DROP, SWAP, OVER, ADD, SUB, MUL, DIV, MOD, AND, OR, XOR, NOT, SHL, SHR, LT, EQ, GT,
          JMP, JZ, JNZ, CALL, RET, LOAD, STORE, OUT, ADC_IN, DAC_OUT, MS, WAIT, GET, SET, SIN, OPS };

static const struct { const char *name; uint8_t takes, gives, operand; } ops[OPS] = {
    [HALT] = {"halt", 0, 0, 0}, [PUSH] = {"push", 0, 1, 4}, [DUP] = {"dup", 1, 2, 0}, [DROP] = {"drop", 1, 0, 0},
    [SWAP] = {"swap", 2, 2, 0}, [OVER] = {"over", 2, 3, 0}, [ADD] = {"add", 2, 1, 0}, [SUB] = {"sub", 2, 1, 0},
    [MUL] = {"mul", 2, 1, 0}, [DIV] = {"div", 2, 1, 0}, [MOD] = {"mod", 2, 1, 0}, [AND] = {"and", 2, 1, 0},
    [OR] = {"or", 2, 1, 0}, [XOR] = {"xor", 2, 1, 0}, [NOT] = {"not", 1, 1, 0}, [SHL] = {"shl", 2, 1, 0},
    [SHR] = {"shr", 2, 1, 0}, [LT] = {"lt", 2, 1, 0}, [EQ] = {"eq", 2, 1, 0}, [GT] = {"gt", 2, 1, 0},
    [JMP] = {"jmp", 0, 0, 2}, [JZ] = {"jz", 1, 0, 2}, [JNZ] = {"jnz", 1, 0, 2}, [CALL] = {"call", 0, 0, 2},
    [RET] = {"ret", 0, 0, 0}, [LOAD] = {"load", 1, 1, 0}, [STORE] = {"store", 2, 0, 0}, [OUT] = {"out", 1, 0, 0},
    [ADC_IN] = {"adc", 1, 1, 0}, [DAC_OUT] = {"dac", 1, 0, 0}, [MS] = {"ms", 0, 1, 0}, [WAIT] = {"wait", 1, 0, 0},
    [GET] = {"get", 2, 1, 0}, [SET] = {"set", 3, 0, 0}, [SIN] = {"sin", 1, 1, 0},
};

struct label { char name[16]; uint16_t address; };

bool vm_assemble(const char *source, uint8_t *code, size_t room, size_t *length, const char **error)
{
    static struct label labels[32], uses[64];
    size_t used = 0, label_count = 0, use_count = 0;
    char word[16];
    for (; *(source += strspn(source, " \t\r\n")); source += strcspn(source, " \t\r\n")) {
        size_t size = strcspn(source, " \t\r\n");
        if (size >= sizeof word || used + 5 > room) {
            *error = size >= sizeof word ? "word too long" : "program too long";
            return false;
        }
        memcpy(word, source, size);
        word[size] = 0;
        if (*word == ':') {
            if (label_count == 32) {
                *error = "too many labels";
                return false;
            }
            strcpy(labels[label_count].name, word + 1);
            labels[label_count++].address = used;
            continue;
        }
        if (isdigit((unsigned char)*word) || (*word == '-' && isdigit((unsigned char)word[1]))) {
            int32_t number = strtol(word, NULL, 0);
            code[used++] = PUSH;
            memcpy(code + used, &number, 4);
            used += 4;
            continue;
        }
        unsigned op = 0;
        while (op < OPS && strcmp(ops[op].name, word))
            op++;
        if (op == PUSH)
            continue; /* the number that follows pushes itself */
        if (op < OPS) {
            code[used++] = op;
            if (ops[op].operand == 2) {
                source += size;
                source += strspn(source, " \t\r\n");
                size = strcspn(source, " \t\r\n");
                if (size >= sizeof word || use_count == 64) {
                    *error = "label expected";
                    return false;
                }
                memcpy(uses[use_count].name, source, size);
                uses[use_count].name[size] = 0;
                uses[use_count++].address = used;
                used += 2;
            }
            continue;
        }
        *error = "unknown word";
        return false;
    }
    for (size_t i = 0; i < use_count; i++) {
        size_t j = 0;
        while (j < label_count && strcmp(labels[j].name, uses[i].name))
            j++;
        if (j == label_count) {
            *error = "unknown label";
            return false;
        }
        memcpy(code + uses[i].address, &labels[j].address, 2);
    }
    *length = used;
    return true;
}

bool vm_run(const uint8_t *code, size_t length, int32_t *result, const char **error)
{
    int32_t stack[64], memory[64] = {0};
    uint16_t calls[16];
    size_t depth = 0, call_depth = 0, pc = 0;
    *error = NULL;
    for (unsigned budget = 1000000; budget && pc < length; budget--) {
        enum op op = code[pc++];
        if (op >= OPS || pc + ops[op].operand > length) {
            *error = "bad instruction";
            return false;
        }
        if (depth < ops[op].takes || depth + ops[op].gives - ops[op].takes > 64) {
            *error = depth < ops[op].takes ? "stack empty" : "stack full";
            return false;
        }
        int32_t a = depth > 0 ? stack[depth - 1] : 0, b = depth > 1 ? stack[depth - 2] : 0;
        int32_t c = depth > 2 ? stack[depth - 3] : 0, r = 0;
        uint16_t target = 0;
        if (ops[op].operand == 2)
            memcpy(&target, code + pc, 2);
        depth -= ops[op].takes;
        switch (op) {
        case HALT: *result = a; return true;
        case PUSH: memcpy(&r, code + pc, 4); break;
        case DUP: stack[depth] = a; r = a; break;
        case SWAP: stack[depth] = a; r = b; break;
        case OVER: stack[depth] = b; stack[depth + 1] = a; r = b; break;
        case ADD: r = b + a; break;
        case SUB: r = b - a; break;
        case MUL: r = b * a; break;
        case DIV: case MOD:
            if (a == 0 || (a == -1 && b == INT32_MIN)) {
                *error = "division";
                return false;
            }
            r = op == DIV ? b / a : b % a;
            break;
        case AND: r = b & a; break;
        case OR: r = b | a; break;
        case XOR: r = b ^ a; break;
        case NOT: r = ~a; break;
        case SHL: r = (int32_t)((uint32_t)b << (a & 31)); break;
        case SHR: r = b >> (a & 31); break;
        case LT: r = b < a; break;
        case EQ: r = b == a; break;
        case GT: r = b > a; break;
        case CALL:
            if (call_depth == 16) {
                *error = "calls nested too deeply";
                return false;
            }
            calls[call_depth++] = pc + 2;
            pc = target;
            continue;
        case JMP: pc = target; continue;
        case JZ: pc = a == 0 ? target : pc + 2; continue;
        case JNZ: pc = a != 0 ? target : pc + 2; continue;
        case RET:
            if (call_depth == 0) {
                *result = a;
                return true;
            }
            pc = calls[--call_depth];
            continue;
        case LOAD: r = memory[a & 63]; break;
        case STORE: memory[a & 63] = b; break;
        case OUT: printf("%ld\n", (long)a); break;
        case ADC_IN: r = board_adc(a); break;
        case DAC_OUT: board_dac(a); break;
        case MS: r = board_milliseconds(); break;
        case WAIT:
            for (uint32_t start = board_milliseconds(); a > 0 && a < 10000 && board_milliseconds() - start < (uint32_t)a;)
                ;
            break;
        case GET: { int32_t *value = object_value(b, a); r = value ? *value : 0; break; }
        case SET: { int32_t *value = object_value(b, a); if (value) *value = c; break; }
        case SIN: r = sine_q15[(uint32_t)a % SINE_SIZE]; break;
        default: break;
        }
        pc += ops[op].operand;
        depth = depth + ops[op].gives;
        if (ops[op].gives)
            stack[depth - 1] = r;
    }
    *error = pc >= length ? NULL : "too many steps";
    *result = depth ? stack[depth - 1] : 0;
    return !*error;
}
