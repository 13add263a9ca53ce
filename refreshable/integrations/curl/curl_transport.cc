// SPDX-License-Identifier: Apache-2.0
//
// long: a request and the thread that drives it follow the same rules.

#include "refreshable/integrations/curl/curl_transport.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>  // NOLINT(build/c++11)
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "refreshable/executors/internal/os_thread.h"
#include "refreshable/integrations/curl/growing_secret.h"
#include "refreshable/oauth2/answer.h"
#include "refreshable/oauth2/request.h"
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kCancelCheckMillis = 100;
constexpr int kIdleMillis = 60 * 1000;
constexpr size_t kMaxHeaderBytes = 64 * 1024;

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const {
    for (curl_slist* l = list; l != nullptr; l = l->next) {
      WipeMemory(l->data, std::strlen(l->data));
    }
    curl_slist_free_all(list);
  }
};

// Returns `d` in milliseconds, rounded up, from 0 to one day.
long Millis(absl::Duration d) {  // NOLINT(runtime/int): libcurl's type.
  d = std::clamp(d, absl::ZeroDuration(), absl::Hours(24));
  return static_cast<long>(  // NOLINT(runtime/int)
      absl::ToInt64Milliseconds(absl::Ceil(d, absl::Milliseconds(1))));
}

// Leaves out a user name and a password.
absl::string_view HostAndPort(absl::string_view url) {
  const size_t begin = url.find("://");
  if (begin == absl::string_view::npos) return "";
  url.remove_prefix(begin + 3);
  url = url.substr(0, url.find_first_of("/\\?#"));
  return url.substr(url.rfind('@') + 1);  // npos + 1 is 0.
}

bool IsLocalHttp(absl::string_view url) {
  if (!absl::StartsWithIgnoreCase(url, "http://")) return false;
  const absl::string_view host_port = HostAndPort(url);
  const absl::string_view host = host_port.substr(0, host_port.rfind(':'));
  return absl::EqualsIgnoreCase(host, "localhost") ||
         absl::StartsWith(host_port, "[::1]") ||
         (absl::StartsWith(host, "127.") &&
          host.find_first_not_of("0123456789.") == absl::string_view::npos);
}

// Returns whether `text` contains a byte that would end a header field.
bool EndsLine(absl::string_view text) {
  return text.find_first_of(absl::string_view("\r\n\0", 3)) !=
         absl::string_view::npos;
}

// The sockets of libcurl's connections. Not thread-safe.
class Sockets {
 public:
  // This object must outlive the connections, which may outlive the handle
  // `easy`.
  CURLcode Watch(CURL* easy) {
    const CURLcode results[] = {
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &Sockets::Open),
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, this),
        curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, &Sockets::Close),
        curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, this)};
    for (const CURLcode result : results) {
      if (result != CURLE_OK) return result;
    }
    return CURLE_OK;
  }

  // Returns whether there is a connection between these ports and all such
  // connections are quiet: they have not ended, and there is nothing to read.
  bool IsQuiet(int local_port, int remote_port) const {
    bool found = false;
    for (const curl_socket_t socket : open_) {
      if (Port(socket, getsockname) != local_port) continue;
      if (Port(socket, getpeername) != remote_port) continue;
      pollfd unasked = {socket, POLLIN, 0};
      if (poll(&unasked, 1, 0) != 0) return false;
      found = true;
    }
    return found;
  }

 private:
  // Returns the port that `name` (getsockname or getpeername) reports for
  // `socket`; 0 if there is none.
  static int Port(curl_socket_t socket,
                  int (*name)(int, sockaddr*, socklen_t*)) {
    union {
      sockaddr any;
      sockaddr_in v4;
      sockaddr_in6 v6;
    } address;
    socklen_t size = sizeof(address);
    if (name(socket, &address.any, &size) != 0) return 0;
    if (address.any.sa_family == AF_INET) return ntohs(address.v4.sin_port);
    if (address.any.sa_family == AF_INET6) return ntohs(address.v6.sin6_port);
    return 0;
  }
  static curl_socket_t Open(void* self, curlsocktype, curl_sockaddr* address) {
    const int opened =
        socket(address->family, address->socktype, address->protocol);
    if (opened < 0) return CURL_SOCKET_BAD;
    fcntl(opened, F_SETFD, FD_CLOEXEC);
    static_cast<Sockets*>(self)->open_.insert(opened);
    return opened;
  }
  static int Close(void* self, curl_socket_t socket) {
    static_cast<Sockets*>(self)->open_.erase(socket);
    return close(socket);
  }

  absl::flat_hash_set<curl_socket_t> open_;
};

// One request, from `Send` to its `done`.
class Call {
 public:
  Call(TokenRequest request, SendOptions options, Transport::Done done)
      : began_(SteadyClock::now()),
        request_(std::move(request)),
        options_(std::move(options)),
        done_(std::move(done)),
        received_(options_.max_body_bytes) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Makes libcurl's handle for the request. Fails if the request's time is
  // already over.
  absl::Status Prepare(const CurlTransportOptions& transport, Sockets& sockets);
  CURL* easy() const { return easy_.get(); }
  bool cancelled() const { return options_.cancelled(); }

  // Passes the answer or a failure to `done`. If the body is too long, the
  // answer says so and has no body.
  void Finish(CURLcode code);
  // Returns true if OnConnected refused a reused connection, and `easy()` is
  // now prepared for a new one. The caller must then remove `easy()` from
  // libcurl and add it again.
  bool NeedsNewConnection();
  void Fail(absl::Status status) { done_(Mark(std::move(status))); }

 private:
  absl::Status Mark(absl::Status status) const {
    return sending_ ? status : NotSent(std::move(status));
  }
  absl::Status ToStatus(CURLcode code) const;

  static int OnConnected(void* self, char*, char*, int, int);
  static size_t OnHeader(char* line, size_t size, size_t count, void* self);
  static size_t OnBody(char* data, size_t size, size_t count, void* self);

  const SteadyClock::time_point began_;
  const TokenRequest request_;
  const SendOptions options_;
  Transport::Done done_;
  std::unique_ptr<CURL, EasyDeleter> easy_;
  std::unique_ptr<curl_slist, ListDeleter> headers_;
  bool sending_ = false;  // Whether libcurl has begun to send the request.
  bool needs_new_connection_ = false;
  const Sockets* sockets_ = nullptr;
  HttpAnswer answer_;
  GrowingSecret received_;
  size_t header_bytes_ = 0;
  bool in_header_ = false;  // True from the status line to the empty line.
  bool headers_too_long_ = false;
};

absl::Status Call::Prepare(const CurlTransportOptions& transport,
                           Sockets& sockets) {
  sockets_ = &sockets;
  const absl::Duration left =
      options_.timeout - absl::FromChrono(SteadyClock::now() - began_);
  if (left <= absl::ZeroDuration()) {
    return absl::DeadlineExceededError(
        "the request's time was over before it could be sent");
  }
  easy_.reset(curl_easy_init());
  CURL* const easy = easy_.get();
  if (easy == nullptr) return absl::UnavailableError("libcurl has no memory");

  CURLcode result = CURLE_OK;
  const auto set = [easy, &result](CURLoption option, auto value) {
    if (result == CURLE_OK) result = curl_easy_setopt(easy, option, value);
  };
  const auto add_header = [this, &result](std::string line) {
    curl_slist* const list = curl_slist_append(headers_.get(), line.c_str());
    WipeMemory(line.data(), line.size());
    if (list == nullptr) {
      result = CURLE_OUT_OF_MEMORY;
      return;
    }
    (void)headers_.release();
    headers_.reset(list);
  };
  for (const auto& [name, value] : request_.headers) {
    if (EndsLine(name) || EndsLine(value.reveal())) {
      return absl::FailedPreconditionError(
          "a header of the request contains a line break or a zero byte");
    }
    // With "NAME;", libcurl sends a header without a value.
    add_header(value.empty() ? absl::StrCat(name, ";")
                             : absl::StrCat(name, ": ", value.reveal()));
  }
  add_header("Expect:");  // Makes libcurl send no Expect header.

  set(CURLOPT_PRIVATE, this);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_URL, request_.url.c_str());
#if LIBCURL_VERSION_NUM >= 0x075500
  set(CURLOPT_PROTOCOLS_STR, "http,https");
#else
  set(CURLOPT_PROTOCOLS, long{CURLPROTO_HTTP | CURLPROTO_HTTPS});
#endif
  set(CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_SSL_VERIFYPEER, 1L);
  set(CURLOPT_SSL_VERIFYHOST, 2L);
  set(CURLOPT_SSLVERSION, long{CURL_SSLVERSION_TLSv1_2});
  if (!transport.ca_file.empty()) {
    set(CURLOPT_CAINFO, transport.ca_file.c_str());
    set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
  }
  if (IsLocalHttp(request_.url)) {
    // A proxy could read the secrets of the request.
    set(CURLOPT_PROXY, "");
  } else if (transport.proxy.has_value()) {
    set(CURLOPT_PROXY, transport.proxy->c_str());
  }
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_USERAGENT, transport.user_agent.c_str());
  set(CURLOPT_HTTPHEADER, headers_.get());
  set(CURLOPT_HEADEROPT, long{CURLHEADER_SEPARATE});
  // For libcurl, 0 means that there is no limit.
  set(CURLOPT_TIMEOUT_MS,
      left == absl::InfiniteDuration() ? 0L : std::max(1L, Millis(left)));
  set(CURLOPT_CONNECTTIMEOUT_MS, Millis(transport.connect_timeout));
  if (transport.max_idle_connections == 0) set(CURLOPT_FORBID_REUSE, 1L);
  set(CURLOPT_MAXAGE_CONN, Millis(transport.max_idle_time) / 1000);
#if LIBCURL_VERSION_NUM >= 0x075700
  // Without this option, removing a request from libcurl may wait until the
  // host's name is resolved.
  set(CURLOPT_QUICK_EXIT, 1L);
#endif
  const absl::string_view body = request_.body.reveal();
  set(CURLOPT_POST, 1L);
  set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  // With a null pointer, libcurl would ask a callback for the body.
  set(CURLOPT_POSTFIELDS, body.empty() ? "" : body.data());
  set(CURLOPT_PREREQFUNCTION, &Call::OnConnected);
  set(CURLOPT_PREREQDATA, this);
  set(CURLOPT_HEADERFUNCTION, &Call::OnHeader);
  set(CURLOPT_HEADERDATA, this);
  set(CURLOPT_WRITEFUNCTION, &Call::OnBody);
  set(CURLOPT_WRITEDATA, this);
  if (result == CURLE_OK) result = sockets.Watch(easy);
  return result == CURLE_OK ? absl::OkStatus() : ToStatus(result);
}

// libcurl calls this function just before it sends the request. If a reused
// connection ends before an answer has come, libcurl calls the function again,
// to send the request a second time.
int Call::OnConnected(void* self, char*, char*, int remote_port,
                      int local_port) {
  Call& call = *static_cast<Call*>(self);
  if (call.sending_) return CURL_PREREQFUNC_ABORT;
  long connects = 0;  // NOLINT(runtime/int): libcurl's type.
  curl_easy_getinfo(call.easy(), CURLINFO_NUM_CONNECTS, &connects);
  // `connects` is 0 if libcurl reuses a connection. If this connection is not
  // quiet, it may have ended, or may hold an answer that nobody asked for.
  // libcurl would take such an answer for the answer to this request.
  if (connects == 0 && !call.sockets_->IsQuiet(local_port, remote_port)) {
    call.needs_new_connection_ = true;
    return CURL_PREREQFUNC_ABORT;
  }
  call.sending_ = true;
  return CURL_PREREQFUNC_OK;
}

bool Call::NeedsNewConnection() {
  if (!needs_new_connection_) return false;
  needs_new_connection_ = false;
  const absl::Duration left =
      options_.timeout - absl::FromChrono(SteadyClock::now() - began_);
  return curl_easy_setopt(easy(), CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
         (left == absl::InfiniteDuration() ||
          curl_easy_setopt(easy(), CURLOPT_TIMEOUT_MS,
                           std::max(1L, Millis(left))) == CURLE_OK);
}

size_t Call::OnHeader(char* line, size_t size, size_t count, void* self) {
  Call& call = *static_cast<Call*>(self);
  const absl::string_view text(line, size * count);
  call.header_bytes_ += text.size();
  if (call.header_bytes_ > kMaxHeaderBytes) {
    call.headers_too_long_ = true;
    return 0;
  }
  // Forget the headers of an earlier interim answer, such as a 103.
  if (absl::StartsWith(text, "HTTP/")) {
    call.answer_.headers.clear();
    call.in_header_ = true;
    return text.size();
  }
  if (text == "\r\n" || text == "\n") call.in_header_ = false;
  const size_t colon = text.find(':');
  if (colon != absl::string_view::npos && call.in_header_) {
    call.answer_.headers.emplace_back(
        text.substr(0, colon),
        absl::StripAsciiWhitespace(text.substr(colon + 1)));
  }
  return text.size();
}

size_t Call::OnBody(char* data, size_t size, size_t count, void* self) {
  Call& call = *static_cast<Call*>(self);
  if (!call.received_.Append(data, size * count)) {
    call.answer_.body_too_long = true;
    return size * count == 0 ? 1 : 0;
  }
  return size * count;
}

absl::Status Call::ToStatus(CURLcode code) const {
  const absl::string_view problem =
      headers_too_long_ ? "the answer's headers are too long"
      : sending_ && code == CURLE_ABORTED_BY_CALLBACK
          ? "the connection was closed before an answer came"
          : curl_easy_strerror(code);
  const std::string message =
      absl::StrCat(problem, " (", HostAndPort(request_.url), ")");
  // After libcurl has begun to send, a bad answer may cause a code that looks
  // like a wrong configuration. For example, an answer that is not HTTP causes
  // CURLE_UNSUPPORTED_PROTOCOL.
  if (sending_ && code != CURLE_OPERATION_TIMEDOUT) {
    return absl::UnavailableError(message);
  }
  long proxy = 0;  // NOLINT(runtime/int): libcurl's type.
  curl_easy_getinfo(easy(), CURLINFO_HTTP_CONNECTCODE, &proxy);
  if (proxy == 407) {
    return absl::FailedPreconditionError(
        absl::StrCat("the proxy asks for a user and a password (407) (",
                     HostAndPort(request_.url), ")"));
  }
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return absl::DeadlineExceededError(message);
    // Only a change of a configuration can mend these errors.
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_NOT_BUILT_IN:
    case CURLE_UNKNOWN_OPTION:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
      return absl::FailedPreconditionError(message);
    default:
      return absl::UnavailableError(message);
  }
}

void Call::Finish(CURLcode code) {
  if (code != CURLE_OK && !answer_.body_too_long) return Fail(ToStatus(code));
  long status = 0;  // NOLINT(runtime/int): libcurl's type.
  curl_easy_getinfo(easy(), CURLINFO_RESPONSE_CODE, &status);
  answer_.status = static_cast<int>(status);
  if (!answer_.body_too_long) answer_.body = Secret(received_.view());
  answer_.arrived = absl::Now();
  done_(std::move(answer_));
}

// What the transport and its thread share. Other threads use libcurl's handles
// only to wake the thread.
class Driver {
 public:
  Driver(CurlTransportOptions options, CURLM* multi)
      : options_(std::move(options)), multi_(multi) {}
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;
  ~Driver() { curl_multi_cleanup(multi_); }

  void Add(std::unique_ptr<Call> call) {
    {
      absl::MutexLock lock(&mutex_);
      incoming_.push_back(std::move(call));
    }
    curl_multi_wakeup(multi_);
  }

  void Close() {
    {
      absl::MutexLock lock(&mutex_);
      closed_ = true;
    }
    curl_multi_wakeup(multi_);
  }

  // The transport's thread calls this. After `Close`, fails the outstanding
  // requests and returns.
  void Run() {
    while (TakeIncoming()) {
      int running = 0;
      curl_multi_perform(multi_, &running);
      FinishCalls();
      CancelCalls();
      curl_multi_poll(multi_, nullptr, 0,
                      calls_.empty() ? kIdleMillis : kCancelCheckMillis,
                      nullptr);
    }
    while (!calls_.empty()) {
      Take(calls_.begin()->first)
          ->Fail(absl::CancelledError("the transport was destroyed"));
    }
  }

 private:
  using Calls = absl::flat_hash_map<CURL*, std::unique_ptr<Call>>;

  // Starts the queued requests. After `Close`, fails these requests and returns
  // false.
  bool TakeIncoming() {
    std::vector<std::unique_ptr<Call>> incoming;
    bool closed;
    {
      absl::MutexLock lock(&mutex_);
      incoming.swap(incoming_);
      closed = closed_;
    }
    for (std::unique_ptr<Call>& call : incoming) {
      if (closed) {
        call->Fail(absl::CancelledError("the transport was destroyed"));
        continue;
      }
      absl::Status status = call->Prepare(options_, sockets_);
      if (status.ok() &&
          curl_multi_add_handle(multi_, call->easy()) != CURLM_OK) {
        status = absl::UnavailableError("libcurl cannot take the request");
      }
      if (!status.ok()) {
        call->Fail(std::move(status));
        continue;
      }
      CURL* const easy = call->easy();
      calls_[easy] = std::move(call);
    }
    return !closed;
  }

  void FinishCalls() {
    int left = 0;
    while (CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      // Removing the handle destroys the message, so copy what is needed.
      CURL* const easy = message->easy_handle;
      const CURLcode code = message->data.result;
      if (calls_.find(easy)->second->NeedsNewConnection()) {
        curl_multi_remove_handle(multi_, easy);
        if (curl_multi_add_handle(multi_, easy) == CURLM_OK) continue;
      }
      Take(easy)->Finish(code);
    }
  }

  void CancelCalls() {
    std::vector<CURL*> cancelled;
    for (const auto& [easy, call] : calls_) {
      if (call->cancelled()) cancelled.push_back(easy);
    }
    for (CURL* const easy : cancelled) {
      Take(easy)->Fail(absl::CancelledError("nobody waits for the answer"));
    }
  }

  // Takes the request away from libcurl. If the answer is not complete yet,
  // libcurl then closes the connection.
  std::unique_ptr<Call> Take(CURL* easy) {
    const auto found = calls_.find(easy);
    std::unique_ptr<Call> call = std::move(found->second);
    calls_.erase(found);
    curl_multi_remove_handle(multi_, easy);
    return call;
  }

  const CurlTransportOptions options_;
  CURLM* const multi_;
  Sockets sockets_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Call>> incoming_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  // The requests that libcurl works on. Used only by the transport's thread.
  Calls calls_;
};

class CurlTransport final : public Transport {
 public:
  explicit CurlTransport(std::shared_ptr<Driver> driver)
      : driver_(std::move(driver)) {}

  ~CurlTransport() override {
    if (!started_) return;
    if (getpid() != process_) {
      // The thread and libcurl's state belong to the parent. The child leaks
      // its copies.
      new std::shared_ptr<Driver>(std::move(driver_));
      (void)thread_.release();
      return;
    }
    driver_->Close();
    if (pthread_equal(pthread_self(), thread_id_)) {
      thread_->Detach();
    } else {
      thread_->Join();
    }
  }

  // Returns false if the system refuses a thread.
  bool Start() {
    absl::Notification running;
    started_ = thread_->Start([this, &running, driver = driver_] {
      // Some versions of libcurl raise SIGPIPE when they write to a closed
      // connection.
      sigset_t signals;
      sigemptyset(&signals);
      sigaddset(&signals, SIGPIPE);
      pthread_sigmask(SIG_BLOCK, &signals, nullptr);
      thread_id_ = pthread_self();
      running.Notify();
      driver->Run();
    });
    if (started_) running.WaitForNotification();
    return started_;
  }

  void Send(TokenRequest request, SendOptions options, Done done) override {
    auto call = std::make_unique<Call>(std::move(request), std::move(options),
                                       std::move(done));
    if (getpid() != process_) {
      return call->Fail(absl::FailedPreconditionError(
          "the transport was created before fork(), in another process"));
    }
    driver_->Add(std::move(call));
  }

 private:
  const pid_t process_ = getpid();
  std::shared_ptr<Driver> driver_;
  std::unique_ptr<executors_internal::OsThread> thread_ =
      std::make_unique<executors_internal::OsThread>();
  pthread_t thread_id_;
  bool started_ = false;
};

absl::Status Validate(const CurlTransportOptions& options) {
  const auto refuse = [](absl::string_view problem) {
    return absl::InvalidArgumentError(
        absl::StrCat("CurlTransportOptions: ", problem));
  };
  if (options.connect_timeout < absl::Milliseconds(1)) {
    return refuse("connect_timeout is less than 1 ms");
  }
  if (options.max_idle_connections < 0) {
    return refuse("max_idle_connections is negative");
  }
  if (options.max_idle_time < absl::Seconds(1)) {
    return refuse("max_idle_time is less than one second");
  }
  if (options.user_agent.find_first_of(absl::string_view("\r\n\0", 3)) !=
      std::string::npos) {
    return refuse("user_agent contains a line break or a zero byte");
  }
  if (!options.ca_file.empty() && access(options.ca_file.c_str(), R_OK) != 0) {
    return refuse("ca_file cannot be read");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<Transport>> CreateCurlTransport(
    CurlTransportOptions options) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_ALL);
  CURLM* const multi = initialized == CURLE_OK ? curl_multi_init() : nullptr;
  if (multi == nullptr) {
    return absl::ResourceExhaustedError("libcurl cannot be initialized");
  }
  if (options.max_idle_connections > 0) {
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS,
                      long{options.max_idle_connections});
  }
  auto transport = std::make_shared<CurlTransport>(
      std::make_shared<Driver>(std::move(options), multi));
  if (!transport->Start()) {
    return absl::ResourceExhaustedError("the system refuses a thread");
  }
  return transport;
}

}  // namespace oauth2
}  // namespace refreshable
