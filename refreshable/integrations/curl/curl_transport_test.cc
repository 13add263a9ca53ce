// SPDX-License-Identifier: Apache-2.0
//
// long: the ways in which a server can misbehave are in one place.

#include "refreshable/integrations/curl/curl_transport.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/integrations/curl/tls_server_test_util.h"
#include "refreshable/oauth2/answer.h"
#include "refreshable/oauth2/request.h"
#include "refreshable/oauth2/source.h"
#include "refreshable/oauth2/transport.h"
#include "refreshable/refreshable.h"
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {
namespace {

// Long enough for every answer that a test expects.
constexpr absl::Duration kLong = absl::Minutes(10);

TokenRequest Request(std::string url,
                     absl::string_view body = "secret=s3cr3t") {
  TokenRequest request;
  request.url = std::move(url);
  request.headers.emplace_back("Authorization", Secret("Basic s3cr3t"));
  request.headers.emplace_back("X-Empty", Secret());
  request.body = Secret(body);
  return request;
}

SendOptions Within(absl::Duration timeout) {
  SendOptions options;
  options.timeout = timeout;
  return options;
}

// Expects that a failure does not show "s3cr3t", which stands for all secrets.
absl::StatusOr<HttpAnswer> Send(Transport& transport, TokenRequest request,
                                SendOptions options = Within(kLong)) {
  absl::StatusOr<HttpAnswer> outcome = absl::UnknownError("not called");
  absl::Notification done;
  transport.Send(std::move(request), std::move(options),
                 [&](absl::StatusOr<HttpAnswer> result) {
                   outcome = std::move(result);
                   done.Notify();
                 });
  done.WaitForNotification();
  EXPECT_FALSE(absl::StrContains(outcome.status().ToString(), "s3cr3t"))
      << outcome.status();
  return outcome;
}

class CurlTransportTest : public testing::Test {
 protected:
  static CurlTransportOptions Options() {
    CurlTransportOptions options;
    options.ca_file = CaFile();
    options.proxy = "";
    return options;
  }
  static std::shared_ptr<Transport> Create(CurlTransportOptions o = Options()) {
    return CreateCurlTransport(std::move(o)).value();
  }
  static Authority& Ca() {
    static Authority* const authority = new Authority("the authority");
    return *authority;
  }
  static const std::string& CaFile() {
    static const auto* const file = [] {
      auto* const path = new std::string(testing::TempDir() + "/authority.pem");
      std::ofstream(*path) << Ca().certificate();
      return path;
    }();
    return *file;
  }

  const Identity good_ = Ca().Issue("localhost");
};

void AnswerAll(Connection& connection) {
  while (connection.ReadRequest() &&
         connection.Answer("200 OK", "token", "Date: d\r\n")) {
  }
}

TEST_F(CurlTransportTest, SendsTheRequestAndReturnsTheAnswer) {
  std::string head;
  std::string body;
  TlsServer server(&good_, [&](Connection& connection) {
    ASSERT_TRUE(connection.ReadRequest());
    head = connection.head();
    body = connection.body();
    // The transport must skip an interim answer.
    connection.Write("HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n");
    connection.Answer("429 Slow Down", absl::string_view("a\0b", 3),
                      "retry-after:  7 \r\n");
  });
  const std::string sent("x\0y=\xff", 5);
  const absl::StatusOr<HttpAnswer> answer =
      Send(*Create(), Request(server.url(), sent));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->status, 429);
  EXPECT_EQ(answer->body.reveal(), absl::string_view("a\0b", 3));
  int retry_after = 0;
  for (const auto& [name, value] : answer->headers) {
    if (name == "retry-after") {
      EXPECT_EQ(value, "7");
      ++retry_after;
    }
    EXPECT_NE(name, "Retry-After");
  }
  EXPECT_EQ(retry_after, 1);
  EXPECT_EQ(body, sent);
  EXPECT_TRUE(absl::StartsWith(head, "POST /token HTTP/1.1\r\n")) << head;
  EXPECT_TRUE(absl::StrContains(head, "Authorization: Basic s3cr3t\r\n"));
  EXPECT_TRUE(absl::StrContains(head, "X-Empty:\r\n")) << head;
  EXPECT_TRUE(absl::StrContains(head, "User-Agent: refreshable\r\n")) << head;
  EXPECT_FALSE(absl::StrContains(head, "Expect")) << head;
}

TEST_F(CurlTransportTest, DoesNotFollowRedirects) {
  TlsServer elsewhere(&good_, AnswerAll);
  TlsServer server(&good_, [&](Connection& connection) {
    ASSERT_TRUE(connection.ReadRequest());
    connection.Answer("307 Temporary Redirect", "",
                      absl::StrCat("Location: ", elsewhere.url(), "\r\n"));
  });
  const auto answer = Send(*Create(), Request(server.url()));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->status, 307);
  EXPECT_EQ(elsewhere.connections(), 0);
}

TEST_F(CurlTransportTest, ConnectionRefused) {
  const RefusingPort port;
  const auto answer = Send(
      *Create(), Request(absl::StrCat("https://localhost:", port.port(), "/")));
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(WasNotSent(answer.status())) << answer.status();
  EXPECT_TRUE(absl::StrContains(answer.status().message(),
                                absl::StrCat("localhost:", port.port())))
      << answer.status();
}

TEST_F(CurlTransportTest, ConfigurationErrorsArePermanentAndNothingIsSent) {
  std::atomic<int> requests{0};
  const auto count = [&](Connection& connection) {
    if (connection.ReadRequest()) ++requests;
  };
  Authority stranger("a stranger");
  const Identity expired = Ca().Issue("localhost", -absl::Hours(1));
  const Identity other_host = Ca().Issue("example.com");
  const Identity untrusted = stranger.Issue("localhost");
  for (const Identity* identity : {&expired, &other_host, &untrusted}) {
    TlsServer server(identity, count);
    const auto answer = Send(*Create(), Request(server.url()));
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kFailedPrecondition)
        << answer.status();
    EXPECT_TRUE(WasNotSent(answer.status()));
  }
  const auto ftp = Send(*Create(), Request("ftp://localhost/"));
  EXPECT_EQ(ftp.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(WasNotSent(ftp.status()));
  EXPECT_EQ(requests, 0);
}

TEST_F(CurlTransportTest, ServerThatIsNotTls) {
  TlsServer server(nullptr, [](Connection& connection) {
    connection.Write("220 ready\r\n");
    connection.WaitUntilClosed();
  });
  std::string url = server.url();
  url.replace(0, 4, "https");
  const auto answer = Send(*Create(), Request(url));
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(WasNotSent(answer.status()));
}

TEST_F(CurlTransportTest, TimeoutBeforeTheAnswerAndInItsBody) {
  for (const absl::string_view sent :
       {"", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart"}) {
    TlsServer server(&good_, [&](Connection& connection) {
      ASSERT_TRUE(connection.ReadRequest());
      connection.Write(sent);
      connection.WaitUntilClosed();
    });
    const auto answer =
        Send(*Create(), Request(server.url()), Within(absl::Milliseconds(300)));
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kDeadlineExceeded)
        << answer.status();
    // WasNotSent is not checked, because a slow machine may not send the
    // request in time.
  }
}

TEST_F(CurlTransportTest, TimeoutOfZeroSendsNothing) {
  TlsServer server(&good_, AnswerAll);
  const auto answer =
      Send(*Create(), Request(server.url()), Within(absl::ZeroDuration()));
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(WasNotSent(answer.status()));
}

TEST_F(CurlTransportTest, ConnectionsBrokenAfterTheRequestAreNotMarkedNotSent) {
  for (const absl::string_view sent :
       {"", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart", "nonsense"}) {
    std::atomic<int> requests{0};
    TlsServer server(&good_, [&](Connection& connection) {
      ASSERT_TRUE(connection.ReadRequest());
      ++requests;
      connection.Write(sent);
    });
    const auto answer = Send(*Create(), Request(server.url()));
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable)
        << answer.status();
    EXPECT_FALSE(WasNotSent(answer.status()));
    EXPECT_EQ(requests, 1);
  }
}

// Beyond its limit the transport reads no more, so the server can only fill the
// system's buffers.
TEST_F(CurlTransportTest, BodiesAndHeadersAreBounded) {
  std::atomic<size_t> written{0};
  const auto flood = [&](Connection& connection, const std::string& chunk) {
    while (connection.Write(chunk) && written < size_t{1} << 30) {
      written += chunk.size();
    }
  };
  {
    TlsServer server(&good_, [&](Connection& connection) {
      ASSERT_TRUE(connection.ReadRequest());
      connection.Write("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
      flood(connection, std::string(65536, 'x'));
    });
    SendOptions options = Within(kLong);
    options.max_body_bytes = 1000;
    const auto answer = Send(*Create(), Request(server.url()), options);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->status, 200);
    EXPECT_TRUE(answer->body_too_long);
  }
  EXPECT_LT(written, size_t{64} << 20);
  written = 0;
  {
    TlsServer server(&good_, [&](Connection& connection) {
      ASSERT_TRUE(connection.ReadRequest());
      connection.Write("HTTP/1.1 200 OK\r\n");
      flood(connection, "X-Flood: " + std::string(1000, 'x') + "\r\n");
    });
    const auto answer = Send(*Create(), Request(server.url()));
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(absl::StrContains(answer.status().message(), "too long"));
  }
  EXPECT_LT(written, size_t{64} << 20);
}

TEST_F(CurlTransportTest, BodyOfExactlyTheLimitIsAnAnswer) {
  TlsServer server(&good_, [](Connection& connection) {
    ASSERT_TRUE(connection.ReadRequest());
    connection.Answer("200 OK", std::string(5000, 'x'));
  });
  SendOptions options = Within(kLong);
  options.max_body_bytes = 5000;
  const auto answer = Send(*Create(), Request(server.url()), options);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_FALSE(answer->body_too_long);
  EXPECT_EQ(answer->body.size(), 5000u);
}

TEST_F(CurlTransportTest, ConnectionsAreReused) {
  TlsServer server(&good_, AnswerAll);
  const auto transport = Create();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(Send(*transport, Request(server.url())).ok());
  }
  EXPECT_EQ(server.connections(), 1);

  CurlTransportOptions none = Options();
  none.max_idle_connections = 0;
  const auto without = Create(none);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Send(*without, Request(server.url())).ok());
  }
  EXPECT_EQ(server.connections(), 1 + 3);
}

// The transport must not send the second request again, because the server may
// have read it.
TEST_F(CurlTransportTest, RequestOnAConnectionThatClosesIsSentAtMostOnce) {
  std::atomic<int> requests{0};
  TlsServer server(&good_, [&](Connection& connection) {
    // To send the second request again, libcurl makes a new connection. The
    // transport forbids the sending, so no request comes over the new one.
    if (!connection.ReadRequest()) return;
    ++requests;
    connection.Answer("200 OK", "token");
    if (connection.ReadRequest()) ++requests;
  });
  const auto transport = Create();
  ASSERT_TRUE(Send(*transport, Request(server.url())).ok());
  const auto second = Send(*transport, Request(server.url()));
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable)
      << second.status();
  EXPECT_FALSE(WasNotSent(second.status()));
  EXPECT_EQ(requests, 2);
  EXPECT_TRUE(Send(*transport, Request(server.url())).ok());
}

TEST_F(CurlTransportTest, ConnectionClosedWhileIdleIsReplaced) {
  TlsServer server(&good_, [](Connection& connection) {
    ASSERT_TRUE(connection.ReadRequest());
    connection.Answer("200 OK", "token", "Connection: close\r\n");
  });
  const auto transport = Create();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Send(*transport, Request(server.url())).ok());
  }
  EXPECT_EQ(server.connections(), 3);
}

TEST_F(CurlTransportTest, ConnectionThatTheServerClosedIsNotUsed) {
  for (const Identity* const identity :
       {&good_, static_cast<const Identity*>(nullptr)}) {
    absl::Notification closed;
    TlsServer server(identity, [&](Connection& connection) {
      if (connection.ReadRequest()) connection.Answer("200 OK", "token");
      connection.Close();
      if (!closed.HasBeenNotified()) closed.Notify();
    });
    const auto transport = Create();
    ASSERT_TRUE(Send(*transport, Request(server.url())).ok());
    closed.WaitForNotification();
    const auto second = Send(*transport, Request(server.url()));
    EXPECT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(server.connections(), 2);
  }
}

// The second answer comes after the client has the first. If both came
// together, OpenSSL might read both at once, and the transport would not see
// the second.
TEST_F(CurlTransportTest, ConnectionWithAStrayAnswerIsNotUsed) {
  for (const Identity* const identity :
       {&good_, static_cast<const Identity*>(nullptr)}) {
    absl::Notification received;
    absl::Notification strayed;
    TlsServer server(identity, [&](Connection& connection) {
      if (!connection.ReadRequest()) return;
      connection.Answer("200 OK", "token");
      received.WaitForNotification();
      connection.Answer("200 OK", "stray");
      if (!strayed.HasBeenNotified()) strayed.Notify();
      connection.WaitUntilClosed();
    });
    const auto transport = Create();
    const auto first = Send(*transport, Request(server.url()));
    received.Notify();
    ASSERT_TRUE(first.ok()) << first.status();
    strayed.WaitForNotification();
    const auto second = Send(*transport, Request(server.url()));
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(second->body.reveal(), "token");
  }
}

TEST_F(CurlTransportTest, RequestWithoutABodyIsSentAtMostOnce) {
  std::atomic<int> requests{0};
  TlsServer server(&good_, [&](Connection& connection) {
    if (!connection.ReadRequest()) return;
    ++requests;
    connection.Answer("200 OK", "token");
    if (connection.ReadRequest()) ++requests;
  });
  const auto transport = Create();
  ASSERT_TRUE(Send(*transport, Request(server.url(), "")).ok());
  const auto second = Send(*transport, Request(server.url(), ""));
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(WasNotSent(second.status()));
  EXPECT_EQ(requests, 2);
}

TEST_F(CurlTransportTest, HeaderWithALineBreakIsRefused) {
  TlsServer server(&good_, AnswerAll);
  for (const absl::string_view value :
       {absl::string_view("s3cr3t\r\nX-Other: 1"), absl::string_view("\n"),
        absl::string_view("\0", 1)}) {
    TokenRequest request = Request(server.url());
    request.headers.emplace_back("X-Any", Secret(value));
    const auto outcome = Send(*Create(), std::move(request));
    EXPECT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(WasNotSent(outcome.status()));
  }
  EXPECT_EQ(server.connections(), 0);
}

TEST_F(CurlTransportTest, PasswordInTheUrlIsNotInTheStatus) {
  const RefusingPort port;
  const std::string rest = absl::StrCat("localhost:", port.port(), "/s3cr3t");
  for (const absl::string_view begin :
       {"https://user:s3cr3t@", "ftp://s3cr3t@", "https://a@s3cr3t@"}) {
    EXPECT_FALSE(Send(*Create(), Request(absl::StrCat(begin, rest))).ok());
  }
}

TEST_F(CurlTransportTest, TrailersAndStatusLineAreNotHeaders) {
  TlsServer server(&good_, [](Connection& connection) {
    ASSERT_TRUE(connection.ReadRequest());
    connection.Write(
        "HTTP/1.1 429 a: b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
        "0\r\nRetry-After: 9\r\n\r\n");
  });
  const auto answer = Send(*Create(), Request(server.url()));
  ASSERT_TRUE(answer.ok()) << answer.status();
  ASSERT_EQ(answer->headers.size(), 1);
  EXPECT_EQ(answer->headers[0].first, "Transfer-Encoding");
}

TEST_F(CurlTransportTest, PlainHttpToThisMachineAvoidsTheProxy) {
  TlsServer proxy(nullptr, AnswerAll);
  TlsServer server(nullptr, AnswerAll);
  CurlTransportOptions options = Options();
  options.proxy = proxy.url();
  const auto transport = Create(options);
  const std::string port = server.url().substr(server.url().rfind(':'));
  for (const absl::string_view host : {"localhost", "LocalHost", "127.0.0.1"}) {
    EXPECT_TRUE(
        Send(*transport, Request(absl::StrCat("http://", host, port))).ok());
  }
  EXPECT_EQ(proxy.connections(), 0);
  // "127.0.0.1.invalid" is a name and not an address of this machine.
  EXPECT_TRUE(Send(*transport, Request("http://127.0.0.1.invalid/")).ok());
  EXPECT_EQ(proxy.connections(), 1);
}

TEST_F(CurlTransportTest, ProxyThatAsksForAPasswordIsPermanent) {
  TlsServer proxy(nullptr, [](Connection& connection) {
    ASSERT_TRUE(connection.ReadRequest());
    connection.Answer("407 Who", "s3cr3t");
  });
  CurlTransportOptions options = Options();
  options.proxy = proxy.url();
  const auto outcome = Send(*Create(options), Request("https://host.invalid/"));
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(WasNotSent(outcome.status()));
}

TEST_F(CurlTransportTest, CancelledRequestEndsAndItsConnectionIsClosed) {
  std::atomic<bool> cancelled{false};
  absl::Notification closed;
  TlsServer server(&good_, [&](Connection& connection) {
    ASSERT_TRUE(connection.ReadRequest());
    cancelled = true;
    connection.WaitUntilClosed();
    closed.Notify();
  });
  SendOptions options = Within(kLong);
  options.cancelled = [&] { return cancelled.load(); };
  const auto transport = Create();
  const auto answer = Send(*transport, Request(server.url()), options);
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(WasNotSent(answer.status()));
  closed.WaitForNotification();
}

TEST_F(CurlTransportTest, DestructorEndsOutstandingRequests) {
  absl::Notification received;
  TlsServer server(&good_, [&](Connection& connection) {
    ASSERT_TRUE(connection.ReadRequest());
    received.Notify();
    connection.WaitUntilClosed();
  });
  auto transport = Create();
  std::atomic<bool> called{false};
  transport->Send(Request(server.url()), Within(kLong),
                  [&](absl::StatusOr<HttpAnswer> outcome) {
                    EXPECT_EQ(outcome.status().code(),
                              absl::StatusCode::kCancelled);
                    called = true;
                  });
  received.WaitForNotification();
  transport.reset();
  EXPECT_TRUE(called);
}

TEST_F(CurlTransportTest, TransportMayBeDestroyedAndUsedInsideADone) {
  TlsServer server(&good_, AnswerAll);
  auto transport = Create();
  absl::Notification first;
  absl::Notification second;
  Transport* const raw = transport.get();
  raw->Send(Request(server.url()), Within(kLong),
            [&, transport](absl::StatusOr<HttpAnswer> outcome) mutable {
              EXPECT_TRUE(outcome.ok()) << outcome.status();
              transport->Send(Request(server.url()), Within(kLong),
                              [&](absl::StatusOr<HttpAnswer> late) {
                                EXPECT_EQ(late.status().code(),
                                          absl::StatusCode::kCancelled);
                                EXPECT_TRUE(WasNotSent(late.status()));
                                second.Notify();
                              });
              first.Notify();
              // This copy of `transport` or the test's own is the last owner.
              transport.reset();
            });
  transport.reset();
  first.WaitForNotification();
  second.WaitForNotification();
}

TEST_F(CurlTransportTest, ThreadsShareATransport) {
  TlsServer server(&good_, AnswerAll);
  CurlTransportOptions options = Options();
  options.max_idle_connections = 32;  // More than there are threads.
  const auto transport = Create(options);
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        if (Send(*transport, Request(server.url())).ok()) ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 16 * 20);
  EXPECT_LT(server.connections(), good);
}

TEST_F(CurlTransportTest, ChildOfAForkIsToldToCreateItsOwn) {
  TlsServer server(&good_, AnswerAll);
  auto transport = Create();
  ASSERT_TRUE(Send(*transport, Request(server.url())).ok());
  const pid_t child = fork();
  if (child == 0) {
    bool ok = false;
    transport->Send(Request(server.url()), Within(kLong),
                    [&](absl::StatusOr<HttpAnswer> outcome) {
                      ok = outcome.status().code() ==
                               absl::StatusCode::kFailedPrecondition &&
                           WasNotSent(outcome.status());
                    });
    transport.reset();
    _exit(ok ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(Send(*transport, Request(server.url())).ok());
}

TEST_F(CurlTransportTest, BadOptionsAreNamed) {
  const auto expect = [](absl::string_view field, auto change) {
    CurlTransportOptions options = Options();
    change(options);
    const auto transport = CreateCurlTransport(options);
    EXPECT_EQ(transport.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(transport.status().message(), field))
        << transport.status();
  };
  expect("ca_file", [](auto& o) { o.ca_file = "/does/not/exist"; });
  expect("connect_timeout",
         [](auto& o) { o.connect_timeout = absl::ZeroDuration(); });
  expect("max_idle_connections", [](auto& o) { o.max_idle_connections = -1; });
  expect("max_idle_time", [](auto& o) { o.max_idle_time = absl::Seconds(0); });
  expect("user_agent", [](auto& o) { o.user_agent = "a\r\nHost: b"; });
}

// CreateCurlTransport checks that `ca_file` can be read, but not what is in it.
// So only the request fails.
TEST_F(CurlTransportTest, CaFileWithoutACertificateIsPermanent) {
  TlsServer server(&good_, AnswerAll);
  CurlTransportOptions options = Options();
  options.ca_file = "/proc/self/cmdline";
  const auto answer = Send(*Create(options), Request(server.url()));
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kFailedPrecondition)
      << answer.status();
  EXPECT_TRUE(WasNotSent(answer.status()));
}

TEST_F(CurlTransportTest, ProxyIsUsed) {
  std::string head;
  TlsServer proxy(nullptr, [&](Connection& connection) {
    if (connection.ReadRequest()) head = connection.head();
    connection.Answer("503 No", "", "Retry-After: 3\r\n");
  });
  CurlTransportOptions options = Options();
  options.proxy = proxy.url();
  const auto answer =
      Send(*Create(options), Request("https://token.example:444/"));
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(WasNotSent(answer.status())) << answer.status();
  EXPECT_TRUE(absl::StartsWith(head, "CONNECT token.example:444 "));
  EXPECT_FALSE(absl::StrContains(head, "s3cr3t"));
}

TEST_F(CurlTransportTest, BringsTokensToARefreshable) {
  TlsServer server(&good_, AnswerAll);
  SourceOptions options;
  options.endpoint.url = server.url();
  options.client = BasicAuthentication("id", Secret("s3cr3t"));
  options.transport = Create();
  options.reader = [](absl::string_view body) -> absl::StatusOr<AnswerFields> {
    AnswerFields fields;
    fields.Set("access_token", AnswerField::String(body));
    return fields;
  };
  auto source = CreateSource<Secret>(std::move(options));
  ASSERT_TRUE(source.ok()) << source.status();
  ThreadExecutor executor;
  auto tokens = Refreshable<Secret>::Create(*source, {&executor});
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  const auto token = (*tokens)->Get();
  ASSERT_TRUE(token.ok()) << token.status();
  EXPECT_EQ(token->token().reveal(), "token");
}

}  // namespace
}  // namespace oauth2
}  // namespace refreshable
