/* --help and OPTIONS.md, from the table. */
#include "broker/config.h"
#include "broker/param.h"

static void write_option(struct tt_writer *w, const struct tt_param *param)
{
    char name[TT_PARAM_NAME_MAX];
    tt_param_option(param, name);
    tt_write_format(w, "--%s", name);
    if (param->type == TT_PARAM_FLAG || param->how == TT_PARAM_ARGUMENT) return;
    tt_write_char(w, '=');
    switch (param->type) {
    case TT_PARAM_SIZE: tt_write_text(w, "SIZE"); break;
    case TT_PARAM_TIME:
    case TT_PARAM_AGE: tt_write_text(w, "TIME"); break;
    case TT_PARAM_COUNT: tt_write_text(w, "N"); break;
    case TT_PARAM_CHOICE:
    case TT_PARAM_TEXT:
    case TT_PARAM_LIST:
    case TT_PARAM_PAIRS:
    case TT_PARAM_FLAG:
    case TT_PARAM_ADDRESS:
    case TT_PARAM_ADDRESSES: tt_write_text(w, param->unit); break;
    }
}

/* "[default: 64KiB; 4KiB to 64MiB]" */
static void write_values(struct tt_writer *w, const struct tt_param *param)
{
    if (param->how == TT_PARAM_ARGUMENT || param->type == TT_PARAM_FLAG) return;
    tt_write_text(w, "[default: ");
    tt_write_text(w, param->fallback[0] != '\0' ? param->fallback : "none");
    if (param->type == TT_PARAM_SIZE || param->type == TT_PARAM_TIME ||
        param->type == TT_PARAM_AGE || param->type == TT_PARAM_COUNT) {
        tt_write_text(w, "; ");
        tt_param_write_allowed(param, w);
    }
    if (tt_param_repeatable(param)) tt_write_text(w, "; repeatable");
    if (param->how == TT_PARAM_RELOAD) tt_write_text(w, "; SIGHUP reloads it");
    tt_write_char(w, ']');
}

/* Words of `text`, in lines of at most 92 bytes that begin with 6 spaces. */
static void write_wrapped(struct tt_writer *w, const char *text)
{
    size_t column = 0;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column != 0 && column + 1 + word > 92) {
            tt_write_char(w, '\n');
            column = 0;
        }
        if (column == 0) {
            tt_write_text(w, "      ");
            column = 6;
        } else {
            tt_write_char(w, ' ');
            column++;
        }
        tt_write(w, text, word);
        column += word;
        text += word + strspn(text + word, " ");
    }
    tt_write_char(w, '\n');
}

void tt_config_help(struct tt_writer *w)
{
    tt_write_text(w,
                  "tickertape " TT_VERSION ": takes events in over HTTP and pushes each of them to "
                  "every subscribed client.\n\n"
                  "usage: tickertape [--option=value ...]\n\n"
                  "Each option is also a variable of the environment (--log-sync-ms: "
                  "TICKERTAPE_LOG_SYNC_MS)\nand a key of the file given by --config ([log] "
                  "sync-ms = ...; options without a section stand\nfirst); the command line counts "
                  "before the environment, and that before the file. SIZE takes\nKiB, MiB, GiB "
                  "(else bytes), TIME ms, s, m, h (else milliseconds).\n\n");
    for (unsigned i = 0; i < TT_PARAMS; i++) {
        tt_write_text(w, "  ");
        write_option(w, &tt_params[i]);
        tt_write_text(w, "  ");
        write_values(w, &tt_params[i]);
        tt_write_char(w, '\n');
        write_wrapped(w, tt_params[i].prose);
    }
}

/* A text in a table of Markdown: a bar would end its cell. */
static void write_cell(struct tt_writer *w, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|') tt_write_char(w, '\\');
        tt_write_char(w, *text);
    }
}

void tt_config_help_markdown(struct tt_writer *w)
{
    tt_write_text(
        w, "# Options\n\n"
           "Written by `tickertape --help=markdown` from `broker/params.def`; do not edit.\n\n"
           "Each option can be given on the command line, as a variable of the environment, "
           "or in the INI file that\n`--config` names; the first of these that has it counts. "
           "Sizes take `KiB`, `MiB`, `GiB` (else bytes), times `ms`,\n`s`, `m`, `h` (else "
           "milliseconds), flags `yes` and `no`. Lists are repeatable, and may be "
           "separated by commas.\nAn unknown name or a value that is not allowed is an "
           "error, in every source. `SIGHUP` reads the file again and\ntakes the options that "
           "say so; of the others that changed, a log line says that they need a restart.\n\n"
           "| command line | environment | file | default | allowed | |\n"
           "|---|---|---|---|---|---|\n");
    for (unsigned i = 0; i < TT_PARAMS; i++) {
        const struct tt_param *p = &tt_params[i];
        char variable[TT_PARAM_NAME_MAX], allowed_text[256] = "";
        struct tt_writer allowed = tt_writer(allowed_text, sizeof(allowed_text) - 1);
        tt_param_variable(p, variable);
        tt_param_write_allowed(p, &allowed);
        tt_write_text(w, "| `");
        tt_write_format(w, "--%s%s", p->section, p->section[0] != '\0' ? "-" : "");
        tt_write_text(w, p->key);
        tt_write_format(w, "` | %s%s%s | ", p->how == TT_PARAM_ARGUMENT ? "" : "`",
                        p->how == TT_PARAM_ARGUMENT ? "" : variable,
                        p->how == TT_PARAM_ARGUMENT ? "" : "`");
        if (p->how == TT_PARAM_START || p->how == TT_PARAM_RELOAD)
            tt_write_format(w, "`%s%s%s%s`", p->section[0] != '\0' ? "[" : "", p->section,
                            p->section[0] != '\0' ? "] " : "", p->key);
        tt_write_format(w, " | %s | ", p->fallback[0] != '\0' ? p->fallback : "none");
        write_cell(w, allowed_text);
        tt_write_text(w, " | ");
        write_cell(w, p->prose);
        if (tt_param_repeatable(p)) tt_write_text(w, " Repeatable.");
        if (p->how == TT_PARAM_RELOAD) tt_write_text(w, " `SIGHUP` reloads it.");
        tt_write_text(w, " |\n");
    }
}
