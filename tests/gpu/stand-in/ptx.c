// PTX of one kernel to C: an instruction becomes a statement, a register a variable, a grid a loop over its threads from the
// last to the first. A kernel with barriers keeps its threads' registers and comes back to where it waited.
// What compilers make of float and integer kernels is known here; anything else is refused by its name.

#define _GNU_SOURCE
#include "stand_in.h"
#include "thread.h"
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

enum class { NONE, PRED, W16, W32, W64 };
enum space { SHARED = 1, LOCAL, CONSTANT };

struct symbol {
    char name[128];
    enum class class; // of a register
    enum space space; // of memory
    u32 at;
};

struct translation {
    struct kernel *kernel;
    struct symbol *symbols;
    int count, room;
    u32 shared, local;
    int waits, resumes;
    char *out;
    size_t length, capacity;
    jmp_buf refused;
};

static void refuse(struct translation *t, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(t->kernel->refusal, sizeof t->kernel->refusal, format, arguments);
    va_end(arguments);
    longjmp(t->refused, 1);
}

static void emit(struct translation *t, const char *format, ...) {
    for (;;) {
        va_list arguments;
        va_start(arguments, format);
        size_t room = t->capacity - t->length;
        size_t length = vsnprintf(t->out + t->length, room, format, arguments);
        va_end(arguments);
        if (length < room) {
            t->length += length;
            return;
        }
        t->out = realloc(t->out, t->capacity = 2 * t->capacity + length + 1);
    }
}

static struct symbol *find(struct translation *t, const char *name) {
    for (int i = t->count; i-- > 0;) {
        if (!strcmp(t->symbols[i].name, name)) return &t->symbols[i];
    }
    return NULL;
}

static struct symbol *declare(struct translation *t, const char *name) {
    struct symbol *known = find(t, name);
    if (known) return known;
    if (t->count == t->room) t->symbols = realloc(t->symbols, (t->room = 2 * t->room + 64) * sizeof *t->symbols);
    struct symbol *symbol = &t->symbols[t->count++];
    memset(symbol, 0, sizeof *symbol);
    snprintf(symbol->name, sizeof symbol->name, "%s", name);
    return symbol;
}

// A string that lives as long as a statement is translated.
static char *text(const char *format, ...) {
    static char pool[64][1024];
    static int next;
    char *s = pool[next = (next + 1) % 64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s, 1024, format, arguments);
    va_end(arguments);
    return s;
}

// A name of PTX as one of C.
static char *plain(const char *name) {
    char *s = text("%s", name);
    for (char *c = s; *c; c++) {
        if (*c == '%') *c = 'r';
        else if (*c == '$' || *c == '.') *c = '_';
    }
    return s;
}

static int bits(const char *type) { return !strcmp(type, "pred") ? 1 : atoi(type + 1); }
static int is_float(const char *type) { return type[0] == 'f'; }
static int is_pred(const char *type) { return !strcmp(type, "pred"); }
static int is_type(const char *word) {
    static const char *types[] = {"u8", "s8", "b8", "u16", "s16", "b16", "f16", "u32", "s32", "b32", "f32", "u64", "s64", "b64", "f64", "pred"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!strcmp(word, types[i])) return 1;
    }
    return 0;
}
// The type of C that holds one of PTX, floats by their bits.
static char *c_type(const char *type) {
    if (is_pred(type)) return "u8";
    return text("%c%d", type[0] == 's' ? 's' : 'u', bits(type));
}

static char *variable(struct translation *t, const struct symbol *symbol) {
    return t->waits ? text("R->%s", plain(symbol->name)) : plain(symbol->name);
}

// What an operand is worth as a number of a type.
static char *value(struct translation *t, const char *type, const char *operand) {
    if (is_pred(type)) {
        int not = operand[0] == '!';
        struct symbol *symbol = find(t, operand + not);
        if (!symbol) return text("%d", atoi(operand + not) != 0 ? !not : not);
        return text("(%s%s)", not ? "!" : "", variable(t, symbol));
    }
    if (!strncasecmp(operand, "0f", 2) && !strcmp(type, "f32")) return text("F(0x%su)", operand + 2);
    if (!strncasecmp(operand, "0f", 2)) return text("((%s)0x%su)", c_type(type), operand + 2);
    if (!strncasecmp(operand, "0d", 2) && !strcmp(type, "f64")) return text("D(0x%sull)", operand + 2);
    if (!strncasecmp(operand, "0d", 2)) return text("((%s)0x%sull)", c_type(type), operand + 2);
    if (isdigit((unsigned char)operand[0]) || operand[0] == '-') {
        char *number = text("%s", operand);
        size_t length = strlen(number);
        if (number[length - 1] == 'U') number[length - 1] = 0;
        if (is_float(type)) return text("((f%d)%s)", bits(type), number);
        return text("((%s)%s%s)", c_type(type), number, operand[0] == '-' ? "ll" : "ull");
    }
    static const char *special[][2] = {
        {"%tid.", "tid"}, {"%ntid.", "L->block"}, {"%ctaid.", "ctaid"}, {"%nctaid.", "L->grid"},
    };
    for (int i = 0; i < 4; i++) {
        size_t length = strlen(special[i][0]);
        if (!strncmp(operand, special[i][0], length)) return text("((%s)%s[%d])", c_type(type), special[i][1], operand[length] - 'x');
    }
    if (!strcmp(operand, "%laneid")) return "(tid[0] & 31)";
    struct symbol *symbol = find(t, operand);
    if (!symbol) refuse(t, "the operand %s", operand);
    if (symbol->space == SHARED) return text("((%s)%uu)", c_type(type), symbol->at);
    if (symbol->space == LOCAL) return text("((u64)(local + %u))", symbol->at);
    if (symbol->space) refuse(t, "the variable %s", operand);
    if (!strcmp(type, "f32")) return text("F(%s)", variable(t, symbol));
    if (!strcmp(type, "f64")) return text("D(%s)", variable(t, symbol));
    if (!strcmp(type, "f16")) return text("of_f16(%s)", variable(t, symbol));
    return text("((%s)%s)", c_type(type), variable(t, symbol));
}

// Puts an expression of a type into a register.
static void put(struct translation *t, const char *type, const char *to, const char *expression) {
    if (!strcmp(to, "_")) {
        emit(t, "(void)(%s);", expression);
        return;
    }
    struct symbol *symbol = find(t, to);
    if (!symbol || !symbol->class) refuse(t, "the destination %s", to);
    if (!strcmp(type, "f32")) emit(t, "%s = F_BITS(%s);", variable(t, symbol), expression);
    else if (!strcmp(type, "f64")) emit(t, "%s = D_BITS(%s);", variable(t, symbol), expression);
    else if (!strcmp(type, "f16")) emit(t, "%s = to_f16(%s);", variable(t, symbol), expression);
    else if (is_pred(type)) emit(t, "%s = (%s) != 0;", variable(t, symbol), expression);
    // A narrower number is widened by its sign.
    else emit(t, "%s = (%s)(%s);", variable(t, symbol), c_type(type), expression);
}

// Splits at separators outside of braces and brackets; blanks are dropped around parts.
static int split(char *s, char separator, char **parts, int most) {
    int count = 0, depth = 0;
    char *start = s;
    for (char *c = s;; c++) {
        if (*c == '{' || *c == '[' || *c == '(') depth++;
        if (*c == '}' || *c == ']' || *c == ')') depth--;
        if (*c != 0 && (*c != separator || depth > 0)) continue;
        int last = *c == 0;
        *c = 0;
        while (isspace((unsigned char)*start)) start++;
        char *end = start + strlen(start);
        while (end > start && isspace((unsigned char)end[-1])) *--end = 0;
        if (*start && count < most) parts[count++] = start;
        if (last) return count;
        start = c + 1;
    }
}

// {a, b} as its elements, or the operand alone.
static int elements(char *operand, char **parts) {
    if (operand[0] != '{') {
        parts[0] = operand;
        return 1;
    }
    char *inside = operand + 1;
    inside[strlen(inside) - 1] = 0;
    return split(inside, ',', parts, 8);
}

// [a + n] as a and n.
static void address(struct translation *t, const char *operand, char *name, s64 *offset) {
    if (operand[0] != '[') refuse(t, "the address %s", operand);
    char *inside = text("%s", operand + 1);
    inside[strlen(inside) - 1] = 0;
    char *plus = strpbrk(inside, "+");
    *offset = plus ? strtoll(plus + 1, NULL, 0) : 0;
    if (plus) *plus = 0;
    char *end = inside + strlen(inside);
    while (end > inside && isspace((unsigned char)end[-1])) *--end = 0;
    snprintf(name, 128, "%s", inside);
}

static void at_offset(char *to, size_t room, const char *at, s64 offset) {
    if (offset) snprintf(to, room, "(%s + (u64)%lldll)", at, (long long)offset);
    else snprintf(to, room, "%s", at);
}

static int has(char **words, int count, const char *word) {
    for (int i = 1; i < count; i++) {
        if (!strcmp(words[i], word)) return 1;
    }
    return 0;
}

static void memory(struct translation *t, char **words, int count, char **operands) {
    int load = !strcmp(words[0], "ld") || !strcmp(words[0], "ldu");
    const char *type = words[count - 1];
    char name[128], *parts[8];
    s64 offset;
    address(t, operands[load ? 1 : 0], name, &offset);
    int lanes = elements(operands[load ? 0 : 1], parts), bytes = bits(type) / 8;
    const char *space = has(words, count, "param") ? "param" : has(words, count, "global") ? "global" : has(words, count, "shared") || has(words, count, "shared::cta") ? "shared" : has(words, count, "local") ? "local" : has(words, count, "const") ? "const" : "";
    if (!strcmp(space, "const")) refuse(t, "constant memory");
    char *place;
    if (!strcmp(space, "param")) {
        int found = -1;
        for (int i = 0; i < t->kernel->params; i++) {
            char parameter[256];
            snprintf(parameter, sizeof parameter, "%s_param_%d", t->kernel->name, i);
            if (!strcmp(parameter, name)) found = i;
        }
        if (found < 0) refuse(t, "the parameter %s", name);
        place = text("(void *)(L->params + %u)", t->kernel->offset[found] + (u32)offset);
    } else {
        char at[1200];
        at_offset(at, sizeof at, value(t, "u64", name), offset);
        if (!strcmp(space, "shared")) place = text("share(L, shared, %u, (u32)%s, %d)", t->shared, at, lanes * bytes);
        else if (!strcmp(space, "local")) place = text("(void *)%s", at);
        else if (!strcmp(space, "") && t->local) place = text("(%s - (u64)local < %uu ? (void *)%s : reach(L, %s, %d, %d, %d))", at, t->local, at, at, lanes * bytes, load, !load);
        else place = text("reach(L, %s, %d, %d, %d)", at, lanes * bytes, load, !load);
    }
    emit(t, "{ u%d *at = %s;", 8 * bytes, place);
    // Bits as they are; a narrow number with a sign is widened by it.
    const char *raw = is_float(type) ? text("b%d", 8 * bytes) : type;
    for (int lane = 0; lane < lanes; lane++) {
        if (load) put(t, raw, parts[lane], text("at[%d]", lane));
        else emit(t, "at[%d] = %s;", lane, value(t, raw, parts[lane]));
    }
    emit(t, "}");
}

static void atomic(struct translation *t, char **words, int count, char **operands) {
    int returns = !strcmp(words[0], "atom");
    const char *type = words[count - 1], *op = NULL;
    static const char *ops[] = {"add", "min", "max", "exch", "cas", "and", "or", "xor"};
    for (int i = 0; i < 8; i++) {
        if (has(words, count, ops[i])) op = ops[i];
    }
    if (!op) refuse(t, "an atomic operation");
    char name[128], at[1200];
    s64 offset;
    address(t, operands[returns], name, &offset);
    at_offset(at, sizeof at, value(t, "u64", name), offset);
    int bytes = bits(type) / 8;
    char *place = has(words, count, "shared") ? text("share(L, shared, %u, (u32)%s, %d)", t->shared, at, bytes) : text("reach(L, %s, %d, 1, 1)", at, bytes);
    emit(t, "{ u%d *at = %s, before = *at;", 8 * bytes, place);
    const char *was = is_float(type) ? text("%c(before)", bytes == 4 ? 'F' : 'D') : text("((%s)before)", c_type(type));
    if (!strcmp(type, "f16")) was = "of_f16(before)";
    const char *by = value(t, type, operands[returns + 1]);
    const char *now = !strcmp(op, "add")    ? text("(%s) + (%s)", was, by)
                      : !strcmp(op, "min")  ? text("%s < %s ? %s : %s", by, was, by, was)
                      : !strcmp(op, "max")  ? text("%s > %s ? %s : %s", by, was, by, was)
                      : !strcmp(op, "exch") ? by
                      : !strcmp(op, "and")  ? text("%s & %s", was, by)
                      : !strcmp(op, "or")   ? text("%s | %s", was, by)
                      : !strcmp(op, "xor")  ? text("%s ^ %s", was, by)
                                            : text("%s == %s ? %s : %s", was, by, value(t, type, operands[returns + 2]), was);
    if (!strcmp(type, "f32")) emit(t, "*at = F_BITS(%s);", now);
    else if (!strcmp(type, "f64")) emit(t, "*at = D_BITS(%s);", now);
    else if (!strcmp(type, "f16")) emit(t, "*at = to_f16(%s);", now);
    else emit(t, "*at = %s;", now);
    if (returns) put(t, is_float(type) ? text("b%d", 8 * bytes) : type, operands[0], "before");
    emit(t, "}");
}

static void compare(struct translation *t, char **words, int count, char **operands, int n) {
    const char *type = words[count - 1], *op = words[1];
    const char *a = value(t, type, operands[1]), *b = value(t, type, operands[2]);
    static const char *ordered[][2] = {{"eq", "=="}, {"lt", "<"}, {"le", "<="}, {"gt", ">"}, {"ge", ">="}, {"lo", "<"}, {"ls", "<="}, {"hi", ">"}, {"hs", ">="}};
    static const char *unordered[][2] = {{"equ", "=="}, {"ltu", "<"}, {"leu", "<="}, {"gtu", ">"}, {"geu", ">="}};
    char *result = NULL;
    for (int i = 0; i < 9; i++) {
        if (!strcmp(op, ordered[i][0])) result = text("(%s %s %s)", a, ordered[i][1], b);
    }
    for (int i = 0; i < 5; i++) {
        if (!strcmp(op, unordered[i][0])) result = text("(isnan(%s) || isnan(%s) || %s %s %s)", a, b, a, unordered[i][1], b);
    }
    if (!strcmp(op, "ne")) result = is_float(type) ? text("(!isnan(%s) && !isnan(%s) && %s != %s)", a, b, a, b) : text("(%s != %s)", a, b);
    if (!strcmp(op, "neu")) result = text("(%s != %s)", a, b);
    if (!strcmp(op, "num")) result = text("(!isnan(%s) && !isnan(%s))", a, b);
    if (!strcmp(op, "nan")) result = text("(isnan(%s) || isnan(%s))", a, b);
    if (!result) refuse(t, "setp.%s", op);
    const char *with = n > 3 ? value(t, "pred", operands[3]) : NULL;
    const char *by = has(words, count, "and") ? "&" : has(words, count, "or") ? "|" : "^";
    char *both = strchr(operands[0], '|');
    if (both) *both++ = 0;
    emit(t, "{ u8 c = %s;", result);
    put(t, "pred", operands[0], with ? text("c %s %s", by, with) : "c");
    if (both) put(t, "pred", both, with ? text("!c %s %s", by, with) : "!c");
    emit(t, "}");
}

static void convert(struct translation *t, char **words, int count, char **operands) {
    const char *to = words[count - 2], *from = words[count - 1];
    if (!is_type(to) || !is_type(from)) refuse(t, "cvt.%s.%s", to, from);
    char *x = value(t, from, operands[1]);
    int to_float = is_float(to), from_float = is_float(from);
    const char *round = has(words, count, "rni") ? "nearbyint" : has(words, count, "rmi") ? "floor" : has(words, count, "rpi") ? "ceil" : has(words, count, "rzi") ? "trunc" : NULL;
    if (from_float && to_float) {
        if (round) x = text("(f%d)%s(%s)", bits(to), round, x);
        if (has(words, count, "sat")) x = text("saturate(%s)", x);
        put(t, to, operands[0], text("(f%d)(%s)", bits(to) == 16 ? 32 : bits(to), x));
    } else if (from_float) {
        x = text("%s((f64)%s)", round ? round : "trunc", x);
        static const char *limits[][3] = {{"8", "-128.0", "127.0"}, {"16", "-32768.0", "32767.0"}, {"32", "-2147483648.0", "2147483647.0"}, {"64", "-9223372036854775808.0", "9223372036854775807.0"}};
        static const char *most[] = {"255.0", "65535.0", "4294967295.0", "18446744073709551615.0"};
        int i = bits(to) == 8 ? 0 : bits(to) == 16 ? 1 : bits(to) == 32 ? 2 : 3;
        put(t, to, operands[0], to[0] == 's' ? text("to_int(%s, %s, %s)", x, limits[i][1], limits[i][2]) : text("to_uint(%s, %s)", x, most[i]));
    } else if (to_float) {
        put(t, to, operands[0], text("(f%d)(%s)", bits(to) == 16 ? 32 : bits(to), x));
    } else {
        if (has(words, count, "sat")) refuse(t, "cvt.sat of integers");
        put(t, to, operands[0], x);
    }
}

static void instruction(struct translation *t, char *opcode, char **operands, int n) {
    char *words[16], all[256];
    snprintf(all, sizeof all, "%s", opcode);
    int count = split(opcode, '.', words, 16);
    const char *op = words[0], *type = words[count - 1];
#define IS(name) (!strcmp(op, name))
#define V(i) value(t, type, operands[i])
    if (IS("ret") || IS("exit")) {
        emit(t, t->waits ? "return 1;" : "goto done;");
    } else if (IS("bra")) {
        emit(t, "goto %s;", plain(operands[0]));
    } else if ((IS("bar") || IS("barrier")) && (has(words, count, "sync"))) {
        int resume = ++t->resumes;
        emit(t, "R->resume = %d; return 0; case %d:;", resume, resume);
    } else if (IS("membar") || IS("fence")) {
    } else if (IS("ld") || IS("ldu") || IS("st")) {
        memory(t, words, count, operands);
    } else if (IS("atom") || IS("red")) {
        atomic(t, words, count, operands);
    } else if (IS("setp")) {
        compare(t, words, count, operands, n);
    } else if (IS("cvt")) {
        convert(t, words, count, operands);
    } else if (IS("cvta")) {
        if (has(words, count, "shared")) refuse(t, "a generic address of shared memory");
        put(t, "u64", operands[0], value(t, "u64", operands[1]));
    } else if (IS("mov")) {
        char *parts[8];
        if (operands[1][0] == '{') {
            int lanes = elements(operands[1], parts), each = bits(type) / lanes;
            char sum[512] = "0";
            for (int i = 0; i < lanes; i++) snprintf(sum + strlen(sum), sizeof sum - strlen(sum), " | (u64)%s << %d", value(t, text("u%d", each), parts[i]), i * each);
            put(t, type, operands[0], sum);
        } else if (operands[0][0] == '{') {
            int lanes = elements(operands[0], parts), each = bits(type) / lanes;
            emit(t, "{ u64 x = %s;", value(t, type, operands[1]));
            for (int i = 0; i < lanes; i++) put(t, text("u%d", each), parts[i], text("x >> %d", i * each));
            emit(t, "}");
        } else {
            put(t, type, operands[0], V(1));
        }
    } else if (IS("selp")) {
        put(t, type, operands[0], text("%s ? %s : %s", value(t, "pred", operands[3]), V(1), V(2)));
    } else if (IS("add") && count <= 4 && !has(words, count, "cc")) {
        char *sum = text("%s + %s", V(1), V(2));
        put(t, type, operands[0], has(words, count, "sat") ? text("saturate(%s)", sum) : sum);
    } else if (IS("sub") && !has(words, count, "cc")) {
        put(t, type, operands[0], text("%s - %s", V(1), V(2)));
    } else if (IS("mul") && has(words, count, "wide")) {
        char *wide = text("%c%d", type[0], 2 * bits(type));
        put(t, wide, operands[0], text("(%s)%s * (%s)%s", wide, V(1), wide, V(2)));
    } else if (IS("mul") && has(words, count, "hi")) {
        put(t, type, operands[0], text("(%s__int128)%s * %s >> %d", type[0] == 'u' ? "unsigned " : "", V(1), V(2), bits(type)));
    } else if (IS("mul")) {
        char *by = text("%s * %s", V(1), V(2));
        put(t, type, operands[0], has(words, count, "sat") ? text("saturate(%s)", by) : by);
    } else if (IS("mad") && has(words, count, "wide")) {
        char *wide = text("%c%d", type[0], 2 * bits(type));
        put(t, wide, operands[0], text("(%s)%s * (%s)%s + %s", wide, V(1), wide, V(2), value(t, wide, operands[3])));
    } else if (IS("mad") && has(words, count, "lo")) {
        put(t, type, operands[0], text("%s * %s + %s", V(1), V(2), V(3)));
    } else if ((IS("fma") || IS("mad")) && !strcmp(type, "f32")) {
        const char *how = has(words, count, "rm") ? "fma_rm" : has(words, count, "rp") ? "fma_rp" : has(words, count, "rz") ? "fma_rz" : "fmaf";
        char *sum = text("%s(%s, %s, %s)", how, V(1), V(2), V(3));
        put(t, type, operands[0], has(words, count, "sat") ? text("saturate(%s)", sum) : sum);
    } else if (IS("fma") && !strcmp(type, "f64") && has(words, count, "rn")) {
        put(t, type, operands[0], text("fma(%s, %s, %s)", V(1), V(2), V(3)));
    } else if (IS("div") || IS("rem")) {
        if (is_float(type)) put(t, type, operands[0], text("%s / %s", V(1), V(2)));
        else put(t, type, operands[0], text("%s == 0 ? -1 : %s %c %s", V(2), V(1), IS("div") ? '/' : '%', V(2)));
    } else if (IS("min") || IS("max")) {
        if (!is_float(type)) put(t, type, operands[0], text("%s %c %s ? %s : %s", V(1), IS("min") ? '<' : '>', V(2), V(1), V(2)));
        else if (has(words, count, "NaN")) put(t, type, operands[0], text("%s_nan(%s, %s)", op, V(1), V(2)));
        else put(t, type, operands[0], text("f%s(%s, %s)", op, V(1), V(2)));
    } else if (IS("neg")) {
        put(t, type, operands[0], text("-%s", V(1)));
    } else if (IS("abs")) {
        put(t, type, operands[0], is_float(type) ? text("fabs(%s)", V(1)) : text("%s < 0 ? -%s : %s", V(1), V(1), V(1)));
    } else if (IS("copysign")) {
        put(t, type, operands[0], text("copysign(%s, %s)", V(2), V(1)));
    } else if (IS("rcp")) {
        put(t, type, operands[0], text("1 / %s", V(1)));
    } else if (IS("sqrt")) {
        put(t, type, operands[0], text("%s(%s)", bits(type) == 32 ? "sqrtf" : "sqrt", V(1)));
    } else if (IS("rsqrt")) {
        put(t, type, operands[0], text("1 / sqrt(%s)", V(1)));
    } else if (IS("ex2") && !strcmp(type, "f32")) {
        put(t, type, operands[0], text("exp2f(%s)", V(1)));
    } else if (IS("lg2") && !strcmp(type, "f32")) {
        put(t, type, operands[0], text("log2f(%s)", V(1)));
    } else if (IS("tanh") && !strcmp(type, "f32")) {
        put(t, type, operands[0], text("tanhf(%s)", V(1)));
    } else if (IS("and") || IS("or") || IS("xor")) {
        put(t, type, operands[0], text("%s %c %s", V(1), IS("and") ? '&' : IS("or") ? '|' : '^', V(2)));
    } else if (IS("not")) {
        put(t, type, operands[0], text("%c%s", is_pred(type) ? '!' : '~', V(1)));
    } else if (IS("shl")) {
        const char *by = value(t, "u32", operands[2]);
        put(t, type, operands[0], text("%s >= %d ? 0 : %s << %s", by, bits(type), V(1), by));
    } else if (IS("shr")) {
        const char *by = value(t, "u32", operands[2]), *most = text("%d", bits(type));
        if (type[0] == 's') put(t, type, operands[0], text("%s >> (%s >= %s ? %s - 1 : %s)", V(1), by, most, most, by));
        else put(t, type, operands[0], text("%s >= %s ? 0 : %s >> %s", by, most, V(1), by));
    } else if (IS("shf") && !strcmp(type, "b32")) {
        const char *by = value(t, "u32", operands[3]);
        by = has(words, count, "wrap") ? text("(%s & 31)", by) : text("(%s > 32 ? 32 : %s)", by, by);
        char *pair = text("((u64)%s << 32 | %s)", V(2), V(1));
        put(t, type, operands[0], has(words, count, "l") ? text("(%s << %s) >> 32", pair, by) : text("%s >> %s", pair, by));
    } else if (IS("lop3") && !strcmp(type, "b32")) {
        put(t, type, operands[0], text("lop3(%s, %s, %s, %s)", V(1), V(2), V(3), value(t, "u32", operands[4])));
    } else if (IS("prmt") && count == 2) {
        put(t, type, operands[0], text("prmt(%s, %s, %s)", V(1), V(2), V(3)));
    } else if (IS("bfe")) {
        put(t, type, operands[0], text("bfe(%s, %s, %s, %d, %d)", V(1), value(t, "u32", operands[2]), value(t, "u32", operands[3]), bits(type), type[0] == 's'));
    } else if (IS("bfi")) {
        put(t, type, operands[0], text("bfi(%s, %s, %s, %s, %d)", V(1), V(2), value(t, "u32", operands[3]), value(t, "u32", operands[4]), bits(type)));
    } else if (IS("popc") || IS("clz")) {
        int wide = bits(type) == 64;
        char *x = V(1);
        put(t, "u32", operands[0], IS("popc") ? text("__builtin_popcount%s(%s)", wide ? "ll" : "", x) : text("%s ? __builtin_clz%s(%s) : %d", x, wide ? "ll" : "", x, wide ? 64 : 32));
    } else if (IS("testp")) {
        const char *how = words[1];
        const char *f = !strcmp(how, "finite") ? "isfinite" : !strcmp(how, "infinite") ? "isinf" : !strcmp(how, "notanumber") ? "isnan" : !strcmp(how, "normal") ? "isnormal" : !strcmp(how, "number") ? "!isnan" : NULL;
        if (!f) refuse(t, "%s", all);
        put(t, "pred", operands[0], text("%s(%s)", f, V(1)));
    } else if (IS("trap")) {
        emit(t, "L->refuse(L, 0, 0, \"traps\");");
    } else {
        refuse(t, "the instruction %s", all);
    }
}

// A declaration of registers or memory inside a kernel: `.reg .b32 %r<14>`, `.shared .align 4 .b8 name[4096]`.
static void declaration(struct translation *t, char *s) {
    char *words[16];
    int shared = !strncmp(s, ".shared", 7), local = !strncmp(s, ".local", 6);
    if (strncmp(s, ".reg", 4) && !shared && !local) return;
    if (!shared && !local) {
        char *rest = s + 4;
        while (isspace((unsigned char)*rest)) rest++;
        char *type = rest + 1;
        while (*rest && !isspace((unsigned char)*rest)) rest++;
        if (*rest) *rest++ = 0;
        enum class class = is_pred(type) ? PRED : bits(type) <= 16 ? W16 : bits(type) == 32 ? W32 : W64;
        int count = split(rest, ',', words, 16);
        for (int i = 0; i < count; i++) {
            char *many = strchr(words[i], '<');
            if (many) *many++ = 0;
            for (int k = 0; k < (many ? atoi(many) : 1); k++) {
                char name[128];
                if (many) snprintf(name, sizeof name, "%s%d", words[i], k);
                else snprintf(name, sizeof name, "%s", words[i]);
                declare(t, name)->class = class;
            }
        }
        return;
    }
    char *align = strstr(s, ".align"), *bracket = strrchr(s, '[');
    u32 by = align ? atoi(align + 6) : 8, size = bracket ? atoi(bracket + 1) : 8;
    if (bracket) *bracket = 0;
    char *name = strrchr(s, ' '), *tab = strrchr(s, '\t');
    if (!name || (tab && tab > name)) name = tab;
    for (char *dot = strstr(s, ".b"); dot && bracket; dot = NULL) size *= dot[2] == '8' ? 1 : atoi(dot + 2) / 8;
    u32 *next = shared ? &t->shared : &t->local;
    *next = (*next + by - 1) / by * by;
    struct symbol *symbol = declare(t, name + 1);
    symbol->space = shared ? SHARED : LOCAL, symbol->at = *next;
    *next += size;
}

static const char *entry_of(const char *ptx, const char *name) {
    size_t length = strlen(name);
    for (const char *at = ptx; (at = strstr(at, ".entry ")); at += 7) {
        const char *found = at + 7;
        while (isspace((unsigned char)*found)) found++;
        if (!strncmp(found, name, length) && !isalnum((unsigned char)found[length]) && found[length] != '_') return found + length;
    }
    return NULL;
}

int ptx_has(const char *ptx, const char *name) { return entry_of(ptx, name) != NULL; }

// Parameters, one behind another; returns where they end.
static const char *parameters(struct translation *t, const char *at) {
    struct kernel *kernel = t->kernel;
    kernel->params = 0, kernel->param_bytes = 0;
    while (isspace((unsigned char)*at)) at++;
    if (*at != '(') return at;
    const char *end = strchr(at, ')');
    char *list = strndup(at + 1, end - at - 1), *parts[64];
    int count = split(list, ',', parts, 64);
    for (int i = 0; i < count; i++) {
        char *s = strstr(parts[i], ".param");
        if (!s) refuse(t, "the parameter %s", parts[i]);
        u32 align = 0, size = 0;
        for (char *word = strtok(s, " \t\n"); word; word = strtok(NULL, " \t\n")) {
            if (!strcmp(word, ".align") && size == 0) align = atoi(strtok(NULL, " \t\n"));
            else if (word[0] == '.' && is_type(word + 1) && size == 0) size = bits(word + 1) / 8;
            char *bracket = strchr(word, '[');
            if (bracket) size *= atoi(bracket + 1);
        }
        if (align == 0) align = size;
        u32 from = (kernel->param_bytes + align - 1) / align * align;
        kernel->offset[i] = from, kernel->bytes[i] = size, kernel->param_bytes = from + size;
        kernel->params = i + 1;
    }
    free(list);
    return end + 1;
}

struct statement {
    char *text;
    int label;
};

// Cuts a body at semicolons, labels' colons and the braces of scopes (those of vectors come after an opcode); a statement
// without text is the end.
static struct statement *split_body(struct translation *t, char *body) {
    struct statement *statements = calloc(strlen(body) + 2, sizeof *statements);
    int count = 0;
    for (char *s = body; *s;) {
        if (isspace((unsigned char)*s) || *s == ';' || *s == '{' || *s == '}') {
            s++;
            continue;
        }
        char *stop = s;
        int depth = 0;
        for (; *stop; stop++) {
            depth += (*stop == '{') - (*stop == '}');
            if (depth == 0 && *stop == ';') break;
            if (*stop == ':' && stop[1] != ':' && stop[-1] != ':') break;
        }
        if (!*stop) refuse(t, "%.40s, which does not end", s);
        statements[count].label = *stop == ':';
        *stop = 0;
        statements[count++].text = s;
        s = stop + 1;
    }
    return statements;
}

char *ptx_to_c(struct kernel *kernel) {
    struct translation t = {.kernel = kernel, .capacity = 1 << 16};
    char *body = NULL;
    t.out = malloc(t.capacity);
    if (setjmp(t.refused)) {
        free(t.out), free(body), free(t.symbols);
        return NULL;
    }
    const char *at = entry_of(kernel->ptx, kernel->name);
    if (!at) refuse(&t, "a kernel of this name");
    at = strchr(parameters(&t, at), '{');
    const char *end = at;
    for (int depth = 0; *end; end++) {
        depth += (*end == '{') - (*end == '}');
        if (depth == 0) break;
    }
    body = strndup(at + 1, end - at - 1);
    // Comments become blanks, and so do lines about the source.
    for (char *c = body; *c; c++) {
        int line = (c[0] == '/' && c[1] == '/') || !strncmp(c, ".loc\t", 5) || !strncmp(c, ".loc ", 5);
        if (line) while (*c && *c != '\n') *c++ = ' ';
        if (c[0] == '/' && c[1] == '*') {
            while (*c && !(c[0] == '*' && c[1] == '/')) *c++ = ' ';
            c[0] = c[1] = ' ';
        }
        if (!*c) break;
    }
    t.waits = strstr(body, "bar.sync") || strstr(body, "barrier.sync") || strstr(body, "barrier.cta.sync");


    // Shared memory that several kernels of a module use is declared outside of them.
    for (const char *line = kernel->ptx; (line = strstr(line, "\n.shared ")); line++) {
        char *shared = strndup(line + 1, strcspn(line + 1, ";"));
        char *name = strstr(shared, ".b8 ");
        size_t length = name ? strcspn(name + 4, "[") : 0;
        if (length && memmem(body, strlen(body), name + 4, length)) declaration(&t, shared);
        free(shared);
    }
    // Declarations first: a register may be used in front of its declaration's place, and shared memory has to have its size.
    struct statement *statements = split_body(&t, body);
    for (struct statement *s = statements; s->text; s++) {
        if (s->text[0] == '.') declaration(&t, s->text);
    }
    emit(&t, "#include \"thread.h\"\n");
    if (t.waits) emit(&t, "struct regs { u32 resume; ");
    if (!t.waits) emit(&t, "static inline void thread(struct launch *L, const u32 *tid, const u32 *ctaid, u8 *local) {\n");
    for (int i = 0; i < t.count; i++) {
        static const char *types[] = {"", "u8", "u16", "u32", "u64"};
        struct symbol *symbol = &t.symbols[i];
        if (symbol->class) emit(&t, "%s %s%s; ", types[symbol->class], plain(symbol->name), t.waits ? "" : " = 0");
    }
    if (t.waits) {
        emit(&t, "u8 done, local[%u]; };\n", t.local + 8);
        emit(&t, "static int thread(struct launch *L, struct regs *R, const u32 *tid, const u32 *ctaid, u8 *shared) {\nu8 *local = R->local;\n");
        emit(&t, "switch (R->resume) { case 0:;\n");
    }
    emit(&t, "\n");
    for (struct statement *s = statements; s->text; s++) {
        if (s->label) {
            emit(&t, "%s:;\n", plain(s->text));
            continue;
        }
        if (s->text[0] == '.') continue;
        char *from = s->text, *operands[16];
        int guarded = from[0] == '@';
        if (guarded) {
            char *guard = ++from;
            while (!isspace((unsigned char)*from)) from++;
            *from++ = 0;
            while (isspace((unsigned char)*from)) from++;
            emit(&t, "if (%s) { ", value(&t, "pred", guard));
        }
        char *opcode = from;
        while (*from && !isspace((unsigned char)*from)) from++;
        if (*from) *from++ = 0;
        int n = split(from, ',', operands, 16);
        for (int i = n; i < 16; i++) operands[i] = "";
        instruction(&t, opcode, operands, n);
        emit(&t, guarded ? " }\n" : "\n");
    }
    if (t.waits) {
        emit(&t, "}\nreturn 1;\n}\n"
                 "void run(struct launch *L) {\n"
                 "u32 threads = L->block[0] * L->block[1] * L->block[2];\n"
                 "struct regs *all = malloc(threads * sizeof *all);\nu8 *shared = malloc(%u);\nu32 ctaid[3], tid[3];\n",
             t.shared + 64);
    } else {
        if (t.shared) refuse(&t, "shared memory without a barrier");
        emit(&t, "done:;\n}\nvoid run(struct launch *L) {\nu32 ctaid[3], tid[3];\nu8 local[%u];\n", t.local + 8);
    }
    emit(&t, "for (ctaid[2] = L->grid[2]; ctaid[2]-- > 0;) for (ctaid[1] = L->grid[1]; ctaid[1]-- > 0;)\n"
             "for (ctaid[0] = L->grid[0]; ctaid[0]-- > 0;) {\n");
    if (t.waits) {
        // Nobody may read what nobody wrote: shared memory begins as no numbers.
        emit(&t, "memset(shared, 0xff, %u);\nmemset(all, 0, threads * sizeof *all);\n"
                 "for (u32 left = threads; left > 0;) {\n", t.shared + 64);
    }
    emit(&t, "for (tid[2] = L->block[2]; tid[2]-- > 0;) for (tid[1] = L->block[1]; tid[1]-- > 0;)\n"
             "for (tid[0] = L->block[0]; tid[0]-- > 0;) {\n");
    if (t.waits) {
        emit(&t, "struct regs *R = &all[(tid[2] * L->block[1] + tid[1]) * L->block[0] + tid[0]];\n"
                 "if (!R->done && thread(L, R, tid, ctaid, shared)) { R->done = 1; left--; }\n}\n}\n}\nfree(all);\nfree(shared);\n}\n");
    } else {
        emit(&t, "thread(L, tid, ctaid, local);\n}\n}\n}\n");
    }
    free(statements), free(body), free(t.symbols);
    return t.out;
}
