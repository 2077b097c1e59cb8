/* Makes one system call, the last: a profile need permit no other. Where exit_group is refused, an
   illegal instruction is the end. */
#include <sys/syscall.h>

void _start(void) {
    __asm__ volatile("syscall" : : "a"((long)SYS_exit_group), "D"(7L) : "rcx", "r11", "memory");
    __builtin_trap();
}
