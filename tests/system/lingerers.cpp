// Processes that try to outlive whoever started them. They keep standard output open, so that its end tells when the
// last of them is gone. usage: lingerers SHAPE [wait]
//
//   chain     200 processes, each the child of the one before, in a session of its own
//   longest   1100 of them
//   rabbits   16 families of which the parent always ends as soon as it has a child
//   stopped   200 processes that have stopped themselves
//   tree      1000 processes and more, two children each
//   bomb      as many as RLIMIT_NPROC allows, which go on forking
//
// Says "ready" when they are there; with `wait` the first one stays, too. After two minutes they give up.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>

namespace {

int ready_pipe[2];
constexpr unsigned kSeconds = 120;
const auto kEnd = std::chrono::steady_clock::now() + std::chrono::seconds(kSeconds);

bool time_is_up() {
  return std::chrono::steady_clock::now() > kEnd;
}

[[noreturn]] void linger() {
  ::alarm(kSeconds);  // ends it
  for (;;) ::pause();
}

void say_ready() {
  if (::write(ready_pipe[1], "x", 1) != 1) ::_exit(1);
}

void chain(int length) {
  for (int i = 0; i < length; ++i) {
    const pid_t child = ::fork();
    if (child < 0) break;
    if (child > 0) linger();
  }
  say_ready();
  linger();
}

void rabbits() {
  for (int family = 0; family < 16; ++family) {
    if (::fork() > 0) continue;
    ::setsid();
    while (!time_is_up()) {
      if (::fork() > 0) ::_exit(0);
    }
    ::_exit(0);
  }
  say_ready();
}

void stopped() {
  for (int i = 0; i < 200; ++i) {
    if (::fork() > 0) continue;
    ::setsid();
    ::raise(SIGSTOP);
    linger();
  }
  say_ready();
}

void tree(int depth) {
  for (int i = 0; i < 2 && depth > 0; ++i) {
    if (::fork() > 0) continue;
    ::setsid();
    tree(depth - 1);
    linger();
  }
}

void bomb() {
  const rlimit limit{400, 400};
  ::setrlimit(RLIMIT_NPROC, &limit);
  for (int i = 0; i < 8; ++i) {
    if (::fork() > 0) continue;
    ::setsid();
    while (!time_is_up()) {
      if (::fork() == 0) ::setsid();
      ::usleep(100);
    }
    ::_exit(0);
  }
  say_ready();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || ::pipe(ready_pipe) != 0) return 2;
  const std::string shape = argv[1];
  ::signal(SIGCHLD, SIG_IGN);
  if (::fork() == 0) {
    ::setsid();
    if (shape == "chain") chain(200);
    if (shape == "longest") chain(1100);
    if (shape == "rabbits") rabbits();
    if (shape == "stopped") stopped();
    if (shape == "bomb") bomb();
    if (shape == "tree") {
      tree(9);
      say_ready();
    }
    linger();
  }
  char byte;
  if (::read(ready_pipe[0], &byte, 1) != 1) return 1;
  std::puts("ready");
  std::fflush(stdout);
  if (argc > 2 && std::strcmp(argv[2], "wait") == 0) linger();
  return 0;
}
