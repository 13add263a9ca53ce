// SPDX-License-Identifier: Apache-2.0

#include "refreshable/integrations/curl/tls_server_test_util.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace refreshable {
namespace {

void Require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "tls_server_test_util: %s failed\n", what);
  std::abort();
}

std::string ToPem(const std::function<int(BIO*)>& write) {
  BIO* const bio = BIO_new(BIO_s_mem());
  Require(write(bio) == 1, "PEM_write_bio");
  char* data = nullptr;
  const auto size = static_cast<size_t>(BIO_get_mem_data(bio, &data));
  std::string pem(data, size);
  BIO_free(bio);
  return pem;
}

void AddExtension(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* const extension =
      X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  Require(extension != nullptr, "X509V3_EXT_conf_nid");
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// The new certificate has no signature.
X509* NewCertificate(EVP_PKEY* key, const std::string& name, long end_seconds) {
  static std::atomic<long> serial{1};
  X509* const certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -7200);
  X509_gmtime_adj(X509_getm_notAfter(certificate), end_seconds);
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(
      X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
      reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  return certificate;
}

int NewSocket(int* port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Require(socket >= 0, "socket");
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  Require(bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0,
          "bind");
  getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  *port = ntohs(address.sin_port);
  return socket;
}

}  // namespace

Authority::Authority(const std::string& name)
    : key_(EVP_EC_gen("P-256")),
      certificate_(NewCertificate(key_, name, 24 * 3600)) {
  X509_set_issuer_name(certificate_, X509_get_subject_name(certificate_));
  AddExtension(certificate_, NID_basic_constraints, "critical,CA:TRUE");
  Require(X509_sign(certificate_, key_, EVP_sha256()) != 0, "X509_sign");
}

Authority::~Authority() {
  X509_free(certificate_);
  EVP_PKEY_free(key_);
}

Identity Authority::Issue(const std::string& name, absl::Duration lifetime) {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate =
      NewCertificate(key, name, absl::ToInt64Seconds(lifetime));
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate_));
  AddExtension(certificate, NID_subject_alt_name, "DNS:" + name);
  Require(X509_sign(certificate, key_, EVP_sha256()) != 0, "X509_sign");
  Identity identity;
  identity.certificate =
      ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
  identity.key = ToPem([&](BIO* bio) {
    return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr,
                                    nullptr);
  });
  X509_free(certificate);
  EVP_PKEY_free(key);
  return identity;
}

std::string Authority::certificate() const {
  return ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate_); });
}

int Connection::Read(char* to, int n) {
  if (ssl_ != nullptr) return SSL_read(ssl_, to, n);
  return static_cast<int>(recv(socket_, to, static_cast<size_t>(n), 0));
}

bool Connection::ReadRequest() {
  head_.clear();
  body_.clear();
  char byte;
  while (!absl::EndsWith(head_, "\r\n\r\n")) {
    if (Read(&byte, 1) <= 0) return false;
    head_.push_back(byte);
  }
  size_t length = 0;
  for (const absl::string_view line : absl::StrSplit(head_, "\r\n")) {
    if (absl::StartsWithIgnoreCase(line, "content-length:")) {
      Require(absl::SimpleAtoi(line.substr(15), &length), "Content-Length");
    }
  }
  while (body_.size() < length) {
    if (Read(&byte, 1) <= 0) return false;
    body_.push_back(byte);
  }
  return true;
}

bool Connection::Write(absl::string_view bytes) {
  while (!bytes.empty()) {
    const int n =
        ssl_ != nullptr
            ? SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()))
            : static_cast<int>(
                  send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL));
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool Connection::Answer(absl::string_view status, absl::string_view body,
                        absl::string_view headers) {
  return Write(absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Length: ",
                            body.size(), "\r\n", headers, "\r\n", body));
}

void Connection::WaitUntilClosed() {
  char byte;
  while (Read(&byte, 1) > 0) {
  }
}

void Connection::Close() {
  if (ssl_ != nullptr) SSL_shutdown(ssl_);
  shutdown(socket_, SHUT_RDWR);
}

TlsServer::TlsServer(const Identity* identity, Handler handler)
    : handler_(std::move(handler)) {
  // OpenSSL may write to a connection that the client has closed, which raises
  // SIGPIPE.
  std::signal(SIGPIPE, SIG_IGN);
  if (identity != nullptr) {
    context_ = SSL_CTX_new(TLS_server_method());
    BIO* bio = BIO_new_mem_buf(identity->certificate.data(),
                               static_cast<int>(identity->certificate.size()));
    X509* const certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    bio = BIO_new_mem_buf(identity->key.data(),
                          static_cast<int>(identity->key.size()));
    EVP_PKEY* const key =
        PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    Require(SSL_CTX_use_certificate(context_, certificate) == 1 &&
                SSL_CTX_use_PrivateKey(context_, key) == 1,
            "SSL_CTX_use");
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  listener_ = NewSocket(&port_);
  Require(listen(listener_, 128) == 0, "listen");
  acceptor_ = std::thread([this] { Accept(); });
}

TlsServer::~TlsServer() {
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    for (const int socket : sockets_) shutdown(socket, SHUT_RDWR);
  }
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& worker : workers_) worker.join();
  close(listener_);
  SSL_CTX_free(context_);
}

std::string TlsServer::url() const {
  return absl::StrCat(context_ != nullptr ? "https" : "http",
                      "://localhost:", port_, "/token");
}

void TlsServer::Accept() {
  for (;;) {
    const int socket = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    ++connections_;
    workers_.emplace_back([this, socket] { Serve(socket); });
  }
}

void TlsServer::Serve(int socket) {
  {
    absl::MutexLock lock(&mutex_);
    sockets_.insert(socket);
    if (closed_) shutdown(socket, SHUT_RDWR);
  }
  SSL* ssl = nullptr;
  bool connected = true;
  if (context_ != nullptr) {
    ssl = SSL_new(context_);
    SSL_set_fd(ssl, socket);
    connected = SSL_accept(ssl) == 1;
  }
  if (connected) {
    Connection connection(socket, ssl);
    handler_(connection);
  }
  absl::MutexLock lock(&mutex_);
  sockets_.erase(socket);
  SSL_free(ssl);
  close(socket);
}

RefusingPort::RefusingPort() : socket_(NewSocket(&port_)) {}

RefusingPort::~RefusingPort() { close(socket_); }

}  // namespace refreshable
