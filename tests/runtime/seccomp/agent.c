/* A seccomp agent (config-linux.md, "The Container Process State").

     agent SAYS HEARS MODE [NUMBER] <LISTENING-SOCKET

   For each connection: writes the state that it gets to the FIFO SAYS, a line, and then decides the
   calls of the listener that came with it, and writes "call NUMBER" for each.

     continue       they are done
     errno N        they fail
     value N        they succeed without being done
     die            at the first one it ends
     slow           before the first one it waits for a line of the FIFO HEARS; then as continue */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int receive_listener(int connection, char *state, size_t size) {
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {state, size - 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t length = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int listener = -1;
    if (header && header->cmsg_type == SCM_RIGHTS) memcpy(&listener, CMSG_DATA(header), sizeof listener);
    /* The end of the connection is the end of the state. */
    for (ssize_t more = length; more > 0; length += more)
        more = read(connection, state + length, size - 1 - (size_t)length);
    state[length > 0 ? length : 0] = 0;
    return listener;
}

static void decide(int listener, FILE *says, const char *hears, const char *mode, long number) {
    struct pollfd waiting = {listener, POLLIN, 0};
    int is_slow = !strcmp(mode, "slow");
    while (poll(&waiting, 1, -1) > 0 && !(waiting.revents & POLLHUP)) {
        struct seccomp_notif call;
        struct seccomp_notif_resp answer;
        memset(&call, 0, sizeof call);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call)) continue;
        fprintf(says, "call %d\n", call.data.nr);
        fflush(says);
        if (!strcmp(mode, "die")) exit(0);
        if (is_slow) {
            char line[16];
            int fd = open(hears, O_RDONLY);
            if (read(fd, line, sizeof line) < 0) exit(1);
            is_slow = 0;
        }
        memset(&answer, 0, sizeof answer);
        answer.id = call.id;
        if (!strcmp(mode, "errno")) answer.error = (int)-number;
        else if (!strcmp(mode, "value")) answer.val = number;
        else answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

int main(int argc, char **argv) {
    static char state[65536];
    FILE *says = fopen(argv[1], "w");
    for (;;) {
        int connection = accept(0, NULL, NULL);
        int listener = receive_listener(connection, state, sizeof state);
        close(connection);
        fprintf(says, "%s\n", state);
        fflush(says);
        if (listener < 0) continue;
        if (!fork()) {
            decide(listener, says, argv[2], argv[3], argc > 4 ? atol(argv[4]) : 0);
            exit(0);
        }
        close(listener);
    }
}
