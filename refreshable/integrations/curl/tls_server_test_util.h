// SPDX-License-Identifier: Apache-2.0
//
// TlsServer: a server whose behavior the test decides. Authority: makes the
// certificates of a TlsServer.

#ifndef REFRESHABLE_INTEGRATIONS_CURL_TLS_SERVER_TEST_UTIL_H_
#define REFRESHABLE_INTEGRATIONS_CURL_TLS_SERVER_TEST_UTIL_H_

#include <openssl/ssl.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace refreshable {

// A certificate and its private key, in PEM form.
struct Identity {
  std::string certificate;
  std::string key;
};

// The constructor makes the authority's key and certificate.
class Authority {
 public:
  explicit Authority(const std::string& name);
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;
  ~Authority();

  // Returns a certificate for the host `name`, and its key. The certificate is
  // valid from two hours before now to `lifetime` after now.
  Identity Issue(const std::string& name,
                 absl::Duration lifetime = absl::Hours(1));
  std::string certificate() const;

 private:
  EVP_PKEY* const key_;
  X509* const certificate_;
};

// One connection to a TlsServer. Used by one thread.
class Connection {
 public:
  Connection(int socket, SSL* ssl) : socket_(socket), ssl_(ssl) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Reads the head, and a body of as many bytes as Content-Length says. Returns
  // false if the connection ends first.
  bool ReadRequest();
  const std::string& head() const { return head_; }
  const std::string& body() const { return body_; }

  // Returns false if writing fails. Writing may still succeed for some time
  // after the connection has ended.
  bool Write(absl::string_view bytes);
  bool Answer(absl::string_view status, absl::string_view body,
              absl::string_view headers = "");
  // Discards what the client sends.
  void WaitUntilClosed();
  // If the connection is encrypted, first sends the closing message of TLS.
  void Close();

 private:
  int Read(char* to, int n);

  const int socket_;
  SSL* const ssl_;  // Null if the connection is not encrypted.
  std::string head_;
  std::string body_;
};

// Accepts connections on 127.0.0.1. Thread-safe.
class TlsServer {
 public:
  // The server calls this function for each connection, on a new thread. It
  // closes the connection when the function returns. If the TLS handshake
  // fails, the function is not called.
  using Handler = std::function<void(Connection&)>;

  // If `identity` is null, connections are not encrypted.
  TlsServer(const Identity* identity, Handler handler);
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;
  // Breaks the connections that are open, and waits for their handlers.
  ~TlsServer();

  std::string url() const;
  int connections() const { return connections_; }

 private:
  void Accept();
  void Serve(int socket);

  const Handler handler_;
  SSL_CTX* context_ = nullptr;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> connections_{0};
  absl::Mutex mutex_;
  std::set<int> sockets_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  // Used by `acceptor_`, and by the destructor after it has joined `acceptor_`.
  std::vector<std::thread> workers_;
  std::thread acceptor_;
};

// A port on which nobody listens. No other program gets the port while the
// object exists.
class RefusingPort {
 public:
  RefusingPort();
  RefusingPort(const RefusingPort&) = delete;
  RefusingPort& operator=(const RefusingPort&) = delete;
  ~RefusingPort();
  int port() const { return port_; }

 private:
  int port_ = 0;
  const int socket_;
};

}  // namespace refreshable

#endif  // REFRESHABLE_INTEGRATIONS_CURL_TLS_SERVER_TEST_UTIL_H_
