/* What libseccomp makes of rules, as the other engines give them to it: read from standard input,
   a filter program for one architecture to standard output. Exit code 3: it refuses a rule.

     default ACTION
     arch NAME
     rule ACTION SYSCALL [INDEX OP VALUE VALUE]...

   Numbers are hexadecimal. OP is libseccomp's, from 1 (NE) on. */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void fail(const char *what, int code) {
    fprintf(stderr, "%s: %s\n", what, strerror(-code));
    exit(3);
}

int main(void) {
    static char line[4096];
    scmp_filter_ctx filter = NULL;
    int is_allowed = 0;
    while (fgets(line, sizeof line, stdin)) {
        char *word = strtok(line, " \n"), *name;
        if (!strcmp(word, "default")) {
            uint32_t action = (uint32_t)strtoul(strtok(NULL, " \n"), NULL, 16);
            is_allowed = action == SCMP_ACT_ALLOW;
            filter = seccomp_init(action);
            if (!filter) fail("default", -EINVAL);
        } else if (!strcmp(word, "arch")) {
            name = strtok(NULL, " \n");
            uint32_t arch = seccomp_arch_resolve_name(name);
            int code = 0;
            if (arch != seccomp_arch_native()) code = seccomp_arch_add(filter, arch);
            if (!code && arch != seccomp_arch_native())
                code = seccomp_arch_remove(filter, seccomp_arch_native());
            if (code) fail(name, code);
            /* 2.5.4 does not load the number if the first rule is for a call that the architecture
               does not have: so the first is for one that all have. */
            code = seccomp_rule_add(filter, is_allowed ? SCMP_ACT_ERRNO(1) : SCMP_ACT_ALLOW, __NR_getpid, 0);
            if (!code) code = seccomp_syscall_priority(filter, __NR_getpid, 255);
            if (code) fail("getpid", code);
        } else {
            struct scmp_arg_cmp args[6];
            unsigned count = 0;
            uint32_t action = (uint32_t)strtoul(strtok(NULL, " \n"), NULL, 16);
            int number = seccomp_syscall_resolve_name(strtok(NULL, " \n"));
            if (number == __NR_SCMP_ERROR) continue;
            while (count < 6 && (name = strtok(NULL, " \n"))) {
                args[count].arg = (unsigned)strtoul(name, NULL, 16);
                args[count].op = (enum scmp_compare)strtoul(strtok(NULL, " \n"), NULL, 16);
                args[count].datum_a = strtoull(strtok(NULL, " \n"), NULL, 16);
                args[count].datum_b = strtoull(strtok(NULL, " \n"), NULL, 16);
                count++;
            }
            int code = seccomp_rule_add_array(filter, action, number, count, args);
            if (code) fail("rule", code);
        }
    }
    int code = seccomp_export_bpf(filter, STDOUT_FILENO);
    if (code) fail("export", code);
    return 0;
}
