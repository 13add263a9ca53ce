// SPDX-License-Identifier: Apache-2.0
//
// Tests a Refreshable whose token endpoint is behind a real proxy, nginx. This
// test is not part of `bazel test //...`, because it needs nginx:
//
//   apt-get install nginx-light
//   bazel test //docs/examples/fault_injection:nginx_test

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/substitute.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "docs/examples/fault_injection/child_process.h"
#include "docs/examples/fault_injection/counted_source.h"
#include "docs/examples/fault_injection/fault_injection_test_util.h"
#include "docs/examples/fault_injection/free_port.h"
#include "docs/examples/outage/url.h"
#include "gtest/gtest.h"

namespace refreshable_examples {
namespace {

// $0 is nginx's folder, $1 the port on which nginx listens, and $2 the origin
// of the endpoint. nginx logs each request as "request N STATUS CONNECTED". N
// is the client's number for the request. CONNECTED is "-" if nginx could not
// connect to the endpoint.
//
// If root starts nginx without "user root", nginx gives its folders to a
// default user. A sandbox may forbid that.
constexpr char kConfiguration[] = R"(
user root;
daemon off;
master_process off;
pid "$0/pid";
error_log /dev/stdout notice;
events {}
http {
  log_format book 'request $$arg_call $$status $$upstream_connect_time';
  access_log /dev/stdout book;
  client_body_temp_path "$0/client_body";
  proxy_temp_path "$0/proxy";
  fastcgi_temp_path "$0/fastcgi";
  scgi_temp_path "$0/scgi";
  uwsgi_temp_path "$0/uwsgi";
  server {
    listen 127.0.0.1:$1 reuseport;
    location / {
      proxy_pass $2;
      proxy_read_timeout 200ms;
    }
  }
}
)";

// Returns an empty string if there is no nginx.
std::string FindNginx() {
  const char* path = std::getenv("PATH");
  std::vector<std::string> folders =
      absl::StrSplit(path == nullptr ? "" : path, ':');
  folders.push_back("/usr/sbin");
  for (const std::string& folder : folders) {
    std::string program = absl::StrCat(folder, "/nginx");
    if (access(program.c_str(), X_OK) == 0) return program;
  }
  return "";
}

class NginxTest : public FaultsFixture {
 protected:
  void SetUp() override {
    FaultsFixture::SetUp();
    const std::string program = FindNginx();
    ASSERT_NE(program, "") << "this test needs nginx: apt-get install "
                              "nginx-light";
    auto port = FreePort::Get();
    ASSERT_TRUE(port.ok()) << port.status();
    port_.emplace(*std::move(port));
    const std::string folder = testing::TempDir();
    const std::string file = absl::StrCat(folder, "/nginx.conf");
    std::ofstream(file) << absl::Substitute(
        kConfiguration, folder, port_->number(), endpoint().token_url().origin);
    auto nginx = ChildProcess::Start(
        program, {"-p", folder, "-c", file, "-e", "/dev/stdout"},
        [this](absl::string_view line) { Hear(line); });
    ASSERT_TRUE(nginx.ok()) << nginx.status();
    nginx_ = *std::move(nginx);
    absl::MutexLock lock(&mu_);
    ASSERT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&started_), kForEver));
    ASSERT_TRUE(listens_) << said_;
    kept_from_endpoint_ = [this](int64_t number, const auto&) {
      const Request request = AwaitRequest(number);
      return request.status == 502 && !request.connected;
    };
  }

  // Also checks that nginx's log has each request once, with the result that
  // the source got.
  void TearDown() override {
    FaultsFixture::TearDown();
    if (!begun()) return;
    const std::vector<CountedSource::Call> calls = source().calls();
    for (size_t number = 0; number < calls.size(); ++number) {
      const Request request = AwaitRequest(number);
      EXPECT_EQ(request.times, 1) << number;
      const absl::Status& status = calls[number].status;
      // The source stopped waiting, so nginx may have logged any result.
      if (absl::StartsWith(status.message(), "no answer")) continue;
      EXPECT_EQ(status.ok() ? "HTTP status 200" : status.message(),
                absl::StrCat("HTTP status ", request.status))
          << number;
    }
    absl::MutexLock lock(&mu_);
    EXPECT_EQ(requests_.size(), calls.size());
  }

  Url token_url() const {
    return {absl::StrCat("http://127.0.0.1:", port_->number()), "/token"};
  }

 private:
  struct Request {
    int times = 0;
    int status = 0;
    bool connected = false;
  };

  void Hear(absl::string_view line) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    absl::MutexLock lock(&mu_);
    int64_t number = 0;
    if (words.size() == 4 && words[0] == "request" &&
        absl::SimpleAtoi(words[1], &number)) {
      Request& request = requests_[number];
      ++request.times;
      EXPECT_TRUE(absl::SimpleAtoi(words[2], &request.status)) << line;
      request.connected = words[3] != "-";
    } else {
      absl::StrAppend(&said_, line, "\n");
      // nginx already listens when it logs its event method.
      if (absl::StrContains(line, "event method")) listens_ = true;
      if (listens_ || absl::StrContains(line, "[emerg]")) started_ = true;
    }
  }

  Request AwaitRequest(int64_t number) {
    const auto ended = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return requests_.count(number) > 0;
    };
    absl::MutexLock lock(&mu_);
    EXPECT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&ended), kForEver))
        << "nginx never had request " << number;
    return requests_[number];
  }

  std::optional<FreePort> port_;
  absl::Mutex mu_;
  std::map<int64_t, Request> requests_ ABSL_GUARDED_BY(mu_);
  // True if nginx listens or has failed to start.
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool listens_ ABSL_GUARDED_BY(mu_) = false;
  std::string said_ ABSL_GUARDED_BY(mu_);
  // Declared last: its thread calls `Hear`, which uses the other members.
  std::unique_ptr<ChildProcess> nginx_;
};

TEST_F(NginxTest, B8HealsFromThe502OfAnUpstreamThatIsGone) {
  Begin(token_url());
  Outage([&] { Kill(); }, [&] { ASSERT_TRUE(endpoint().StartAgain().ok()); },
         "HTTP status 502");
}

TEST_F(NginxTest, B8HealsFromThe504OfAnUpstreamThatHangs) {
  Begin(token_url());
  Outage([&] { endpoint().Stop(); }, [&] { endpoint().Continue(); },
         "HTTP status 504");
}

}  // namespace
}  // namespace refreshable_examples
