// SPDX-License-Identifier: Apache-2.0

#include "real_server.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace {

// `RealServer::Install` sets these two variables.
std::string* server_folder;
std::string* nginx_program;

void Require(bool ok, absl::string_view what) {
  if (ok) return;
  std::fprintf(stderr, "real_server: %s failed\n", std::string(what).c_str());
  std::exit(1);
}

std::string ReadAll(std::istream& in) {
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// Starts a program, and appends its output to the file `log`.
pid_t Spawn(const std::vector<std::string>& argv,
            const std::vector<std::string>& environment,
            const std::string& log) {
  std::vector<char*> arguments;
  for (const std::string& a : argv) {
    arguments.push_back(const_cast<char*>(a.c_str()));
  }
  arguments.push_back(nullptr);
  std::vector<char*> variables;
  for (const std::string& v : environment) {
    variables.push_back(const_cast<char*>(v.c_str()));
  }
  for (char** v = environ; *v != nullptr; ++v) variables.push_back(*v);
  variables.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t child = -1;
  const int error = posix_spawnp(&child, arguments[0], &actions, nullptr,
                                 arguments.data(), variables.data());
  posix_spawn_file_actions_destroy(&actions);
  Require(error == 0, absl::StrCat("starting ", argv[0]));
  return child;
}

void End(pid_t& child, int signal) {
  if (child < 0) return;
  kill(child, signal);
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  child = -1;
}

bool Connects(int family, const sockaddr* address, socklen_t size) {
  const int socket = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected = connect(socket, address, size) == 0;
  close(socket);
  return connected;
}

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Binds `socket` to a free port, which is reserved while the socket is open. A
// server that listens on the port must set SO_REUSEPORT and run as the user of
// this process.
int HoldPort(int socket) {
  const int yes = 1;
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  Require(
      setsockopt(socket, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) == 0 &&
          bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
          getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) ==
              0,
      "finding a port");
  return ntohs(address.sin_port);
}

}  // namespace

absl::Status RealServer::Install() {
  const char* const workspace = std::getenv("BUILD_WORKSPACE_DIRECTORY");
  if (workspace == nullptr) {
    return absl::UnavailableError("this program is for `bazel run`");
  }
  // prepare.sh writes nothing into its folder, so it can run in the checkout.
  const std::string command =
      absl::StrCat("'", workspace, "/server/prepare.sh' '", workspace,
                   "/../../..' </dev/null");
  FILE* const pipe = popen(command.c_str(), "r");
  Require(pipe != nullptr, "popen");
  std::string output;
  char buffer[1024];
  while (const size_t n = fread(buffer, 1, sizeof(buffer), pipe)) {
    output.append(buffer, n);
  }
  const int status = pclose(pipe);
  const std::vector<std::string> lines =
      absl::StrSplit(output, '\n', absl::SkipEmpty());
  if (status != 0 || lines.size() < 2) {
    absl::string_view reason = lines.empty() ? "prepare.sh" : lines.back();
    if (absl::StartsWith(reason, "NOT RUN: ")) reason.remove_prefix(9);
    return absl::UnavailableError(reason);
  }
  server_folder = new std::string(lines[lines.size() - 2]);
  nginx_program = new std::string(lines.back());
  return absl::OkStatus();
}

RealServer::RealServer(absl::Duration lifetime)
    : lifetime_(absl::StrCat(absl::ToInt64Seconds(lifetime))) {
  // The path of a Unix socket must be short.
  char folder[] = "/tmp/oauth2_XXXXXX";
  Require(mkdtemp(folder) != nullptr, "mkdtemp");
  folder_ = folder;
  ca_file_ = folder_ + "/authority.pem";
  refreshable::Authority authority("the example's authority");
  std::ofstream(ca_file_) << authority.certificate();
  const refreshable::Identity identities[] = {
      authority.Issue("localhost"),
      authority.Issue("localhost", -absl::Hours(1)),
      authority.Issue("example.com")};
  for (int i = 0; i < 3; ++i) {
    std::ofstream(absl::StrCat(folder_, "/", i, ".pem"))
        << identities[i].certificate << identities[i].key;
  }
  for (int i = 0; i < 4; ++i) {
    sockets_[i] = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ports_[i] = HoldPort(sockets_[i]);
  }
  StartProvider();
  api_ = StartNode("api.mjs", "api", "");
  WriteNginxConf(kGood);
  StartNginx();
}

// The fourth port is the API's.
void RealServer::WriteNginxConf(Certificate certificate) const {
  const Certificate certificates[] = {certificate, kExpired, kOtherHost, kGood};
  std::string servers;
  for (int i = 0; i < 4; ++i) {
    const std::string pem =
        absl::StrCat(folder_, "/", static_cast<int>(certificates[i]), ".pem");
    absl::StrAppend(&servers, "server { listen 127.0.0.1:", ports_[i],
                    " ssl reuseport; ssl_certificate ", pem,
                    "; ssl_certificate_key ", pem,
                    "; location / { proxy_pass http://unix:", folder_,
                    i == 3 ? "/api" : "/provider",
                    ".socket; proxy_set_header Host $http_host;"
                    " proxy_set_header X-Forwarded-Proto https; } }\n");
  }
  std::string temporary;
  for (const char* const kind :
       {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) {
    absl::StrAppend(&temporary, kind, "_temp_path ", folder_, "/", kind, ";\n");
  }
  // If root starts nginx without "user root", nginx's workers cannot reach the
  // sockets in `folder_`.
  std::ofstream(folder_ + "/nginx.conf") << absl::StrCat(
      "user root; daemon off; pid ", folder_, "/nginx.pid; error_log ", folder_,
      "/nginx.log;\nevents { worker_connections 256; }\n"
      "http {\naccess_log off;\n",
      temporary, servers, "}\n");
}

RealServer::~RealServer() {
  End(nginx_, SIGTERM);
  End(api_, SIGKILL);
  StopProvider();
  for (const int socket : sockets_) close(socket);
  const pid_t remover = Spawn({"rm", "-rf", "--", folder_}, {}, "/dev/null");
  waitpid(remover, nullptr, 0);
}

std::string RealServer::token_url(Certificate certificate) const {
  return absl::StrCat("https://localhost:", ports_[certificate], "/token");
}

int RealServer::CallApi(absl::string_view token) const {
  CURL* const easy = curl_easy_init();
  Require(easy != nullptr, "curl_easy_init");
  const std::string url = absl::StrCat("https://localhost:", ports_[3], "/");
  curl_slist* const headers = curl_slist_append(
      nullptr, absl::StrCat("Authorization: Bearer ", token).c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file_.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(
      easy, CURLOPT_WRITEFUNCTION,
      +[](char*, size_t size, size_t n, void*) { return size * n; });
  long status = 0;  // NOLINT(runtime/int): libcurl's type.
  if (curl_easy_perform(easy) == CURLE_OK) {
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  }
  curl_easy_cleanup(easy);
  curl_slist_free_all(headers);
  return static_cast<int>(status);
}

int RealServer::Count(absl::string_view text) const {
  const std::string log = Read("log");
  int count = 0;
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    if (absl::StartsWith(line, text)) ++count;
  }
  return count;
}

void RealServer::StopProvider() {
  End(provider_, SIGKILL);
  unlink((folder_ + "/provider.socket").c_str());
}

void RealServer::StartProvider(const std::string& secret) {
  provider_ = StartNode("server.mjs", "provider", secret);
}

// Starts a script, and waits until the script listens on its socket.
pid_t RealServer::StartNode(const std::string& script, const std::string& name,
                            const std::string& secret) {
  const std::string socket = absl::StrCat(folder_, "/", name, ".socket");
  const pid_t node = Spawn(
      {"node", absl::StrCat(*server_folder, "/", script)},
      {"SOCKET=" + socket,
       absl::StrCat("ISSUER=https://localhost:", ports_[kGood]),
       "TTL=" + lifetime_, "SECRET=" + secret, "KEYS=" + folder_ + "/keys",
       "LOG=" + folder_ + "/log", "LOGIN=" + folder_ + "/login"},
      absl::StrCat(folder_, "/", name, ".out"));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  socket.copy(address.sun_path, sizeof(address.sun_path) - 1);
  WaitUntil(script.c_str(), [&] {
    Require(waitpid(node, nullptr, WNOHANG) == 0, Read(name + ".out"));
    return Connects(AF_UNIX, reinterpret_cast<const sockaddr*>(&address),
                    sizeof(address));
  });
  return node;
}

void RealServer::ForgetKey() { unlink((folder_ + "/keys").c_str()); }

void RealServer::PauseProvider() { kill(provider_, SIGSTOP); }

void RealServer::ResumeProvider() { kill(provider_, SIGCONT); }

void RealServer::RestartNginx() {
  End(nginx_, SIGTERM);
  StartNginx();
}

void RealServer::Present(Certificate certificate) {
  WriteNginxConf(certificate);
  kill(nginx_, SIGHUP);
}

void RealServer::StartNginx() {
  nginx_ = Spawn({*nginx_program, "-p", folder_, "-c", folder_ + "/nginx.conf"},
                 {}, folder_ + "/nginx.out");
  const sockaddr_in address = Loopback(ports_[kGood]);
  WaitUntil("nginx", [&] {
    Require(waitpid(nginx_, nullptr, WNOHANG) == 0,
            absl::StrCat(Read("nginx.out"), Read("nginx.log")));
    return Connects(AF_INET, reinterpret_cast<const sockaddr*>(&address),
                    sizeof(address));
  });
}

std::string RealServer::Read(const std::string& name) const {
  std::ifstream file(folder_ + "/" + name);
  return ReadAll(file);
}

void WaitUntil(const char* what, const std::function<bool()>& condition) {
  const absl::Time end = absl::Now() + absl::Minutes(2);
  while (!condition()) {
    Require(absl::Now() < end, absl::StrCat("waiting for ", what));
    absl::SleepFor(absl::Milliseconds(5));
  }
}
