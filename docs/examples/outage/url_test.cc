// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/url.h"

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "docs/examples/outage/form.h"
#include "gtest/gtest.h"

namespace refreshable_examples {
namespace {

TEST(UrlTest, SplitsAnAddress) {
  const auto url = ParseUrl("HTTP://example.org:8080/token?tenant=1#there");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->origin, "http://example.org:8080");
  EXPECT_EQ(url->target, "/token?tenant=1");
  EXPECT_EQ(ParseUrl("http://[::1]:80")->target, "/");
  EXPECT_EQ(ParseUrl("http://[::1]")->origin, "http://[::1]");
  EXPECT_EQ(ParseUrl("http://host?a=b")->target, "/?a=b");
}

TEST(UrlTest, SaysWhatIsWrong) {
  const auto complains = [](const char* text, const char* part) {
    const auto url = ParseUrl(text);
    return !url.ok() && absl::StrContains(url.status().message(), part);
  };
  EXPECT_TRUE(complains("example.org/token", "http://"));
  EXPECT_TRUE(complains("ftp://example.org", "http://"));
  EXPECT_TRUE(complains("http:///token", "host"));
  EXPECT_TRUE(complains("http://:80/", "host"));
  EXPECT_TRUE(complains("http://host:70000", "port"));
  EXPECT_TRUE(complains("http://host:/", "port"));
  EXPECT_TRUE(complains("http://a b/", "space"));
  EXPECT_TRUE(complains("http://me:secret@host/", "does not belong"));
  EXPECT_FALSE(complains("http://me:hidden@host/", "hidden"));
}

TEST(FormTest, Decodes) {
  EXPECT_EQ(FormDecode("a+b%26c%3d%C3%BC%25"), "a b&c=\xC3\xBC%");
  EXPECT_EQ(FormDecode("%"), std::nullopt);
  EXPECT_EQ(FormDecode("%4"), std::nullopt);
  EXPECT_EQ(FormDecode("%zz"), std::nullopt);
}

}  // namespace
}  // namespace refreshable_examples
