/* What the kernel makes of a filter: loads it in a child and makes calls there, in the ABI that is
   asked for. Every verdict of the filter must be an error number, or the calls would be done.

   Standard input: the number of instructions, the instructions, the number of calls, the calls.
   Standard output: the result of each call, 32 bits. Exit code 3: the filter is refused. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct call {
    uint32_t is_32, number;
    uint64_t args[6];
};

static long call_64(const struct call *call) {
    register uint64_t r10 __asm__("r10") = call->args[3];
    register uint64_t r8 __asm__("r8") = call->args[4];
    register uint64_t r9 __asm__("r9") = call->args[5];
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((uint64_t)call->number), "D"(call->args[0]), "S"(call->args[1]), "d"(call->args[2]),
                       "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* The sixth argument stays what it is: it is in rbp, which the compiler may need. */
static long call_32(const struct call *call) {
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"((uint64_t)call->number), "b"(call->args[0]), "c"(call->args[1]), "d"(call->args[2]),
                       "S"(call->args[3]), "D"(call->args[4])
                     : "r8", "r9", "r10", "r11", "memory");
    return (int32_t)result;
}

static void take(void *to, size_t size) {
    if (fread(to, 1, size, stdin) != size) exit(2);
}

int main(void) {
    uint32_t length, count;
    take(&length, sizeof length);
    struct sock_filter *instructions = calloc(length, sizeof *instructions);
    take(instructions, length * sizeof *instructions);
    take(&count, sizeof count);
    struct call *calls = calloc(count, sizeof *calls);
    take(calls, count * sizeof *calls);
    volatile int32_t *results = mmap(NULL, (count + 1) * sizeof *results, PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (!child) {
        struct sock_fprog program = {(unsigned short)length, instructions};
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        /* Its end is a trap: no core is to be written of it (core(5)). */
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) _exit(3);
        for (uint32_t i = 0; i < count; i++)
            results[i] = (int32_t)(calls[i].is_32 ? call_32(&calls[i]) : call_64(&calls[i]));
        results[count] = 1;
        /* Even exit(2) is refused by now. */
        __builtin_trap();
    }
    int status;
    waitpid(child, &status, 0);
    if (!results[count]) return WIFEXITED(status) ? WEXITSTATUS(status) : 4;
    fwrite((const void *)results, sizeof *results, count, stdout);
    return 0;
}
